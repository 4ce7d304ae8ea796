"""What every test gets: one thread, a fixed seed, no network, and library caches in a temporary place."""

import os
import random
import tempfile
from pathlib import Path

# Before any library reads them. Workers of xdist are processes: one thread each keeps them from crowding.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / "speechvq-tests-matplotlib"))
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / "speechvq-tests-numba"))

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> int:
    """Every test starts from the same random state, in whatever order or worker it runs."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    return 0


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder that holds pyproject.toml."""
    return Path(__file__).parents[1]


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is also the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tiny_codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real codec with few, random weights, that speaks as "slt" and "kal"."""
    from speechvq.codec import Codec

    torch.manual_seed(0)
    codec = Codec.build(
        {
            "room": "speech",
            "rate": 16000,
            "encoder": {"name": "mel", "dim": 8, "channels": 8, "dilations": [1]},
            "quantizer": {"name": "vector", "codebook_size": 32},
            "decoder": {"name": "spectral", "size": "tiny", "speakers": ["slt", "kal"]},
        }
    )
    folder = tmp_path_factory.mktemp("codec") / "tiny"
    codec.save_pretrained(folder)
    return folder
