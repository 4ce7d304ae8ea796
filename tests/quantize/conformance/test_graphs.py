"""Every class as one graph: compiled, exported, without a recompilation; and the memory of a step."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from speechvq.quantize import Start


class Whole(nn.Module):
    """A quantizer's three verbs as one function."""

    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer

    def forward(self, z, mask):
        out, indices = self.quantizer(z, mask), self.quantizer.encode(z)
        decoded = self.quantizer.decode(indices)
        return out.vectors, out.indices, out.losses, out.stats, indices, decoded


def batches():
    """Vectors and masks of three batch sizes."""
    for size in (2, 3, 5):
        yield torch.randn(size, 6, 7), torch.rand(size, 7) < 0.8


def assert_compiles(make, training, backend):
    """One graph for three batch sizes, which does what the plain module does to outputs, gradients, state."""
    torch._dynamo.reset()
    plain = make().train(training)
    module = copy.deepcopy(plain)
    graph = torch.compile(module, fullgraph=True, dynamic=True, backend=backend)
    for z, mask in batches():
        found, wanted = [], []
        for one, seen in ((graph, found), (plain, wanted)):
            torch.manual_seed(1)
            x = z.clone().requires_grad_(training)
            with torch._dynamo.config.patch(error_on_recompile=True):
                out = one(x, mask)
            if training:
                (out.vectors.sin().sum() + sum(out.losses.values())).backward()
            seen += [out.vectors, out.indices, out.losses, out.stats, x.grad]
        if not (training and make.by_chance):
            # A compiled graph may draw its random numbers in another order.
            torch.testing.assert_close(found, wanted)
    if not (training and make.by_chance):
        torch.testing.assert_close(dict(module.state_dict()), dict(plain.state_dict()))
    if training:
        moved = dict(make().state_dict())
        changed = [not torch.equal(v, moved[k]) for k, v in module.state_dict().items()]
        assert any(changed) == (make.name not in ("vector-frozen", "vector-projected", "fsq", "lfq"))


@pytest.mark.parametrize("any_kind", ["residual-dropout"], indirect=True)
def test_compiles_whole(any_kind):
    """With the vector quantizer of the checks this is most of what there is to compile."""
    assert_compiles(any_kind, training=True, backend="aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
def test_every_kind_compiles_whole(any_kind, training):
    assert_compiles(any_kind, training, backend="aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("any_kind", ["residual-factorised"], indirect=True)
def test_compiles_to_machine_code(any_kind):
    assert_compiles(any_kind, training=True, backend="inductor")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Dynamo does not know:UserWarning")
@pytest.mark.parametrize("kind", ["residual-ema"], indirect=True)
def test_compiled_before_the_codes_have_started(kind):
    """While vectors for k-means are collected the graph is left for that; afterwards it is whole."""
    torch._dynamo.reset()
    plain = kind(start=Start(by="kmeans"))
    module = copy.deepcopy(plain)
    graph = torch.compile(module, backend="eager")
    for _ in range(6):
        z = torch.randn(2, 6, 15)
        torch.testing.assert_close(graph(z).vectors, plain(z).vectors)
    assert not module.pool.pending
    torch.testing.assert_close(dict(module.state_dict()), dict(plain.state_dict()))


def assert_exports(make):
    """Forward, encode and decode, for any batch and length, though traced with one of each."""
    module = Whole(make()).eval()
    batch, length = Dim("batch", min=2, max=64), Dim("length", min=2, max=4096)
    shapes = ({0: batch, 2: length}, {0: batch, 1: length})
    z, mask = torch.randn(3, 6, 9), torch.rand(3, 9) < 0.7
    program = export(module, (z, mask), dynamic_shapes=shapes).module()
    for size, length in ((3, 9), (5, 4), (2, 31)):
        z, mask = torch.randn(size, 6, length), torch.rand(size, length) < 0.7
        torch.testing.assert_close(program(z, mask), module(z, mask))


@pytest.mark.parametrize(
    "any_kind", ["vector-factorised", "residual-dropout", "grouped", "lfq"], indirect=True
)
def test_exports(any_kind):
    assert_exports(any_kind)


@pytest.mark.slow
def test_every_kind_exports(any_kind):
    assert_exports(any_kind)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs the peak memory of Linux")
@pytest.mark.parametrize("what", ["training", "residual"])
def test_a_training_step_keeps_no_matrix_of_distances(peaks, what):
    """8192 vectors, 4096 codes: a step of forward and backward rises by less than half such a matrix."""
    assert peaks("ours", "eval,training,residual")[what] < 0.5


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs the peak memory of Linux")
def test_the_entropy_loss_keeps_no_matrix_of_distances(peaks):
    assert peaks("ours", "entropy")["entropy"] < 0.5
