"""All of the recipe's stages, and results.md from what they made.

python discover.py [CODEC] [--seeds] [--prior] [--train 60 --valid 8]
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from compare import CODEC, TRAIN, VALID, WAYS
from measure import GENDERS, Row
from page import COMMAND, Found, page
from pictures import PICTURES
from stages import Stage, run, taken

from speechvq import Codec
from speechvq.store.atomic import atomic

HERE = Path(__file__).parent
FLITE, ASTERISK = Path("data/flite/manifest.jsonl"), Path("data/asterisk/manifest.jsonl")
ALIGNED = Path("data/asterisk-aligned/aligned.jsonl")
ENGLISH = "en_allison"
REAL = (CODEC, "mfcc", "mfcc-normalised")
CORPORA = {"flite": "flite (test)", "asterisk": "Asterisk (valid and test)"}
NO_ASTERISK = "Recorded voices are left out: apt install asterisk-core-sounds-{en,es,fr,it,ru}-g722"
NO_ENGLISH = "Recorded English with phones is left out"
SPEECHVQ = (sys.executable, "-m", "speechvq")


def main(
    codec: Path,
    *,
    out: Path = Path("outputs/unit_discovery"),
    train: int = TRAIN,
    valid: int = VALID,
    seeds: bool = False,
    prior: bool = False,
    slots: int = 2,
) -> None:
    """Run what is not done, write ``OUT/results.md``."""
    model = Codec.from_pretrained(codec)
    name, size = model.fingerprint[:8], model.quantizer.codebook_size
    plan = Plan(codec, out, name, size, train, valid)
    stages = [*corpora(slots), *plan.synthetic(), *plan.recorded(), *plan.alike(seeds=seeds)]
    stages += plan.prior() if prior else []
    run(stages, out / "stages", slots)
    found = plan.found(taken(stages, out / "stages"))
    with atomic(out / "results.md") as temporary:
        temporary.write_text(page(found, plan.typed(seeds=seeds, prior=prior)), encoding="utf-8")
    print(f"{out / 'results.md'}   page: {out / 'page' / 'index.html'}")


def corpora(slots: int) -> list[Stage]:
    """The same sentences and splits as those of recipes/speaker_conversion, which trained the codec."""
    prepare = (*SPEECHVQ, "prepare")
    flite = ("flite", "--sentences", "1100", "--normalise", "peak", "--out", "data/flite")
    asterisk = ("asterisk", "--normalise", "peak", "--out", "data/asterisk")
    align = ("align", str(ASTERISK), "--speaker", ENGLISH, "--out", str(ALIGNED.parent), "--bad", "skip")
    return [
        Stage("flite", (*prepare, *flite, "--workers", str(slots)), FLITE),
        Stage("asterisk", (*prepare, *asterisk, "--workers", "1"), ASTERISK, left_out=NO_ASTERISK),
        Stage("align", (*SPEECHVQ, *align, "--resume"), ALIGNED, after=("asterisk",), left_out=NO_ENGLISH),
    ]


class Plan:
    """The stages of one codec.

    Args:
        codec: its folder.
        out: where everything goes.
        name: first letters of its fingerprint.
        size: its units.
        train: recordings that k-means and the map learn from.
        valid: recordings that the segmentation is chosen on.
    """

    def __init__(self, codec: Path, out: Path, name: str, size: int, train: int, valid: int) -> None:
        self.codec, self.out, self.name, self.size = codec, out, name, size
        self.train, self.valid = train, valid
        self.sample = f"{train}-{valid}"

    def row(self, corpus: str, way: str) -> Path:
        """Where a row is kept: one for each codec and sample."""
        of = self.name if way == CODEC else f"k{self.size}"
        return self.out / "rows" / f"{corpus}_{way}_{of}_{self.sample}.json"

    def synthetic(self) -> list[Stage]:
        """Rows with exact phone times, the page, its pictures, the voices."""
        scored, drawn = self.out / "page", self.out / "pictures"
        genders = [f"--gender={name}={gender}" for name, gender in GENDERS.items()]
        score = ("score", "units", str(self.codec), str(FLITE), "--out", str(scored), *genders, "--force")
        ways = [self._compare("flite", way, FLITE, "flite") for way in WAYS]
        return [
            *ways,
            Stage("page", (*SPEECHVQ, *score), scored / "index.html", after=("flite",), key=self.name),
            Stage(
                "pictures", self._python("pictures.py", self.codec, scored, drawn),
                drawn / PICTURES[-1], after=("page",), key=self.name,
            ),
            self._voices("flite", FLITE, "test"),
        ]  # fmt: skip

    def recorded(self) -> list[Stage]:
        """Rows of recorded English, and the recorded voices without phones."""
        english = [self._compare("english", way, ALIGNED, "align", "--speaker", ENGLISH) for way in REAL]
        return [self._voices("asterisk", ASTERISK, "valid", "test"), *english]

    def alike(self, *, seeds: bool) -> list[Stage]:
        """Agreement of runs; ``seeds``: two small codecs are trained that differ in their seed."""
        small: list[Stage] = []
        for seed in (1, 2) if seeds else ():
            folder = self.out / "seeds" / f"{seed}-{self.size}"
            settings = (
                f"data.manifest={FLITE}", f"quantizer.codebook_size={self.size}", f"seed={seed}",
                f"folder={folder}", "resume=true",
            )  # fmt: skip
            command = (*SPEECHVQ, "train", "experiment=speech_tiny", *settings)
            # The first leaves the pitch of all recordings behind, which the second one would make again.
            after = ("flite", *(stage.name for stage in small))
            small.append(
                Stage(f"seed_{seed}", command, folder / "codec" / "config.json", after, key=str(self.size))
            )
        others = [word for stage in small for word in ("--other", str(stage.makes.parent))]
        target = self._alike(seeds=seeds)
        command = self._python("alike.py", self.codec, FLITE, target, *others, "--train", self.train)
        return [
            *small,
            Stage("alike", command, target, ("flite", *(stage.name for stage in small)), target.stem),
        ]

    def prior(self) -> list[Stage]:
        """Two priors over the units are trained, scored and listened to."""
        target = self._prior()
        command = self._python("prior.py", self.codec, FLITE, target.parent, target)
        return [Stage("prior", command, target, ("flite",), key=self.name)]

    def found(self, took: Sequence) -> Found:
        """What has been made so far."""
        alike = [path for seeds in (True, False) if (path := self._alike(seeds=seeds)).exists()]
        voices = {name: self._voice_rows(corpus) for corpus, name in CORPORA.items()}
        return Found(
            synthetic=self._rows("flite", WAYS),
            recorded=self._rows("english", REAL),
            voices={name: _read(path) for name, path in voices.items() if path.exists()},
            alike=_read(alike[0]) if alike else (),
            took=took,
            more=[path.read_text(encoding="utf-8") for path in [self._prior()] if path.exists()],
            pictures=[name for name in PICTURES if (self.out / "pictures" / name).exists()],
        )

    def typed(self, *, seeds: bool = False, prior: bool = False) -> str:
        """The command, as one types it."""
        words = [COMMAND, *([str(self.codec)] if self.codec != Path("checkpoints/speech-units") else [])]
        words += ["--seeds"] * seeds + ["--prior"] * prior
        sample = (("--train", self.train, TRAIN), ("--valid", self.valid, VALID))
        return " ".join(words + [f"{flag} {value}" for flag, value, usual in sample if value != usual])

    def _rows(self, corpus: str, ways: Sequence[str]) -> list[Row]:
        return [_read(path) for way in ways if (path := self.row(corpus, way)).exists()]

    def _alike(self, *, seeds: bool) -> Path:
        return self.out / f"alike_{self.name}_{self.train}{'_seeds' if seeds else ''}.json"

    def _prior(self) -> Path:
        return self.out / "prior" / f"section_{self.name}.md"

    def _voice_rows(self, corpus: str) -> Path:
        return self.out / f"voices_{corpus}_{self.name}.json"

    def _compare(self, corpus: str, way: str, manifest: Path, after: str, *more: str) -> Stage:
        target = self.row(corpus, way)
        sample = ("--train", self.train, "--valid", self.valid)
        command = self._python("compare.py", way, self.codec, manifest, target, *sample, *more)
        left_out = NO_ENGLISH if more else ""
        return Stage(f"{corpus}_{way}", command, target, (after,), key=target.stem, left_out=left_out)

    def _voices(self, corpus: str, manifest: Path, *splits: str) -> Stage:
        target = self._voice_rows(corpus)
        wanted = [f"--split={split}" for split in splits]
        command = self._python("recorded.py", self.codec, manifest, target, *wanted)
        return Stage(f"voices_{corpus}", command, target, (corpus,), key=self.name)

    def _python(self, script: str, *arguments: object) -> tuple[str, ...]:
        return (sys.executable, str(HERE / script), *map(str, arguments))


def _read(path: Path):  # noqa: ANN202 (whatever was written)
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("codec", type=Path, nargs="?", default=Path("checkpoints/speech-units"))
    parser.add_argument("--out", type=Path, default=Path("outputs/unit_discovery"))
    parser.add_argument("--train", type=int, default=TRAIN, help="recordings to learn and map from")
    parser.add_argument("--valid", type=int, default=VALID, help="recordings to choose the segmentation by")
    parser.add_argument("--seeds", action="store_true", help="train two small codecs for their agreement")
    parser.add_argument("--prior", action="store_true", help="train priors over the units (prior.py)")
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 1, help="stages at a time")
    main(**vars(parser.parse_args()))
