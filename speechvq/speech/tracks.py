"""Pitch tracks of a whole manifest, measured once by all cores and kept beside it.

The file is named by a digest of the manifest, so that a changed manifest is measured again.
"""

import hashlib
import logging
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from speechvq.errors import BadAudio
from speechvq.speech.audio import read_audio
from speechvq.speech.features import pitch
from speechvq.store.atomic import atomic
from speechvq.store.manifest import Entry

log = logging.getLogger(__name__)
FEW = 64  # recordings that are measured faster than processes are started


def track_file(manifest: str | Path) -> Path:
    """Where the tracks of this manifest, as it stands, are kept."""
    manifest = Path(manifest)
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()[:12]
    return manifest.with_name(f"{manifest.stem}.pitch-{digest}.npz")


def pitch_tracks(
    manifest: str | Path, entries: Sequence[Entry], sample_rate: int = 16_000
) -> list[np.ndarray]:
    """Hz at 100 Hz, (frames,) float32, of each of the manifest's entries; 0 where unvoiced.

    Read from `track_file`, or measured and written there. A recording that cannot be read has an
    empty track.
    """
    path = track_file(manifest)
    if not path.is_file():
        measured = _measure(entries, sample_rate)
        with atomic(path) as temporary:
            lengths = np.array([len(track) for track in measured])
            np.savez_compressed(temporary, lengths=lengths, tracks=np.concatenate(measured))
    with np.load(path, allow_pickle=False) as file:
        return np.split(file["tracks"], np.cumsum(file["lengths"])[:-1])


def _measure(entries: Sequence[Entry], sample_rate: int) -> list[np.ndarray]:
    jobs = [(entry.path, entry.start, entry.duration, sample_rate) for entry in entries]
    if len(jobs) <= FEW:
        return _watched(map(_track, jobs), len(jobs))
    # Spawned, because a fork of a process that has used torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=_alone) as pool:
        return _watched(pool.map(_track, jobs, chunksize=16), len(jobs))


def _watched(tracks: Iterable[np.ndarray], total: int) -> list[np.ndarray]:
    return list(tqdm(tracks, "measuring pitch", total, leave=False, disable=None))


def _alone() -> None:
    """One thread a process; the processes are as many as the cores."""
    torch.set_num_threads(1)


def _track(job: tuple[str, float, float, int]) -> np.ndarray:
    path, start, duration, sample_rate = job
    try:
        wave = read_audio(path, sample_rate=sample_rate, start=start, duration=duration)
    except BadAudio as error:
        log.warning("no pitch of a recording: %s", error)
        return np.zeros(0, np.float32)
    return pitch(wave, sample_rate).numpy().astype(np.float32)
