"""VCTK 0.92 (``wav48_silence_trimmed/<speaker>/<speaker>_<number>_mic{1,2}.flac``) and 0.80 (``wav48``).

Utterances 001 to 024 are read by everybody, and some later sentences by several speakers. So the shared
ones are for training only, and the others are held out by their words: no sentence is in two splits.
p315 has no texts (its recordings are held out by name); p280 has no second microphone (its first is used).
"""

import re
from dataclasses import dataclass
from pathlib import Path

from speechvq.errors import BadAudio, BadSetting, UnknownName
from speechvq.speech.prepare.gather import Options, Prepared, Recording, gather
from speechvq.store.layout import files_under, hold_out, inside, text_of

SHARED = 24  # utterances 001 to 024
NAME = re.compile(r"(?P<speaker>[ps]\d+)_(?P<number>\d+)(?:_mic(?P<mic>[12]))?$")


@dataclass(frozen=True)
class _Take:
    """One recording of one sentence."""

    path: Path
    speaker: str
    number: str
    text: str | None

    @property
    def shared(self) -> bool:
        return int(self.number) <= SHARED

    @property
    def words(self) -> str:
        """What must stay in one split: the words, or the recording's name where there are none."""
        plain = re.sub(r"[^a-z0-9 ]", "", (self.text or "").lower())
        return " ".join(plain.split()) or f"{self.speaker}_{self.number}"


def vctk(
    root: Path, out: Path, *, options: Options | None = None, mic: int = 2, unseen: tuple[str, ...] = ()
) -> Prepared:
    """List VCTK; ``unseen`` speakers are for the test only (without what everybody reads).

    ``mic`` is 1 (DPA 4035) or 2 (MKH 800), for release 0.92.

    Raises:
        BadSetting: the layout is not there, or ``mic`` is neither 1 nor 2.
        UnknownName: an unseen speaker is not in the corpus.
    """
    options = options or Options()
    if mic not in (1, 2):
        raise BadSetting(f"VCTK has microphones 1 and 2, not {mic}")
    layout = (
        "wav48_silence_trimmed/<speaker>/ (0.92) or wav48/<speaker>/ (0.80), and txt/<speaker>/ beside it"
    )
    sounds = inside(root, ("wav48_silence_trimmed", "wav48"), corpus="VCTK", layout=layout)
    takes = _takes(sounds, mic)
    speakers = sorted({take.speaker for take in takes})
    for name in unseen:
        if name not in speakers:
            raise UnknownName("VCTK speaker", name, speakers)
    shared = {take.words for take in takes if take.shared}
    apart = {take.words for take in takes} - shared
    splits = dict.fromkeys(shared, "train")
    splits |= hold_out(apart, valid=options.valid, test=options.test, seed=options.seed)
    recordings, left_out = [], []
    for take in takes:
        if take.speaker in unseen and take.words in shared:
            left_out.append(BadAudio(take.path, "is read by everybody, and its speaker is kept for the test"))
            continue
        split = "test" if take.speaker in unseen else splits[take.words]
        utterance = take.number if take.shared else f"{take.speaker}_{take.number}"
        recordings.append(Recording(take.path, take.speaker, utterance, split, text=take.text))
    return gather(recordings, out, options, left_out=left_out, source=f"VCTK in {root}")


def _takes(sounds: Path, mic: int) -> list[_Take]:
    """One recording a sentence: by the microphone asked for, or the only one a speaker has."""
    paths: dict[tuple[str, str], dict[str, Path]] = {}
    for path in files_under(sounds, suffixes=(".flac", ".wav")):
        match = NAME.match(path.stem)
        if match is not None:
            paths.setdefault((match["speaker"], match["number"]), {})[match["mic"] or str(mic)] = path
    having = {speaker for (speaker, _), by_mic in paths.items() if str(mic) in by_mic}
    takes = []
    for (speaker, number), by_mic in paths.items():
        path = by_mic.get(str(mic)) if speaker in having else next(iter(by_mic.values()))
        if path is not None:  # a speaker's voice does not change its microphone in the middle
            text = text_of(sounds.parent / "txt" / speaker / f"{speaker}_{number}.txt")
            takes.append(_Take(path, speaker, number, text))
    return takes
