"""That the benchmark of the quantizers still runs, and that it judges differing codes rightly."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("vector_quantize_pytorch", reason="needs the extra `peers`")
pytest.importorskip("faiss", reason="needs the extra `peers`")

ROWS = ["search", "eval", "step", "residual", "kmeans"]


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "benchmarks/quantizer.py",
        "--settings",
        "neutral-1",
        "--seconds",
        "0.01",
        *words,
    ]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def test_every_row_is_measured_written_and_kept(checkout: Path, tmp_path: Path):
    out = tmp_path / "quantizer.json"
    asked = ["--quick", "--rows", ",".join(ROWS), "--D", "8", "--out", str(out)]
    done = run(checkout, *asked)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert [c["row"] for c in found["cells"]] == ROWS
    assert {line["row"] for line in found["summary"]} == set(ROWS)
    for cell in found["cells"]:
        assert not cell["skipped"]
        assert {"ours"} < cell["times"].keys()
        for wrong in cell.get("differ", {}).values():
            # Both have the same codes, so few choices differ and none by more than rounding explains.
            assert wrong["rows"] <= 10
            assert wrong["ties"] == wrong["rows"]
    inertia = found["cells"][-1]["inertia"]
    assert inertia["ours"] == pytest.approx(inertia["vqp"], rel=1e-3)
    assert found["machine"]["vector-quantize-pytorch"].startswith("1.32")
    # Asked again, it measures only what is missing.
    done = run(checkout, "--quick", "--rows", "search,memory", "--D", "8", "--out", str(out), "--resume")
    assert done.returncode == 0, done.stderr
    again = json.loads(out.read_text())["cells"]
    assert again[:-1] == found["cells"]
    assert again[-1]["row"] == "memory"
    if Path("/proc/self/clear_refs").exists():
        assert 0 < again[-1]["mib"]["ours"] < 1000


def test_unknown_rows_are_refused_in_a_sentence(checkout: Path):
    done = run(checkout, "--rows", "serach")
    assert done.returncode == 2
    assert "there is no 'serach'; rows are search, eval" in done.stderr


def test_differing_codes_are_told_apart(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(checkout / "benchmarks"))
    from quantizer_rows import differences

    codes = torch.tensor([[0.0], [2.0], [2.0], [5.0]])
    x = torch.tensor([[1.9], [1.9], [4.9], [1.0]])
    ours, theirs = torch.tensor([1, 1, 3, 3]), torch.tensor([1, 2, 0, 0])
    found = differences(x, [codes], ours[:, None], theirs[:, None])
    assert found == {"rows": 3, "ties": 1, "ours": 1, "theirs": 1}
    # Depth by depth: the second depth sees what the first left, and the first difference decides.
    books = [codes, torch.tensor([[0.0], [-0.1]])]
    deep = differences(x[:1], books, torch.tensor([[1, 1]]), torch.tensor([[1, 0]]))
    assert deep == {"rows": 1, "ties": 0, "ours": 1, "theirs": 0}


def test_who_finds_no_memory_is_left_out_and_the_others_run(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(checkout / "benchmarks"))
    from quantizer_clock import Contestant, race, stopwatch

    modest = Contestant("modest", lambda: torch.ones(3))
    greedy = Contestant("greedy", lambda: torch.empty(1 << 50))
    watch = stopwatch(threads=1, cuda=False)
    samples = race([greedy, modest], watch, seconds=0.001, first_counts=False)
    assert samples.keys() == {"modest"}
    assert "--limit" in greedy.failure
    broken = Contestant("broken", lambda: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        race([broken], watch, seconds=0.001, first_counts=False)
