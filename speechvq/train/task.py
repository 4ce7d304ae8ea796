"""From settings to what the loop is handed: an objective, data to train and judge on, media to show.

A room is chosen by name out of the closed list `speechvq.codec.ROOMS`; it offers ``data.open_corpus``,
``board.media``, ``board.made_up``, ``coded.open_codes`` and ``coded.grid_of``; no more of it is known here.
"""

import importlib
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from speechvq.codec import ROOMS, Batch, Codec
from speechvq.errors import BadSetting, UnknownName
from speechvq.store.weights import WEIGHTS, load_config, load_weights
from speechvq.train.board import Medium
from speechvq.train.critic import build_objective
from speechvq.train.objective import Objective
from speechvq.train.sampler import Key
from speechvq.train.settings import Settings

log = logging.getLogger(__name__)


class Data(Protocol):
    """Items by (epoch, index), the same whoever asks and whenever."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: Key) -> Any: ...

    def collate(self, items: Sequence[Any]) -> Batch:
        """Items to a batch."""
        ...


@dataclass(frozen=True)
class Task:
    """What a run works on.

    Attributes:
        objective: what is minimised.
        train: items to learn from.
        valid: held-out items; there may be none.
        media: what to show of the product and a held-out batch.
        frame_rate: codes per second, or None.
        facts: the plan of the run, for a person.
    """

    objective: Objective
    train: Data
    valid: Data
    media: Callable[[nn.Module, Batch], Iterable[Medium]]
    frame_rate: float | None
    facts: dict[str, str]


def open_task(settings: Settings) -> Task:
    """Read the data's list, build the codec for it, and cut the data for the codec.

    Raises:
        SpeechVQError: of whatever kind; something in the settings or the data cannot be used.
    """
    corpus, board = room_data(settings)
    codec = Codec.build(codec_config(settings, corpus))
    facts = plan(codec) | {"data": str(corpus)}
    if settings.init_from:
        facts["begins with"] = warm_start(codec, settings.init_from)
    objective = build_objective(settings.objective, codec)
    _check_sight(objective, codec, corpus)
    facts["objective"] = str(settings.objective.get("name", "codec"))
    train, valid = (
        corpus.split(name, hop=codec.encoder.hop, speakers=codec.decoder.speakers)
        for name in ("train", "valid")
    )
    return Task(objective, train, valid, board.media, codec.frame_rate, facts)


def _check_sight(objective: Objective, codec: Codec, corpus: Any) -> None:
    """Raise now what encoder, critic or losses would, if they cannot see the corpus's pictures."""
    size, critic = getattr(corpus, "size", None), getattr(objective, "critic", None)
    if size is None:
        return
    most, whole = getattr(codec.encoder, "side", None), getattr(critic, "side", None)
    said = f"pictures of {size[0]} x {size[1]} pixels"
    if check := getattr(getattr(codec.decoder, "loss", None), "check", None):
        check(corpus.colours, size)
    if min(size) < (least := getattr(critic, "least", 1)):
        raise BadSetting(
            f"{said} are too small for the critic, which needs {least} a side; give larger ones, or fewer "
            "objective.layers"
        )
    if most is not None and max(size) > most:
        raise BadSetting(
            f"{said} are larger than the {most} a side that the encoder has positions of; give "
            f"data.size={most}, or model.encoder.side={max(size)}"
        )
    if whole is not None and tuple(size) != (whole, whole):
        raise BadSetting(
            f"{said} do not fit the style critic, which judges whole pictures of {whole} x {whole}; give "
            "objective.style.side, or objective.critic=patch"
        )


def room_data(settings: Settings) -> tuple[Any, Any]:
    """The room's corpus, opened, and its module of media.

    Raises:
        UnknownName: there is no such room.
    """
    if settings.room not in ROOMS:
        raise UnknownName("room", settings.room, list(ROOMS))
    data = importlib.import_module(f"speechvq.{settings.room}.data")
    board = importlib.import_module(f"speechvq.{settings.room}.board")
    return data.open_corpus(settings.data, rate=settings.rate), board


def codec_config(settings: Settings, corpus: Any) -> dict[str, Any]:
    """The configuration of `Codec.build`; ``speakers: auto`` and ``colours: auto`` become the corpus's.

    Raises:
        BadSetting: the model has no encoder or no decoder, or sees other pictures.
    """
    if missing := {"encoder", "decoder"} - set(settings.model):
        raise BadSetting(f"the model has no {', '.join(sorted(missing))}; choose one with model=NAME")
    encoder, decoder = (dict(settings.model[name]) for name in ("encoder", "decoder"))
    for part in (encoder, decoder):
        for name in ("speakers", "colours"):
            if part.get(name) == "auto":
                found = getattr(corpus, name)
                part[name] = found if isinstance(found, int) else list(found)
        if (colours := part.get("colours")) not in (None, getattr(corpus, "colours", colours)):
            raise BadSetting(
                f"the model sees {colours} channels, and the pictures have {corpus.colours}; give "
                "model.encoder.colours=auto model.decoder.colours=auto"
            )
    quantizer = settings.quantizer
    rooms = {"room": settings.room, "rate": settings.rate}
    return rooms | {"encoder": encoder, "quantizer": quantizer, "decoder": decoder}


def finished(folder: str | Path, room: str) -> Codec:
    """The codec in a folder, if it is of the run's room.

    Raises:
        BadCheckpoint: it is not a codec's folder.
        BadSetting: it is of another room.
    """
    codec = Codec.from_pretrained(Path(folder))
    if codec.room != room:
        raise BadSetting(f"the codec in {folder} is of room {codec.room}, and this run of room {room}")
    return codec


def warm_start(module: nn.Module, folder: str | Path) -> str:
    """Load the weights in a saved model's folder that fit by name and shape; say which did not.

    Raises:
        BadCheckpoint: it is not a model's folder.
        BadSetting: nothing in it fits.
    """
    load_config(folder)
    stored, wanted = load_weights(Path(folder) / WEIGHTS), module.state_dict()
    fits = {k: v for k, v in stored.items() if k in wanted and v.shape == wanted[k].shape}
    if not fits:
        raise BadSetting(f"no weight in {folder} fits this model; give another init_from, or null")
    module.load_state_dict(fits, strict=False)
    new, unused = sorted(set(wanted) - set(fits)), sorted(set(stored) - set(fits))
    for names, what in ((new, "begins anew"), (unused, f"is in {folder} but has no place")):
        for name in names:
            log.debug("%s %s", name, what)
    words = f"{len(fits)} tensors of {folder}"
    if new:
        words += f"; {len(new)} begin anew ({_named(new)})"
    return words + (f"; {len(unused)} there are not used ({_named(unused)})" if unused else "")


def plan(codec: Codec) -> dict[str, str]:
    """Sizes, rates, receptive field and parameters, in words."""
    quantizer, encoder = codec.quantizer, codec.encoder
    bits = quantizer.num_codebooks * math.log2(quantizer.codebook_size)
    rate = f"a code for {encoder.hop} x {encoder.hop} pixels, at most {bits:.0f} bits"
    sight = f"{encoder.receptive_field:,} pixels a side"
    if codec.room == "speech":
        second = f"at most {bits * codec.frame_rate:,.0f} bit/s"
        rate = f"{codec.frame_rate:g} codes a second (hop {encoder.hop}), {second}"
        sight = f"{encoder.receptive_field:,} samples ({1000 * encoder.receptive_field / codec.rate:.0f} ms)"
    parts = {n: sum(p.numel() for p in getattr(codec, n).parameters()) for n in ("encoder", "decoder")}
    return {
        "codes": f"{quantizer.num_codebooks} x {quantizer.codebook_size} of {quantizer.dim} channels",
        "rate": rate,
        "each code sees": sight,
        "encoder": f"{encoder.spec['name']}, {parts['encoder']:,} parameters",
        "decoder": f"{codec.decoder.spec['name']}, {parts['decoder']:,} parameters",
    }


def _named(names: Sequence[str], most: int = 4) -> str:
    parts = sorted({".".join(name.split(".")[:2]) for name in names})
    return ", ".join(parts[:most]) + (" ..." if len(parts) > most else "")
