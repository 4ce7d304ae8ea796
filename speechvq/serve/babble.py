"""Speech that nobody said: codes that a prior makes up, or goes on with, in a voice of the codec."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from speechvq.codec import Codec, Codes
from speechvq.errors import BadSetting, UnknownName
from speechvq.nets.sampling import Sampling
from speechvq.prior import Prior, Steering
from speechvq.serve.drawing import Drawing, drawn_by, seed_of
from speechvq.serve.files import BLOCK, Voice
from speechvq.speech.audio import AudioWriter, blocks
from speechvq.speech.stream import decode_stream, encode_stream
from speechvq.store.atomic import refuse


@dataclass(frozen=True)
class Wish:
    """What is to be made up.

    Attributes:
        speaker: who says it: a voice of the codec and, if the prior has speakers, one of them.
        seconds: how much of it, above 0; what is gone on from comes before.
        sampling: how codes are drawn, in each codebook or in all; its seed is also that of the decoder.
        steering: guidance, and rules about repetition.
    """

    speaker: str | None = None
    seconds: float = 5.0
    sampling: Drawing = field(default_factory=Sampling)
    steering: Steering = field(default_factory=Steering)

    def __post_init__(self) -> None:
        if not 0 < self.seconds < 3600:
            raise BadSetting(f"{self.seconds} seconds cannot be made up; give more than 0 and under an hour")


def babble(
    prior: Prior,
    codec: Codec,
    targets: Sequence[str | Path],
    wish: Wish,
    *,
    recording: str | Path | None = None,
    force: bool = False,
) -> list[Codes]:
    """Write one sound file for each of ``targets``; return the codes (1, K, T) of each.

    Args:
        prior: trained on the codes of ``codec``, on its device.
        codec: of speech.
        targets: files to write.
        wish: what.
        recording: a sound file to go on from; it is spoken again at the beginning, in the chosen voice.
        force: replace files that are there.

    Raises:
        BadCodes: the prior was trained on the codes of another codec.
        UnknownSpeaker, UnknownName: the codec or the prior does not know the speaker.
        WouldOverwrite: a target is there and not ``force``.
        BadAudio: the recording cannot be used.
    """
    prior.check(codec.fingerprint)
    if wish.speaker is None and prior.speakers:
        raise BadSetting(f"say who speaks with --speaker, one of {', '.join(prior.speakers)}")
    voice = Voice(wish.speaker, seed=seed_of(wish.sampling))
    voice.check(codec)
    if prior.speakers and wish.speaker not in prior.speakers:
        raise UnknownName("speaker of this prior", str(wish.speaker), list(prior.speakers))
    sampling = drawn_by(prior, wish.sampling)
    for target in targets:
        refuse(target, force=force)
    device = next(codec.parameters()).device
    given = None if recording is None else Codes(_encoded(codec, recording))
    frames = max(1, round(wish.seconds * codec.frame_rate)) + (given.indices.shape[2] if given else 0)
    condition = None
    if prior.speakers:
        condition = {"speaker": torch.tensor([prior.speakers.index(str(wish.speaker))], device=device)}
    made = prior.generate(
        (frames,), condition, sampling, steering=wish.steering, prefix=given, count=len(targets)
    )
    for target, indices in zip(targets, made.indices.split(1), strict=True):
        with AudioWriter(target, round(codec.rate), force=force) as writer:
            pieces = indices.split(max(1, round(BLOCK * codec.frame_rate)), dim=2)
            for wave in decode_stream(codec, pieces, **voice.plain()):
                writer.write(wave[0])
    return [Codes(indices) for indices in made.indices.split(1)]


@torch.no_grad()
def _encoded(codec: Codec, recording: str | Path) -> torch.Tensor:
    """The codes (1, K, T) of a sound file."""
    device = next(codec.parameters()).device
    sound = [block[None].to(device) for block in blocks(Path(recording), round(codec.rate), BLOCK)]
    codec.encoder.grid((sum(block.shape[2] for block in sound),))
    return torch.cat(list(encode_stream(codec, sound)), dim=2)
