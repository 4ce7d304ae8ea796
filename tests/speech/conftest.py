"""What the tests of the speech room share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile


@pytest.fixture(scope="session")
def sound() -> Callable[..., Path]:
    """``sound(path, seconds=0.6, rate=16000, channels=1, **soundfile options)`` writes a short tone.

    Its pitch comes from the file's name, so that files can be told apart.
    """

    def write(
        path: Path, *, seconds: float = 0.6, rate: int = 16000, channels: int = 1, **options: Any
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        time = np.arange(round(seconds * rate)) / rate
        wave = 0.3 * np.sin(2 * np.pi * (100 + sum(path.name.encode()) % 99) * time)
        soundfile.write(str(path), np.tile(wave[:, None], (1, channels)), rate, **options)
        return path

    return write
