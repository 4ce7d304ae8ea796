"""The VQ-VAE of van Niekerk et al. (2020) for the ZeroSpeech challenge: published checkpoints and codecs.

A published ``model.ckpt-N.pt`` has the parts ``encoder`` (five convolutions with batch normalisation, a
projection, the codebook and its moving averages) and ``decoder`` (voices, two GRUs, two linear layers).
What else is in it belongs to its training (optimiser, scheduler, step) and is left out.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechvq.bridge.checkpoint import (
    Tensors,
    check_names,
    open_checkpoint,
    part_of,
    size_of,
    voice_names,
    write_checkpoint,
)
from speechvq.bridge.places import fill, same, take
from speechvq.codec import Codec
from speechvq.errors import BadSetting

log = logging.getLogger(__name__)
KIND = "bshall/ZeroSpeech"
RATE = 16_000
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
GRU = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
JITTER = "jitter.prob"

CODEBOOK_NAMES = {
    "codebook.embedding": "quantizer.codebook.vectors",
    "codebook.ema_count": "quantizer.codebook.counts",
    "codebook.ema_weight": "quantizer.codebook.sums",
}
"""Their names of the codebook to ours."""
ENCODER_NAMES = (
    {f"encoder.{3 * i}.weight": f"encoder.convs.{i}.weight" for i in range(5)}
    | {f"encoder.{3 * i + 1}.{name}": f"encoder.norms.{i}.{name}" for i in range(5) for name in NORM}
    | {f"encoder.15.{name}": f"encoder.project.{name}" for name in ("weight", "bias")}
    | CODEBOOK_NAMES
)
"""Their names in the part ``encoder`` to ours."""
DECODER_NAMES = (
    {
        "speaker_embedding.weight": "decoder.voice.table.weight",
        "mu_embedding.weight": "decoder.embedding.weight",
    }
    | {
        f"rnn1.{name}_l{layer}{way}": f"decoder.context.{name}_l{layer}{way}"
        for layer in (0, 1)
        for way in ("", "_reverse")
        for name in GRU
    }
    | {f"rnn2.{name}_l0": f"decoder.memory.{name}_l0" for name in GRU}
    | {f"fc1.{name}": f"decoder.first.{name}" for name in ("weight", "bias")}
    | {f"fc2.{name}": f"decoder.last.{name}" for name in ("weight", "bias")}
)
"""Their names in the part ``decoder`` to ours."""


def import_zerospeech(path: str | Path, *, speakers: str | Path | Sequence[str] | None = None) -> Codec:
    """The codec of a published checkpoint, in evaluation mode; sizes are read from its shapes.

    Args:
        path: ``model.ckpt-N.pt``.
        speakers: the ``speakers.json`` of its data, or the names; None calls the voices "000", "001" ...

    Raises:
        BadCheckpoint: it is not such a checkpoint, or the names do not fit.
    """
    checkpoint = open_checkpoint(path, kind=KIND)
    encoder = part_of(checkpoint, "encoder", path=path, kind=KIND)
    hint = f"this is no checkpoint of {KIND}"
    if "conv.weight" in encoder:
        hint += ", but perhaps one of VQ-CPC: speechvq import vqcpc"
    check_names(encoder, ENCODER_NAMES, spare=[JITTER], path=path, hint=hint)
    decoder = part_of(checkpoint, "decoder", path=path, kind=KIND)
    check_names(decoder, DECODER_NAMES, path=path, hint=hint)
    voices = voice_names(speakers, size_of(decoder, "speaker_embedding.weight", 0, dims=2, path=path))
    spec = decoder_spec(decoder, path=path) | {"speakers": voices, "lead": 160, "jitter": _jitter(encoder)}
    channels = size_of(encoder, "encoder.0.weight", 0, dims=3, path=path)
    codec = build(encoder, {"name": "zerospeech", "channels": channels}, spec, path=path)
    fill(codec, encoder, same(codec, ENCODER_NAMES), path=path)
    fill(codec, decoder, same(codec, DECODER_NAMES), path=path)
    return codec


def export_zerospeech(
    codec: Codec, path: str | Path, *, step: int = 0, speakers: str | Path | None = None, force: bool = False
) -> None:
    """Write a checkpoint that the published code converts and encodes with (it cannot resume from it).

    Args:
        codec: an imported one, or one with the same parts (`configs/model/zerospeech_gru.yaml`).
        path: the file, ``model.ckpt-N.pt``.
        step: the step that the file tells.
        speakers: also write this ``speakers.json``.
        force: replace files that are there.

    Raises:
        BadSetting: the codec has other parts, or its voices are not in the order of the alphabet.
        WouldOverwrite: a file is there and not ``force``.
    """
    _check_exportable(codec)
    half = codec.decoder.spec["jitter"] / 2
    encoder, decoder = (take(codec, same(codec, names)) for names in (ENCODER_NAMES, DECODER_NAMES))
    encoder[JITTER] = torch.tensor([half, 1 - 2 * half, half])
    voices = list(codec.decoder.speakers)
    if speakers is not None and voices != sorted(voices):
        raise BadSetting(
            f"the voices {', '.join(voices[:4])} ... are not in the order of the alphabet, which the "
            "published code takes them to be in; export without --speakers and name them by their rows"
        )
    content, names = {"encoder": encoder, "decoder": decoder, "step": step}, json.dumps(voices, indent=2)
    write_checkpoint(path, content, beside=speakers, text=names + "\n", force=force)


def decoder_spec(decoder: Tensors, *, path: str | Path) -> dict[str, Any]:
    """The settings of the "gru" decoder whose widths the shapes tell."""

    def size(name: str, axis: int) -> int:
        return size_of(decoder, name, axis, dims=2, path=path)

    widths = {
        "voice": size("speaker_embedding.weight", 1),
        "context": size("rnn1.weight_hh_l0", 1),
        "sample": size("mu_embedding.weight", 1),
        "memory": size("rnn2.weight_hh_l0", 1),
        "post": size("fc1.weight", 0),
    }
    return {"name": "gru", "widths": widths, "levels": size("mu_embedding.weight", 0)}


def build(
    encoder: Tensors, parts: Mapping[str, Any], decoder: Mapping[str, Any], *, path: str | Path
) -> Codec:
    """A codec with the codebook that ``encoder`` has, in evaluation mode; its weights are yet to come."""
    size, dim = (size_of(encoder, "codebook.embedding", axis, dims=2, path=path) for axis in (0, 1))
    _check_codebook(encoder, path)
    quantizer = {
        "name": "vector",
        "codebook_size": size,
        "learning": {"by": "ema", "decay": 0.999, "commitment": 0.25},
        "start": {"by": "uniform"},
        "revival": {"threshold": 0.0},
    }
    return Codec.build(
        {
            "room": "speech",
            "rate": RATE,
            "encoder": {**parts, "dim": dim},
            "quantizer": quantizer,
            "decoder": dict(decoder),
        }
    ).eval()


def _jitter(encoder: Tensors) -> float:
    """The probability that is written as [p / 2, 1 - p, p / 2]."""
    chances = encoder.get(JITTER)
    return 0.5 if chances is None or chances.numel() != 3 else min(1.0, 2 * abs(float(chances[0])))


def _check_codebook(encoder: Tensors, path: str | Path) -> None:
    """Warn when the codes are not their moving averages, as the published ones are."""
    vectors, counts, sums = (encoder[name] for name in CODEBOOK_NAMES)
    if vectors.shape != sums.shape or counts.shape != vectors.shape[:1]:
        return  # which `fill` will say
    means: Tensor = sums / counts[:, None]
    if not torch.allclose(vectors, means, rtol=1e-3, atol=1e-5):
        log.warning("%s: the codes are not the moving averages that they should be; is it damaged?", path)


def _check_exportable(codec: Codec) -> None:
    state = codec.state_dict()
    names = {**ENCODER_NAMES, **DECODER_NAMES}.values()
    decoder = codec.decoder.spec
    same = all(name in state for name in names) and (decoder["up"], decoder["own_codes"]) == (2, 0)
    if not same or codec.encoder.spec["name"] != "zerospeech" or codec.encoder.hop != 320:
        raise BadSetting(
            f"this codec has other parts than {KIND}: that needs an encoder 'zerospeech', a quantizer "
            "'vector' that learns by moving averages, and a decoder 'gru' with voices"
        )
    if codec.encoder.spec["peak"] != 0.999:
        log.warning("the published code scales each recording to a peak of 0.999, which this codec does not")
