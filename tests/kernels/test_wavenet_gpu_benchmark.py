"""That the benchmark of the GPU decoders runs whole, in the interpreter, and says where it cannot."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from speechvq.kernels import wavenet_triton


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore::RuntimeWarning", "benchmarks/wavenet_gpu.py", *words]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not wavenet_triton._has_triton(), reason="needs Triton")
def test_the_dry_run_checks_measures_and_writes(checkout: Path, tmp_path: Path) -> None:
    done = run(checkout, "--dry-run", "--seconds", "0", "--out", str(tmp_path / "a.json"))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "a.json").read_text())
    ways = {"eager", "kernel bfloat16", "kernel float32"}
    assert {name for name, check in found["tiny"]["checks"].items() if check["right"]} == ways
    assert {row["way"] for row in found["tiny"]["rows"]} == ways
    assert found["dry"]
    assert found["machine"]["device"]
    assert found["tiny"]["costs"]["flops"] == 2 * (2 * (2 * 16 * 32 + 16 * 16 + 16 * 32) + 32 * 16 + 16 * 32)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(checkout: Path) -> None:
    done = run(checkout)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.strip() == (
        "there is no CUDA GPU here; run it on a machine that has one, or try it with --dry-run"
    )
