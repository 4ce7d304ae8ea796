"""Score a speech codec as a voice converter: held-out recordings, each into every other voice.

`score_conversion` writes one folder: the sound files, ``scores.json`` (medians, every pair, the machine,
the command), ``rows.csv`` and ``index.html``, a page to listen to.
"""

import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from speechvq.codec import Codec, Codes
from speechvq.errors import BadSetting, UnknownSpeaker
from speechvq.score.choice import choose, clip, parallel, references
from speechvq.score.codes import runs, score_codes
from speechvq.score.pairs import Pair, score_files
from speechvq.score.report import write_report
from speechvq.score.results import About, ConversionScores
from speechvq.score.speech import SAMPLE_RATE, samples_of
from speechvq.score.summary import as_csv
from speechvq.speech.audio import write_audio
from speechvq.store.atomic import atomic, refuse
from speechvq.store.manifest import Entry

FILES = ("scores.json", "rows.csv", "index.html")


@dataclass
class _Conversions:
    """Recordings into voices: how, and what has come out so far."""

    codec: Codec
    targets: list[str]
    out: Path  # folder of the sound files
    entries: Sequence[Entry]  # where parallel recordings are looked for
    seed: int  # of the decoder's noise or sampling
    pairs: list[Pair] = field(default_factory=list)
    codes: list[Tensor] = field(default_factory=list)  # per recording (K, T)

    def convert(self, entry: Entry) -> None:
        """Write one recording in every other voice, all voices in one batch."""
        codec, source = self.codec, clip(entry)
        device = next(codec.parameters()).device
        indices = codec.encode(samples_of(source)[None].to(device)).indices
        others = [name for name in self.targets if name != entry.speaker]
        if others:
            rows = torch.tensor([codec.decoder.speakers.index(name) for name in others], device=device)
            repeated = Codes(indices.expand(len(others), -1, -1))
            spoken = codec.decode(repeated, speaker=rows, seed=self.seed)
            for name, sound in zip(others, spoken, strict=True):
                title = re.sub(r"[^\w.-]+", "_", f"{entry.speaker}_{entry.utterance}_as_{name}")
                path = self.out / f"{len(self.codes):03d}_{title}.wav"
                write_audio(path, sound, SAMPLE_RATE)
                same = parallel(self.entries, entry, name)
                pair = Pair(source, path, entry.speaker, name, entry.utterance, entry.text, same)
                self.pairs.append(pair)
        self.codes.append(indices[0].cpu())


def score_conversion(
    entries: Sequence[Entry],
    codec: Codec,
    targets: Sequence[str] | None,
    out: Path,
    *,
    limit: int | None = 40,
    seed: int = 0,
    force: bool = False,
    jobs: int = 1,
    groups: Mapping[str, str] | None = None,
) -> ConversionScores:
    """Convert test recordings into other voices, score them, and write the folder ``out``.

    Args:
        entries: a manifest; its "test" entries are converted, the others serve as voice references.
        codec: a speech codec whose decoder knows the target voices.
        targets: voices by name; None takes all that the decoder knows.
        out: folder to write.
        limit: number of recordings to convert, spread evenly over the voices; None takes all.
        seed: chooses the recordings and the references, and seeds the decoder.
        force: replace what is in ``out``.
        jobs: processes for scoring; with more than one, a script must guard its start (``__name__``).
        groups: voice to group name, for the summary; by default each voice is a group.

    Raises:
        WouldOverwrite: ``out`` holds scores and ``force`` is False.
        UnknownSpeaker: a target voice the decoder does not know.
        BadSetting: no test entries, or a voice without reference recordings.
    """
    for name in FILES:
        refuse(Path(out) / name, force=force)
    targets = _known(codec, targets)
    chosen = choose(entries, limit=limit, seed=seed)
    voices = sorted({entry.speaker for entry in chosen} | set(targets))
    examples = {voice: references(entries, voice, avoid=chosen, seed=seed) for voice in voices}
    made = _Conversions(codec, targets, Path(out) / "sound", entries, seed)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for entry in progress.track(chosen, description="converting"):
            made.convert(entry)
        bar = progress.add_task("scoring", total=len(made.pairs))
        rows = score_files(
            made.pairs, examples, jobs=jobs, watch=lambda done, _: progress.update(bar, completed=done)
        )
    size, seconds = codec.quantizer.codebook_size, [entry.duration for entry in chosen]
    scores = ConversionScores(
        rows=tuple(rows),
        codes=score_codes(made.codes, seconds, size),
        about=about(codec),
        groups=dict(groups or {}),
        units={(e.speaker, e.utterance): runs(c) for e, c in zip(chosen, made.codes, strict=True)},
    )
    write_scores(scores, Path(out))
    return scores


def write_scores(scores: ConversionScores, out: Path) -> None:
    """Write ``scores.json``, ``rows.csv`` and ``index.html`` into ``out``, each whole or not at all."""
    for name, text in zip(FILES, (scores.as_json(), as_csv(scores.rows)), strict=False):
        with atomic(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_report(scores, out)


def about(codec: Codec) -> About:
    """Where figures made now, with this codec, come from."""
    device = next(codec.parameters()).device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    threads = f"{torch.get_num_threads()} threads"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return About(
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        codec=codec.fingerprint,
        frame_rate=codec.frame_rate,
        codebook_size=codec.quantizer.codebook_size,
        num_codebooks=codec.quantizer.num_codebooks,
        machine=f"{name}, {threads}, {platform.system()}, {versions}",
    )


def _known(codec: Codec, targets: Sequence[str] | None) -> list[str]:
    if codec.rate != SAMPLE_RATE:
        raise BadSetting(f"the judges hear {SAMPLE_RATE} Hz, but the codec works at {codec.rate:g} Hz")
    speakers = list(codec.decoder.speakers)
    for name in targets or ():
        if name not in speakers:
            raise UnknownSpeaker(name, speakers)
    return speakers if targets is None else list(targets)
