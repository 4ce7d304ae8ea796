"""VQ-CPC of van Niekerk et al. (2020), bshall/VectorQuantizedCPC: its units, and its vocoder.

Two files: that of the contrastive model has the part ``encoder`` (convolution, layer normalised linear
layers, codebook, and the LSTM that makes contexts of the codes), that of the vocoder the part
``vocoder`` (the GRU decoder with a table of codes of its own).
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from speechvq.bridge.checkpoint import check_names, open_checkpoint, part_of, size_of, voice_names
from speechvq.bridge.places import fill, same
from speechvq.bridge.zerospeech import CODEBOOK_NAMES, DECODER_NAMES, build, decoder_spec
from speechvq.codec import Codec
from speechvq.errors import BadCheckpoint

KIND = "bshall/VectorQuantizedCPC"
LSTM = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

ENCODER_NAMES = (
    {"conv.weight": "encoder.conv.weight"}
    | {
        f"encoder.{3 * i}.{name}": f"encoder.norms.{i}.{name}"
        for i in range(5)
        for name in ("weight", "bias")
    }
    | {f"encoder.{3 * i + 2}.weight": f"encoder.linears.{i}.weight" for i in range(4)}
    | {f"encoder.14.{name}": f"encoder.project.{name}" for name in ("weight", "bias")}
    | CODEBOOK_NAMES
)
"""Their names in the part ``encoder`` to ours, without the LSTM."""
CONTEXT_NAMES = {f"rnn.{name}_l0": f"encoder.context.{name}_l0" for name in LSTM}
"""Their names of the LSTM to ours."""
VOCODER_NAMES = DECODER_NAMES | {"code_embedding.weight": "decoder.own.table.weight"}
"""Their names in the part ``vocoder`` to ours."""


def import_vqcpc(
    path: str | Path, *, vocoder: str | Path | None = None, speakers: str | Path | Sequence[str] | None = None
) -> Codec:
    """The codec of a published model, in evaluation mode; without a vocoder it gives codes and is mute.

    Args:
        path: the checkpoint of the contrastive model.
        vocoder: the checkpoint of its vocoder.
        speakers: the ``speakers.json`` of its data, or the names; None calls the voices "000", "001" ...

    Raises:
        BadCheckpoint: they are not such checkpoints, or do not fit each other or the names.
    """
    encoder = part_of(open_checkpoint(path, kind=KIND), "encoder", path=path, kind=KIND)
    hint = f"this is no checkpoint of {KIND}"
    if "encoder.1.running_mean" in encoder:
        hint += ", but perhaps one of their VQ-VAE: speechvq import zerospeech"
    contexts = CONTEXT_NAMES if any(name.startswith("rnn.") for name in encoder) else {}
    check_names(encoder, ENCODER_NAMES | contexts, path=path, hint=hint)
    parts = {
        "name": "vqcpc",
        "channels": size_of(encoder, "conv.weight", 0, dims=3, path=path),
        "context": size_of(encoder, "rnn.weight_hh_l0", 1, dims=2, path=path) if contexts else 0,
    }
    if vocoder is None:
        codec = build(encoder, parts, {"name": "mute"}, path=path)
    else:
        weights = part_of(open_checkpoint(vocoder, kind=KIND), "vocoder", path=vocoder, kind=KIND)
        check_names(weights, VOCODER_NAMES, path=vocoder, hint=f"this is no vocoder of {KIND}")
        own, size = (
            size_of(tensors, name, 0, dims=2, path=file)
            for tensors, name, file in (
                (weights, "code_embedding.weight", vocoder),
                (encoder, "codebook.embedding", path),
            )
        )
        if own != size:
            raise BadCheckpoint(f"{vocoder} speaks {own} codes, but {path} has {size}; they are no pair")
        voices = voice_names(speakers, size_of(weights, "speaker_embedding.weight", 0, dims=2, path=vocoder))
        spec = decoder_spec(weights, path=vocoder)
        codec = build(encoder, parts, spec | {"speakers": voices, "own_codes": own, "jitter": 0.0}, path=path)
        fill(codec, weights, same(codec, VOCODER_NAMES), path=vocoder)
        with torch.no_grad():
            codec.state_dict()["decoder.own.codebook"].copy_(encoder["codebook.embedding"])
    fill(codec, encoder, same(codec, ENCODER_NAMES | contexts), path=path)
    return codec
