"""Health against lists and loops, its words case by case, and two processes that talk over gloo.

As a script, one of those processes: python test_health.py RANK STORE OUT
"""

import math
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from speechvq.errors import BadSetting
from speechvq.quantize import GroupedQuantizer, ResidualQuantizer, Revival, Start, VectorQuantizer
from speechvq.quantize.health import Health
from speechvq.quantize.scalar import FSQ
from speechvq.score import codes as score

NORMAL = Start(by="normal")
MAKERS = {
    "vector": lambda: VectorQuantizer(4, 9, start=NORMAL, revival=Revival(threshold=0.8, decay=0.2)),
    "residual": lambda: ResidualQuantizer(4, 9, 3, start=NORMAL),
    "residual-shared": lambda: ResidualQuantizer(4, 9, 3, shared=True, start=NORMAL),
    "grouped": lambda: GroupedQuantizer(4, 9, 2, depth=2, start=NORMAL),
    "fsq": lambda: FSQ((3, 3, 3, 2)),
}


def stats_of(counts, *, error=0.5, revived=0):
    """The stats of a batch with these counts, a list a codebook."""
    return {
        "counts": torch.tensor(counts, dtype=torch.float32),
        "error": torch.tensor(float(error)),
        "revived": torch.tensor(float(revived)),
    }


def figures_of(*counts):
    health = Health()
    health.add(stats_of(list(counts)))
    return health.figures()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MAKERS)
def test_an_epoch_of_batches_with_padding(name, training):
    quantizer = MAKERS[name]().train(training)
    health, seen, errors, revived = Health(), [], [], 0
    for n in (6, 1, 4):
        z, mask = torch.randn(2, 4, n), torch.rand(2, n) < 0.6
        mask[0, 0] = True
        out = quantizer(torch.where(mask[:, None], z, torch.nan), mask)
        health.add(out if n == 6 else out.stats)
        seen.append(out.indices.movedim(1, 0).flatten(1))
        errors += [float(out.stats["error"])] * int(mask.sum())
        revived += int(out.stats["revived"])
    found = health.figures()
    assert found.vectors == len(errors)
    assert found.error == pytest.approx(sum(errors) / len(errors))
    assert found.revived == revived
    for book, row in zip(found.codebooks, torch.cat(seen, 1), strict=True):
        times = Counter(k for k in row.tolist() if k >= 0)
        shares = [n / sum(times.values()) for n in times.values()]
        entropy = -sum(p * math.log(p) for p in shares)
        assert book.vectors == len(errors)
        assert book.dead == quantizer.codebook_size - len(times)
        assert book.usage == pytest.approx(len(times) / quantizer.codebook_size)
        assert book.perplexity == pytest.approx(math.exp(entropy))
        assert book.entropy == pytest.approx(entropy / math.log(quantizer.codebook_size))
        assert book.busiest == pytest.approx(max(shares))
    for part in ("usage", "perplexity", "entropy"):
        mean = sum(getattr(book, part) for book in found.codebooks) / len(found.codebooks)
        assert getattr(found, part) == pytest.approx(mean)
    assert found.dead == sum(book.dead for book in found.codebooks)
    assert found.busiest == max(book.busiest for book in found.codebooks)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda books: st.integers(1, 8).flatmap(
            lambda size: st.lists(
                st.lists(
                    st.lists(st.integers(0, 50), min_size=size, max_size=size), min_size=books, max_size=books
                ),
                min_size=1,
                max_size=4,
            )
        )
    )
)
def test_as_codes_are_scored_and_within_bounds(batches):
    """The same formulas as in `speechvq.score`; and adding up is adding the counts."""
    health, whole = Health(), sum(torch.tensor(batch) for batch in batches)
    for batch in batches:
        health.add(stats_of(batch))
    assert torch.equal(health.counts, whole)
    found = health.figures()
    assert len(str(found).splitlines()) == 1 + len(whole)
    assert found.bits == pytest.approx(sum(score.entropy(counts) for counts in whole), abs=1e-9)
    for book, counts in zip(found.codebooks, whole, strict=True):
        assert book.usage == pytest.approx(score.usage(counts))
        assert book.perplexity == pytest.approx(score.perplexity(counts))
        assert 0 <= book.entropy <= 1 + 1e-9
        assert 0 <= book.busiest <= 1
        assert book.vectors > 0 or book.verdict == "no vectors seen"


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ([10] * 32, "healthy"),
        ([10] * 30 + [0] * 2, "healthy"),
        ([1] * 32, "healthy"),
        ([5, 3], "healthy"),
        ([7], "healthy"),
        ([10] * 28 + [0] * 4, "some codes unused"),
        ([20] * 16 + [0] * 16, "few codes in use"),
        ([40, 0], "few codes in use"),
        ([200] + [5] * 31, "one code dominates"),
        ([120] + [0] * 1023, "one code dominates"),
        ([1000] * 4 + [1] * 28, "used unevenly"),
        ([1] * 31 + [0], "too few vectors to tell"),
        ([2] + [0] * 31, "too few vectors to tell"),
        ([0] * 32, "no vectors seen"),
    ],
)
def test_verdicts(counts, verdict):
    found = figures_of(counts)
    assert found.codebooks[0].verdict == verdict
    assert f"codebook 0: {verdict}" in str(found)


def test_the_lines_of_a_log():
    health = Health()
    assert str(health.figures()) == "no vectors seen"
    health.add(stats_of([[30, 10, 0, 0], [10, 10, 10, 10]], error=0.25, revived=3))
    assert str(health.figures()) == (
        "40 vectors: 2 of 8 codes unused, 3 revived, error 0.250 of the variance\n"
        "codebook 0: one code dominates; 2 of 4 codes used, perplexity 1.8 (entropy 0.41 of its most), "
        "most used code 75.0 %\n"
        "codebook 1: healthy; 4 of 4 codes used, perplexity 4.0 (entropy 1.00 of its most), "
        "most used code 25.0 %"
    )
    assert health.figures().scalars()["revived"] == 3


def test_counts_of_a_long_epoch_stay_exact():
    """In float32 the second batch would not be counted."""
    health = Health()
    for n in (2**24, 1):
        health.add(stats_of([[n, 0]]))
    assert health.counts.tolist() == [[2**24 + 1, 0]]


class NoLooking(TorchFunctionMode):
    """Refuses to tell the program what a tensor holds."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        looks = ("__bool__", "__int__", "__float__", "__index__", "item", "tolist", "cpu", "nonzero", "equal")
        assert func.__name__ not in looks
        return func(*args, **(kwargs or {}))


def test_adding_does_not_look_at_the_device():
    health, stats = Health(), stats_of([[1, 2, 3]])
    with NoLooking():
        health.add(stats)
        health.add(stats)
        with pytest.raises(AssertionError):
            bool(stats["revived"] > 0)


def test_a_batch_without_vectors_changes_nothing():
    health = Health()
    health.add(stats_of([[3, 1]], error=0.5))
    before = health.figures()
    health.add(stats_of([[0, 0]], error=math.nan))
    assert health.figures() == before


def test_state_comes_back():
    health, again = Health(), Health()
    again.load_state_dict(Health().state_dict())
    assert again.counts is None
    health.add(stats_of([[3, 1]], error=0.5, revived=1))
    again.load_state_dict(health.state_dict())
    for one in (health, again):
        one.add(stats_of([[0, 4]], error=0.1))
    assert again.figures() == health.figures()


def test_another_quantizer_is_refused():
    health = Health()
    health.add(stats_of([[3, 1]]))
    with pytest.raises(BadSetting, match=r"\(1, 3\), and before they were \(1, 2\)"):
        health.add(stats_of([[3, 1, 0]]))


EPOCHS = {
    "uneven": [[stats_of([[3, 1, 0]], error=0.5)], [stats_of([[0, 2, 5]], error=0.2)] * 3],
    "one-idle": [[], [stats_of([[4, 0, 1], [2, 2, 1]], error=0.3, revived=2)]],
    "both-idle": [[], []],
}


def one_worker(rank, store, out):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    found = {}
    for name, parts in EPOCHS.items():
        health = Health()
        for stats in parts[rank]:
            health.add(stats)
        found[name] = [asdict(health.figures(reduce=True)), asdict(health.figures())]
    torch.save(found, out)
    dist.destroy_process_group()


def test_two_workers_with_different_numbers_of_batches(tmp_path):
    running = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), tmp_path / "store", tmp_path / f"{rank}.pt"],
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in running:
        _, complaints = process.communicate(timeout=200)
        assert process.returncode == 0, complaints
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for name, parts in EPOCHS.items():
        alone = Health()
        for stats in parts[0] + parts[1]:
            alone.add(stats)
        wanted = asdict(alone.figures())
        for rank in range(2):
            joint, own = found[rank][name]
            assert joint.pop("error") == pytest.approx(wanted["error"])
            assert joint == {part: value for part, value in wanted.items() if part != "error"}
            assert own["vectors"] == sum(int(stats["counts"][0].sum()) for stats in parts[rank])


if __name__ == "__main__":
    one_worker(int(sys.argv[1]), sys.argv[2], sys.argv[3])
