"""Five professional voices: the telephone prompts of Debian's asterisk-core-sounds-*-g722 packages.

G.722 at 16 kHz, about 130 minutes, CC-BY-SA. ``root`` is where the packages install them (the default), a
folder of ``.deb`` files, or one ``.deb`` file. English and Spanish are one bilingual woman, kept as two
voices. Texts come from ``core-sounds-<language>.txt`` of the packages without codec, where those are found.
"""

import gzip
import re
import tempfile
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechvq.errors import BadAudio, BadSetting, MissingExtra
from speechvq.speech.audio import write_audio
from speechvq.speech.prepare.gather import Options, Prepared, Recording, gather, in_parallel
from speechvq.store.debian import unpack
from speechvq.store.layout import files_under, hold_out

INSTALLED = Path("/usr/share/asterisk/sounds")
RATE = 16000
VOICES = {
    "en_US_f_Allison": "en_allison",
    "es_MX_f_Allison": "es_allison",
    "fr_CA_f_June": "fr_june",
    "it_IT_m_Carlo": "it_carlo",
    "ru_RU_f_IvrvoiceRU": "ru_ivrvoice",
}
TONES = re.compile(r"(^|/)(beep|beeperr|\w+-2tone|tt-monkeys|silence/\d+)$")


@dataclass(frozen=True)
class _Prompt:
    """One file of a package."""

    path: Path
    voice: str
    name: str  # "digits/7": the path below the voice's folder
    text: str | None

    @property
    def utterance(self) -> str:
        return f"{self.voice[:2]}/{self.name}"


def asterisk(root: Path | None, out: Path, *, options: Options | None = None) -> Prepared:
    """Decode the prompts into ``out/sounds/<voice>/**.flac`` and list them; decoded ones are kept.

    Tones, silence and prompts shorter than ``options.shortest`` are left out and reported. The utterance is
    language and prompt ("en/vm-intro"): the same prompt in two languages is not a parallel recording.

    Raises:
        BadSetting: no prompts are found, or a package cannot be unpacked.
        BadAudio: a prompt is bad and ``options.on_bad`` is "refuse".
        MissingExtra: PyAV, which decodes G.722, is not installed.
    """
    options = options or Options()
    with ExitStack() as stack:
        prompts = _prompts(_folders(root or INSTALLED, stack))
        left_out = [BadAudio(p.path, "is a tone, not speech") for p in prompts if _tone(p)]
        speech = [p for p in prompts if not _tone(p)]
        held = {"valid": options.valid, "test": options.test, "seed": options.seed}
        splits = hold_out((p.utterance for p in speech), **held)

        def decode(prompt: _Prompt) -> Recording | BadAudio:
            sound = out / "sounds" / prompt.voice / f"{prompt.name}.flac"
            if not sound.exists():
                try:
                    write_audio(sound, decode_g722(prompt.path), RATE)
                except BadAudio as error:
                    return error
            return Recording(
                sound, prompt.voice, prompt.utterance, splits[prompt.utterance], text=prompt.text
            )

        done = in_parallel(decode, speech, options, title="Decoding prompts")
    bad = [item for item in done if isinstance(item, BadAudio)]
    recordings = [item for item in done if isinstance(item, Recording)]
    return gather(recordings, out, options, bad=bad, left_out=left_out, source=str(root or INSTALLED))


def decode_g722(path: Path) -> Tensor:
    """A raw G.722 file of 64 kbit/s as ``(1, L)`` float32 at 16 kHz.

    Raises:
        BadAudio: it is empty or cannot be decoded.
        MissingExtra: PyAV is not installed.
    """
    try:
        import av
        import av.error
    except ImportError as error:
        raise MissingExtra("av", "video", "decoding G.722") from error
    if path.stat().st_size == 0:
        raise BadAudio(path, "is empty")
    try:
        with av.open(str(path), format="g722") as container:
            pieces = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    except av.error.FFmpegError as error:
        raise BadAudio(path, "is damaged or not audio in a format we read") from error
    if not pieces:
        raise BadAudio(path, "has no samples")
    return torch.from_numpy(np.concatenate(pieces)).float()[None] / 32768


def _folders(root: Path, stack: ExitStack) -> Path:
    """A folder that has the packages' files somewhere below, unpacked for as long as the stack is open."""
    packages = [root] if root.suffix == ".deb" else sorted(root.glob("*.deb")) if root.is_dir() else []
    if not packages:
        return root
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    for package in packages:
        if not package.is_file():
            raise BadSetting(f"there is no package {package}")
        unpack(package, folder, suffixes=(".g722", ".txt.gz"))
    return folder


def _prompts(root: Path) -> list[_Prompt]:
    """Every prompt of a known voice below ``root``, once, whatever links lead to it."""
    if not root.is_dir():
        raise BadSetting(
            f"there is no folder {root}; on Debian and Ubuntu: apt install asterisk-core-sounds-en-g722 "
            "(and -es-, -fr-, -it-, -ru-), or give a folder with these packages as .deb files"
        )
    texts = {voice: _texts(root, voice[:2]) for voice in VOICES.values()}
    prompts: dict[tuple[str, str], _Prompt] = {}
    for path in files_under(root, suffixes=(".g722",)):
        parts = path.resolve().parts  # en -> en_US_f_Allison and the like are links
        for at, part in enumerate(parts[:-1]):
            if part in VOICES:
                name = Path(*parts[at + 1 :]).with_suffix("").as_posix()
                text = texts[VOICES[part]].get(name)
                prompts.setdefault((part, name), _Prompt(path, VOICES[part], name, text))
    return sorted(prompts.values(), key=lambda prompt: (prompt.voice, prompt.name))


def _texts(root: Path, language: str) -> dict[str, str]:
    """Prompt name to text from ``core-sounds-<language>.txt.gz``, below ``root`` or where Debian puts it."""
    name = f"core-sounds-{language}.txt.gz"
    beside = root.parent.parent / "doc" / f"asterisk-core-sounds-{language}" / name
    for place in (beside, *sorted(root.rglob(name))):
        try:
            content = gzip.decompress(place.read_bytes()).decode("utf-8", "replace")
        except (OSError, EOFError, zlib.error):
            continue
        pairs = (line.split(":", 1) for line in content.splitlines() if ":" in line and line[0] != ";")
        return {key.strip(): " ".join(text.split()) for key, text in pairs}
    return {}


def _tone(prompt: _Prompt) -> bool:
    """By name, or because the text is only a remark such as "[this is a simple beep tone]"."""
    remark = prompt.text is not None and re.fullmatch(r"\[.*\]|\(.*\)", prompt.text) is not None
    return remark or TONES.search(prompt.name) is not None
