"""Submissions to the ZeroSpeech challenges of 2019 and 2021: their descriptions, and what is wrong with one.

2019: `metadata.yaml`; `<language>/test/*.txt` and `*.wav`; if wanted `<language>/auxiliary_embedding1` and
`2` with features from inside the system; `code/` if it is open source.
2021 (phonetic part): `meta.yaml`; `phonetic/<subset>/*.txt` or `*.npy`, one file a recording.
A checker returns all it finds as sentences, none for a good submission: one run shows all there is to mend.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from speechvq.errors import BadCodes, BadSetting
from speechvq.score.zerospeech import read_features
from speechvq.store.atomic import atomic

DISTANCES_2019 = ("dtw_cosine", "dtw_kl", "levenshtein")
METRICS_2021 = ("cosine", "euclidean", "kl", "kl_symmetric")
_TEXTS_2019 = ("author", "affiliation", "abx distance", "system description")
_TRUTHS_2019 = ("open source", "using parallel train", "using external data")
_TYPES_2021 = {
    "author": str, "affiliation": str, "description": str, "open_source": bool, "train_set": str,
    "gpu_budget": float, "parameters": dict,
}  # fmt: skip
_CALLED = {str: "a text", bool: "true or false", float: "a number with a point", dict: "a section"}


@dataclass(frozen=True)
class Description:
    """What both challenges ask about a system.

    Attributes:
        author: who made it; "anonymous" is allowed.
        affiliation: where.
        system: a short description, or a link to one.
        open_source: the code is given too.
        train_set: what it was trained on (2021).
        gpu_budget: hours of training on one GPU (2021).
        distance: ABX distance by its name in the challenge; empty: the cosine.
        parallel_train: the parallel recordings of 2019 were used.
        external_data: recordings from outside the challenge were used (2019).
    """

    author: str
    affiliation: str
    system: str
    open_source: bool = False
    train_set: str = "not said"
    gpu_budget: float = 0.0
    distance: str = ""
    parallel_train: bool = False
    external_data: bool = False


def write_metadata(folder: str | Path, description: Description, auxiliary: Sequence[str] = ()) -> Path:
    """Write the `metadata.yaml` of 2019; ``auxiliary`` describes the auxiliary features, at most two.

    Raises:
        BadSetting: a distance that 2019 did not have, or more auxiliary features.
    """
    distance = description.distance or DISTANCES_2019[0]
    if distance not in DISTANCES_2019 or len(auxiliary) > 2:
        raise BadSetting(
            f"2019 has the distances {', '.join(DISTANCES_2019)} and two auxiliary features, "
            f"not {distance!r} and {len(auxiliary)}"
        )
    return _write(
        Path(folder) / "metadata.yaml",
        {
            "author": description.author,
            "affiliation": description.affiliation,
            "abx distance": distance,
            "open source": description.open_source,
            "system description": description.system,
            "using parallel train": description.parallel_train,
            "using external data": description.external_data,
        }
        | {f"auxiliary{number} description": text for number, text in enumerate(auxiliary, 1)},
    )


def write_meta(folder: str | Path, description: Description, *, frame_rate: float) -> Path:
    """Write the `meta.yaml` of 2021, for features at ``frame_rate`` frames a second.

    Raises:
        BadSetting: a distance that 2021 did not have.
    """
    metric = description.distance or METRICS_2021[0]
    if metric not in METRICS_2021:
        raise BadSetting(f"2021 has the metrics {', '.join(METRICS_2021)}, not {metric!r}")
    return _write(
        Path(folder) / "meta.yaml",
        {
            "author": description.author,
            "affiliation": description.affiliation,
            "description": description.system,
            "open_source": description.open_source,
            "train_set": description.train_set,
            "gpu_budget": float(description.gpu_budget),
            "parameters": {
                "phonetic": {"metric": metric, "frame_shift": 1 / frame_rate},
                "semantic": {"metric": "cosine", "pooling": "mean"},  # the format asks for it even if unused
            },
        },
    )


def check_2019(
    folder: str | Path, languages: Sequence[str] = ("english",), required: Iterable[str] = ()
) -> list[str]:
    """What is wrong with a submission to the challenge of 2019; nothing: it is in order.

    Args:
        folder: of the submission, unpacked.
        languages: that must be there, of english and surprise.
        required: files that every `test` folder must have, such as those of the challenge's lists.
    """
    folder, required = Path(folder), list(required)
    auxiliary = [
        number
        for number in (1, 2)
        if any((folder / language / f"auxiliary_embedding{number}").is_dir() for language in languages)
    ]
    found = _metadata_faults(folder, auxiliary)
    if auxiliary == [2]:
        found.append(f"{folder} has auxiliary_embedding2 but no auxiliary_embedding1; number them from 1")
    for language in languages:
        for part in ("test", *(f"auxiliary_embedding{number}" for number in auxiliary)):
            place = folder / language / part
            if not place.is_dir():
                found.append(f"the folder {place} is missing")
                continue
            found += [
                f"{place / file} is missing" for file in required
                if part == "test" and not (place / file).is_file()
            ]  # fmt: skip
            found += _table_faults(sorted(place.glob("*.txt")), place)
    return found


def check_2021(
    folder: str | Path, recordings: Mapping[str, Iterable[str]], *, suffix: str = ".txt"
) -> list[str]:
    """What is wrong with the phonetic part of a submission of 2021; nothing: it is in order.

    Args:
        folder: of the submission, unpacked.
        recordings: subset (`dev-clean`) to the names of its recordings without suffix, as in item files.
        suffix: `.txt` (the challenge of 2021) or `.npy` (its successors).

    """
    folder = Path(folder)
    found = _meta_faults(folder)
    for subset, names in recordings.items():
        place = folder / "phonetic" / subset
        if not place.is_dir():
            found.append(f"the folder {place} is missing")
            continue
        wanted = {place / f"{name}{suffix}" for name in names}
        there = set(place.rglob(f"*{suffix}"))
        found += [f"{path} is missing" for path in sorted(wanted - there)]
        found += [f"{path} belongs to no recording of {subset}; remove it" for path in sorted(there - wanted)]
        found += _table_faults(sorted(there & wanted), place, least=2)
    return found


def _table_faults(paths: Sequence[Path], place: Path, least: int = 1) -> list[str]:
    """Files that cannot be read, are too short, or are of another width than the first."""
    found, first = [] if paths else [f"there are no features in {place}"], None
    for path in paths:
        try:
            frames, width = read_features(path).shape
        except BadCodes as error:
            found.append(str(error))
            continue
        first = first or (path, width)
        if frames < least:
            found.append(f"{path} has {frames} frame, and at least {least} are asked for")
        if width != first[1]:
            found.append(f"{path} has {width} numbers a frame, but {first[0].name} has {first[1]}")
    return found


def _metadata_faults(folder: Path, auxiliary: Sequence[int]) -> list[str]:
    path = folder / "metadata.yaml"
    data, found = _read(path)
    if data is None:
        return found
    texts = [*_TEXTS_2019, *(f"auxiliary{number} description" for number in auxiliary)]
    found += _type_faults(path, data, dict.fromkeys(texts, str) | dict.fromkeys(_TRUTHS_2019, bool))
    if (distance := data.get("abx distance")) and distance not in DISTANCES_2019:
        found.append(f"{path}: 'abx distance' must be one of {', '.join(DISTANCES_2019)}, not {distance!r}")
    if data.get("open source") is True and not any((folder / "code").glob("*")):
        found.append(f"{path} says open source, but the folder {folder / 'code'} is missing or empty")
    return found


def _meta_faults(folder: Path) -> list[str]:
    path = folder / "meta.yaml"
    data, found = _read(path)
    if data is None:
        return found
    found += _type_faults(path, data, _TYPES_2021)
    found += [f"{path}: {name!r} is not asked for; remove it" for name in data if name not in _TYPES_2021]
    parameters = data.get("parameters")
    phonetic = parameters.get("phonetic") if isinstance(parameters, dict) else None
    if not isinstance(phonetic, dict):
        return [*found, f"{path}: 'parameters' must have a section 'phonetic'"]
    found += _type_faults(path, phonetic, {"metric": str, "frame_shift": float})
    metric, shift = phonetic.get("metric"), phonetic.get("frame_shift")
    if isinstance(metric, str) and metric and metric not in METRICS_2021:
        found.append(f"{path}: 'metric' must be one of {', '.join(METRICS_2021)}, not {metric!r}")
    if isinstance(shift, float) and not 0 < shift < 1:
        found.append(f"{path}: 'frame_shift' is in seconds, such as 0.02, not {shift}")
    return found


def _type_faults(path: Path, data: Mapping[str, Any], types: Mapping[str, type]) -> list[str]:
    found = []
    for name, kind in types.items():
        if name not in data:
            found.append(f"{path}: {name!r} is missing")
        elif not isinstance(data[name], kind):
            found.append(f"{path}: {name!r} must be {_CALLED[kind]}, not {data[name]!r}")
        elif kind is str and not data[name].strip():
            found.append(f"{path}: {name!r} is empty")
    return found


def _read(path: Path) -> tuple[dict[str, Any] | None, list[str]]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, [f"{path} is missing"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return None, [f"{path} cannot be read as YAML: {' '.join(str(error).split())}"]
    if not isinstance(data, dict):
        return None, [f"{path} must have lines `name: value`"]
    return data, []


def _write(path: Path, data: Mapping[str, Any]) -> Path:
    with atomic(path) as temporary:
        temporary.write_text(
            yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True), encoding="utf-8"
        )
    return path
