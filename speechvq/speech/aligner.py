"""Forced alignment of one English recording with its text: pocketsphinx and the model in its package.

Two passes: the words with optional silences and the best of their pronunciations, then the phones, each kept
inside its word. Phones are those of the CMU dictionary, without stress, SIL and SPN (noise).
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from speechvq.errors import BadAlignment, MissingExtra
from speechvq.speech.pronounce import Spell, words_of
from speechvq.store.intervals import Interval

if TYPE_CHECKING:
    from pocketsphinx import Decoder

RATE = 16000  # Hz of the acoustic model
STEP, WINDOW = 0.01, 0.025625  # seconds between its frames, and that each of them hears
MIDDLE = (WINDOW - STEP) / 2  # so frame f is the best to speak for the time from f * STEP + MIDDLE
BEAM = 1e-120  # paths so much less likely than the best are given up
NO_FIT = "does not fit its text"
type Pronunciations = Mapping[str, Sequence[tuple[str, ...]]]


class Aligner:
    """pocketsphinx with its English model and dictionary; about 100 MB, half a second to load."""

    def __init__(self, more: Pronunciations | None = None, spell: Spell | None = None) -> None:
        """``more`` are words of yours, or other pronunciations of known ones; ``spell`` as in `words_of`."""
        self.spell, self._decoder = spell, _decoder()
        for word, pronunciations in (more or {}).items():
            for phones in pronunciations:
                self._decoder.add_word(self._free(word), " ".join(phones), update=False)

    def align(self, wave: Tensor, text: str) -> tuple[Interval, ...]:
        """The phones of ``(1, L)`` samples at 16 kHz, without gaps from 0 to the end, in seconds.

        Nothing of an earlier recording has an influence. Whether the text is what was said is not judged:
        most wrong texts get wrong phones, not an error.

        Raises:
            UnknownWords: the text has words that are not in the dictionary.
            BadAlignment: the text is empty, or the sound is too short for it or too unlike it.
        """
        words = words_of(text, lambda word: self._decoder.lookup_word(word) is not None, self.spell)
        if not words:
            raise BadAlignment("has a text without words")
        if not wave.numel():
            raise BadAlignment(NO_FIT)
        samples = (wave.reshape(-1).clamp(-1, 1) * 32767).round().to(torch.int16).numpy().tobytes()
        self._decoder.reinit_feat()  # forget what was estimated of the last recording's noise
        try:
            self._decoder.set_align_text(" ".join(words))
            self._pass(samples)
            self._decoder.set_alignment()
            self._pass(samples)
            found = self._decoder.get_alignment()
        except RuntimeError as error:
            raise BadAlignment(NO_FIT) from error
        if found is None:
            raise BadAlignment(NO_FIT)
        phones = [(phone.name, phone.start) for phone in found.phones()]
        seconds = wave.shape[-1] / RATE
        times = [0.0, *(min(start * STEP + MIDDLE, seconds) for _, start in phones[1:]), seconds]
        spans = zip(phones, pairwise(times), strict=True)
        return tuple(Interval("SPN" if p[0] == "+" else p, a, b) for (p, _), (a, b) in spans if b > a)

    def _pass(self, samples: bytes) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(samples, full_utt=True)
        self._decoder.end_utt()

    def _free(self, word: str) -> str:
        """The name under which the dictionary takes one more pronunciation of a word."""
        name, number = word, 1
        while self._decoder.lookup_word(name) is not None:
            number += 1
            name = f"{word}({number})"
        return name


def need_pocketsphinx() -> None:
    """Raise `MissingExtra` if pocketsphinx is not installed."""
    if find_spec("pocketsphinx") is None:
        raise MissingExtra("pocketsphinx", "score", "forced alignment")


def _decoder() -> "Decoder":
    need_pocketsphinx()
    from pocketsphinx import Decoder

    # Its search for a better path through the words may end in a word of one frame, which has no room
    # for the states of a phone: the second pass then fails. Its own beams (1e-48) lose noisy speech.
    beams = {"beam": BEAM, "pbeam": BEAM, "wbeam": BEAM}
    return Decoder(lm=None, loglevel="FATAL", cmn="batch", bestpath=False, **beams)
