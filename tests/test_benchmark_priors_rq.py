"""That the benchmark of the RQ-Transformer runs, alone and beside the published code where there is one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/priors_rq.py", "--sizes", "toy", "--rounds", "1", *words]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def test_ours_alone_without_a_peer(checkout: Path, tmp_path: Path) -> None:
    out = tmp_path / "priors.json"
    done = run(checkout, "--batches", "1,3", "--json", str(out))
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [row["batch"] for row in rows] == [1, 3]
    assert all("ratio" not in row and row["ours_seconds"] > 0 for row in rows)
    assert "published code" not in done.stdout


def test_a_folder_without_the_published_code_is_refused(checkout: Path, tmp_path: Path) -> None:
    done = run(checkout, "--peer", str(tmp_path))
    assert done.returncode == 1
    assert "is no checkout of kakaobrain/rq-vae-transformer" in done.stderr


def test_beside_the_published_code(checkout: Path, tmp_path: Path) -> None:
    peer = os.environ.get("SPEECHVQ_RQVAE")
    if peer is None:
        pytest.skip("SPEECHVQ_RQVAE names no checkout of kakaobrain/rq-vae-transformer")
    out = tmp_path / "priors.json"
    done = run(checkout, "--peer", peer, "--sizes", "toy,small", "--batches", "2", "--json", str(out))
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [row["size"] for row in rows] == ["toy", "small"]
    for row in rows:  # after the same codes were drawn where only the likeliest is
        assert 0 <= row["logits_differ"] < 1e-4
        assert row["ratio"] > 0


def test_the_benchmark_of_all_priors_measures_it_too(checkout: Path, tmp_path: Path) -> None:
    out = tmp_path / "priors.json"
    asked = ["--priors", "residual", "--sizes", "toy", "--rounds", "1", "--json", str(out)]
    command = [sys.executable, "benchmarks/priors.py", *asked]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [row["batch"] for row in json.loads(out.read_text())["rows"]] == [1, 16]
