"""Speech from flite's four 16 kHz voices, with exact phone times and any number of our own sentences.

Needs the program ``flite`` (Debian and others have it as a package). Made under ``out``:
``sounds/<voice>/<id>.flac`` and ``phones/<voice>/<id>.phones`` (lines ``start end phone``, seconds). The id
comes from the sentence, so equal ids in two voices are parallel recordings.
"""

import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from speechvq.errors import BadAudio, BadSetting, UnknownName
from speechvq.speech.audio import read_audio, write_audio
from speechvq.speech.prepare.gather import Options, Prepared, Recording, gather, in_parallel
from speechvq.speech.prepare.sentences import sentences as new_sentences
from speechvq.store.atomic import atomic

VOICES = ("kal16", "awb", "rms", "slt")  # three men and a woman
RATE = 16000
PATIENCE = 60  # seconds for one sentence; it takes hundredths


@dataclass(frozen=True)
class _Line:
    """One sentence in one voice."""

    voice: str
    text: str
    split: str

    @property
    def name(self) -> str:
        return hashlib.sha1(self.text.encode()).hexdigest()[:12]


def flite(
    root: Path | None,
    out: Path,
    *,
    options: Options | None = None,
    sentences: int = 1000,
    voices: tuple[str, ...] = VOICES,
    parallel: bool = False,
) -> Prepared:
    """Synthesise ``sentences`` sentences in each voice; what is already there is not made again.

    With ``parallel`` all voices say the same ones; otherwise each has its own. ``options.valid``
    and ``options.test`` are fractions of the number of sentences, and ``options.seed`` chooses the sentences;
    the three splits share no sentence, whatever the seeds. ``root`` is not used.

    Raises:
        BadSetting: flite is not installed, or there is nothing to say or nobody to say it.
        UnknownName: a voice that is none of `VOICES`.
    """
    options = options or Options()
    for voice in voices:
        if voice not in VOICES:
            raise UnknownName("flite voice", voice, list(VOICES))
    if sentences < 1 or not voices:
        raise BadSetting("flite needs at least one sentence and one voice")
    program = shutil.which("flite")
    if program is None:
        raise BadSetting("flite is not installed; on Debian and Ubuntu: apt install flite")

    def say(line: _Line) -> Recording | BadAudio:
        sound, phones = _places(line, out)
        if not sound.exists():
            try:
                _synthesise(program, line, sound, phones)
            except BadAudio as error:
                return error
        return Recording(sound, line.voice, line.name, line.split, text=line.text, alignment=phones)

    lines = _script(sentences, voices, options, same=parallel)
    said = in_parallel(say, lines, options, title="Speaking sentences")
    bad = [item for item in said if isinstance(item, BadAudio)]
    return gather((r for r in said if isinstance(r, Recording)), out, options, bad=bad, source="flite")


def _script(count: int, voices: tuple[str, ...], options: Options, *, same: bool) -> list[_Line]:
    """Who says what: sentences are dealt out in turn, or said by all."""
    held = {"valid": round(count * options.valid), "test": round(count * options.test)}
    shares = {"train": count - sum(held.values())} | held
    lines = []
    for split, share in shares.items():
        texts = new_sentences(share * (1 if same else len(voices)), options.seed, split=split)
        for number, voice in enumerate(voices):
            mine = texts if same else texts[number :: len(voices)]
            lines += [_Line(voice, text, split) for text in mine]
    return lines


def _places(line: _Line, out: Path) -> tuple[Path, Path]:
    sound = out / "sounds" / line.voice / f"{line.name}.flac"
    return sound, out / "phones" / line.voice / f"{line.name}.phones"


def _synthesise(program: str, line: _Line, sound: Path, phones: Path) -> None:
    """Run flite; the phones are stored first, so that a sound is never without them."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "x.wav"
        command = [program, "-voice", line.voice, "-t", line.text, "-psdur", "-o", str(wav)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
        except (subprocess.SubprocessError, OSError) as error:
            raise BadAudio(sound, "could not be synthesised") from error
        wave = read_audio(wav, sample_rate=RATE)
    times = _times(done.stdout, wave.shape[1] / RATE)
    if not times:
        raise BadAudio(sound, "was synthesised without phone times")
    with atomic(phones) as temporary:
        temporary.write_text("".join(f"{a:.4f} {b:.4f} {phone}\n" for a, b, phone in times))
    write_audio(sound, wave, RATE)


def _times(printed: str, duration: float) -> list[tuple[float, float, str]]:
    """``phone:end`` words to (start, end, phone), seconds; the last pause may pass the end of the sound."""
    times, start = [], 0.0
    for word in printed.split():
        phone, _, end = word.rpartition(":")
        stop = min(float(end), duration)
        if stop > start:
            times.append((start, stop, phone))
            start = stop
    return times
