"""Corpora to manifests, one small file a corpus. Every preparer has the same shape::

    prepared = PREPARERS[name](root, out, options=Options(...), **its own options)
    write_manifest(out / "manifest.jsonl", prepared.entries)      # the caller does this
    prepared.skipped.counts                                        # {"is truncated": 3, ...}; .paths, .total

``root`` is where the corpus lies, ``out`` the folder for whatever is made (processed copies, decoded or
synthesised sound, phone times); nothing is written into ``root``, and with no processing the public
corpora write nothing at all. `Options` (gather.py) holds what all of them take: valid, test, seed, on_bad,
shortest, checks, processing, workers, progress; `Processing` (process.py): sample_rate, highpass,
normalise, peak, loudness, trim. Their own options, all keyword-only::

    folder(root, out, *, options=None, speaker=None)
    vctk(root, out, *, options=None, mic=2, unseen=())
    librispeech(root, out, *, options=None, subsets=None, alignments=None)
    ljspeech(root, out, *, options=None)
    timit(root, out, *, options=None)
    zerospeech2019(root, out, *, options=None, language="english", vad=False)
    asterisk(root, out, *, options=None)                      # root may be None: where Debian installs them
    flite(root, out, *, options=None, sentences=1000, voices=VOICES, parallel=False)  # root: None

Every one raises `BadSetting` when the layout is not there or nothing in it can be used, and `BadAudio`
at the first bad recording with ``Options(on_bad="refuse")``.
"""

from collections.abc import Callable

from speechvq.errors import UnknownName
from speechvq.speech.prepare.asterisk import asterisk
from speechvq.speech.prepare.flite import flite
from speechvq.speech.prepare.folder import folder
from speechvq.speech.prepare.gather import Options, Prepared, Skipped
from speechvq.speech.prepare.librispeech import librispeech
from speechvq.speech.prepare.ljspeech import ljspeech
from speechvq.speech.prepare.process import Processing
from speechvq.speech.prepare.timit import timit
from speechvq.speech.prepare.vctk import vctk
from speechvq.speech.prepare.zerospeech2019 import zerospeech2019

type Preparer = Callable[..., Prepared]

PREPARERS: dict[str, Preparer] = {
    "asterisk": asterisk,
    "flite": flite,
    "folder": folder,
    "librispeech": librispeech,
    "ljspeech": ljspeech,
    "timit": timit,
    "vctk": vctk,
    "zerospeech2019": zerospeech2019,
}

__all__ = ["PREPARERS", "Options", "Prepared", "Preparer", "Processing", "Skipped", "preparer"]


def preparer(name: str) -> Preparer:
    """The preparer of a corpus by name.

    Raises:
        UnknownName: there is none of that name; the sentence lists the known ones.
    """
    if name not in PREPARERS:
        raise UnknownName("corpus to prepare", name, sorted(PREPARERS))
    return PREPARERS[name]
