"""Every figure of one row of the ablation: what its units are, and what they sound like in another voice."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

import torch
from torch.nn.utils.rnn import pad_sequence

from speechvq import Codec
from speechvq.codec import Codes
from speechvq.errors import BadSetting
from speechvq.score.abx import AbxSettings, abx
from speechvq.score.items import stream_items
from speechvq.score.language import code_scores
from speechvq.score.phonemes import phoneme_experiment
from speechvq.score.probes import ProbeSettings, probe
from speechvq.score.speech import transcriber, word_error_rate
from speechvq.score.streams import Stream, encode_streams
from speechvq.score.units import agreement, joint_counts
from speechvq.speech.audio import read_audio
from speechvq.store.alignments import align_entries
from speechvq.store.intervals import Interval
from speechvq.store.manifest import Entry

SCORING = {"mapped": 300, "sentences": 12, "shortest": 1.5, "longest": 3.0, "frames": 4000, "seed": 0}
"""Recordings of the train split that units are mapped to phones from; sentences to convert and their
seconds; frames that the probes learn from; the seed of all draws."""


@dataclass(frozen=True, eq=False)
class Speech:
    """What all rows are scored on.

    Attributes:
        test: the test split, all of it.
        mapped: recordings of the train split, from which units are mapped to phones.
        sentences: of the test split, to be converted; as many of each voice.
        phones: of `test` and of `mapped`.
        source_wer: of the sentences as they are.
    """

    test: Sequence[Entry]
    mapped: Sequence[Entry]
    sentences: Sequence[Entry]
    phones: tuple[Mapping[int, tuple[Interval, ...]], Mapping[int, tuple[Interval, ...]]]
    source_wer: float


def opened(entries: Sequence[Entry]) -> Speech:
    """The recordings of a manifest with alignments and texts.

    Raises:
        BadSetting: too few voices, or none with sentences of the right length.
    """
    known = [e for e in entries if e.alignment]
    test, train = ([e for e in known if e.split == split] for split in ("test", "train"))
    order = random.Random(SCORING["seed"])
    mapped = order.sample(train, min(int(SCORING["mapped"]), len(train)))
    voices = sorted({e.speaker for e in test})
    if len(voices) < 2:
        raise BadSetting("the ablation converts between voices: give a manifest whose test split has two")
    sentences = []
    for voice in voices:
        spoken = [e for e in test if e.speaker == voice and e.text]
        fit = [e for e in spoken if SCORING["shortest"] <= e.duration <= SCORING["longest"]]
        many = int(SCORING["sentences"]) // len(voices)
        sentences += order.sample(fit, min(many, len(fit)))
    if not sentences:
        raise BadSetting("no test recording with a text is short enough to be converted")
    whole = [word_error_rate(e.text or "", transcriber().transcribe(read_audio(e.path))) for e in sentences]
    return Speech(test, mapped, sentences, (align_entries(test), align_entries(mapped)), median(whole))


def figures(codec: Codec, speech: Speech) -> dict[str, float]:
    """All figures; shares in [0, 1], ABX in percent, rates in bits a second."""
    size = codec.quantizer.codebook_size
    test = encode_streams(codec, speech.test, speech.phones[0], vectors=True)
    mapped = encode_streams(codec, speech.mapped, speech.phones[1])
    scored, code = joint_counts(test), code_scores(test, size)
    read = phoneme_experiment(scored, joint_counts(mapped))
    return {
        "usage": code.usage, "perplexity": code.perplexity, "bitrate": code.bitrate,
        "deduplicated_bitrate": code.deduplicated_bitrate, "pnmi": agreement(scored).pnmi,
        "accuracy_same_data": read.same_data, "accuracy_held_out": read.held_out or 0.0,
        "majority": read.majority_accuracy, **_abx(test), **_speaker(test), **_words(codec, speech),
    }  # fmt: skip


def _abx(streams: Sequence[Stream]) -> dict[str, float]:
    """Triphones across speakers."""
    items, across = stream_items(streams), AbxSettings(speaker="across")
    scores = {n: abx(streams, items, representation=n, settings=across) for n in ("quantized", "one-hot")}
    found = {f"abx_{name}": score.error for name, score in scores.items()}
    return {**found, "abx_items": scores["quantized"].items}


def _speaker(streams: Sequence[Stream]) -> dict[str, float]:
    """Whether a linear probe knows the voice from one frame, before and after quantization."""
    quick = ProbeSettings(most_frames=int(SCORING["frames"]), seed=int(SCORING["seed"]))
    found = {v: probe(streams, "speaker", v, "linear", settings=quick) for v in ("latents", "quantized")}
    return {
        "speaker_before": found["latents"].accuracy,
        "speaker_after": found["quantized"].accuracy,
        "speaker_chance": found["quantized"].chance,
    }


def _words(codec: Codec, speech: Speech) -> dict[str, float]:
    """Word error rates of the sentences, each in the next voice of the codec."""
    voices = list(codec.decoder.speakers)
    waves = [read_audio(entry.path)[0] for entry in speech.sentences]
    found = [codec.encode(wave[None, None]).indices[0, 0] for wave in waves]
    indices = pad_sequence(found, batch_first=True, padding_value=-1)[:, None]
    turn: Counter[str] = Counter()
    targets = []
    for entry in speech.sentences:
        others = [voice for voice in voices if voice != entry.speaker]
        targets.append(voices.index(others[turn[entry.speaker] % len(others)]))
        turn[entry.speaker] += 1
    spoken = codec.decode(Codes(indices, indices[:, 0] >= 0), speaker=torch.tensor(targets), seed=0)
    rates = []
    for entry, sound, codes in zip(speech.sentences, spoken, found, strict=True):
        heard = transcriber().transcribe(sound[:, : len(codes) * codec.encoder.hop])
        rates.append(word_error_rate(entry.text or "", heard))
    return {"wer_median": median(rates), "wer_mean": mean(rates), "wer_source": speech.source_wer}
