"""What FSQ and LFQ promise as any quantizer: shapes, inverses, padding, health, types, compilation."""

import math

import pytest
import torch

from speechvq.errors import BadCodes, BadSetting
from speechvq.quantize.base import QUANTIZERS
from speechvq.quantize.lookup_free import LFQ, BitEntropy
from speechvq.quantize.scalar import FSQ
from speechvq.table import plain

DIM = 5
KINDS = {
    "fsq": lambda: FSQ((8, 5, 4, 3, 2)),
    "fsq-projected": lambda: FSQ((8, 6, 5), dim=DIM),
    "lfq": lambda: LFQ(32, entropy=BitEntropy(temperature=1.0)),
    "lfq-projected": lambda: LFQ(128, dim=DIM, entropy=BitEntropy(temperature=1.0)),
}


@pytest.fixture(params=KINDS)
def kind(request):
    """A maker of the quantizer of this kind, with the weights of a seed."""

    def make(seed=0):
        torch.manual_seed(seed)
        return KINDS[request.param]()

    return make


@pytest.mark.parametrize("grid", [(), (7,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_shapes_and_inverse(kind, grid, training):
    quantizer = kind().train(training)
    z = torch.randn(2, DIM, *grid)
    out = quantizer(z)
    assert out.vectors.shape == z.shape
    assert out.indices.shape == (2, 1, *grid)
    assert torch.equal(quantizer.encode(z), out.indices)
    assert torch.equal(quantizer.decode(out.indices), out.vectors)
    assert torch.equal(quantizer.indices_of(quantizer.codes(out.indices)), out.indices)
    assert (quantizer.decode(torch.full_like(out.indices, -1)) == 0).all()
    assert out.stats["counts"].shape == (1, quantizer.codebook_size)
    assert out.stats["counts"].sum() == z.numel() / DIM
    assert out.stats["revived"] == 0
    assert 1 <= out.stats["perplexity"] <= quantizer.codebook_size
    assert not any(figure.requires_grad for figure in out.stats.values())


def test_stats_against_loops(kind):
    quantizer = kind()
    z = torch.randn(2, DIM, 40)
    mask = torch.rand(2, 40) < 0.7
    out = quantizer(z, mask)
    rows = quantizer.project_in(z.movedim(1, -1)[mask])
    if isinstance(quantizer, FSQ):
        rows = quantizer.bound(rows) / torch.tensor(quantizer.spec["levels"]).div(2, rounding_mode="floor")
    indices = out.indices[:, 0][mask]
    codes = quantizer.codes(indices[:, None])
    counts = [sum(1 for i in indices.tolist() if i == k) for k in range(quantizer.codebook_size)]
    shares = [n / len(indices) for n in counts if n]
    variance = (rows - rows.mean(0)).square().sum()
    want = {
        "perplexity": math.exp(-sum(p * math.log(p) for p in shares)),
        "usage": len(shares) / quantizer.codebook_size,
        "error": ((rows - codes).square().sum() / variance).item(),
        "revived": 0.0,
    }
    assert out.stats["counts"][0].tolist() == counts
    for name, value in want.items():
        assert out.stats[name].item() == pytest.approx(value, rel=1e-4), name


@pytest.mark.parametrize("grid", [(9,), (4, 3), (2, 3, 3)])
def test_padding_changes_nothing(kind, grid):
    """A padded batch with a mask does what the bare vectors do, whatever stands in the padding."""
    torch.manual_seed(1)
    z, mask = torch.randn(2, DIM, *grid), torch.rand(2, *grid) < 0.6
    mask[0].view(-1)[0] = True
    z.movedim(1, -1)[~mask] = float("nan")
    bare = z.movedim(1, -1)[mask].T[None].contiguous()
    padded, alone = kind(), kind()
    padded_z, alone_z = z.clone().requires_grad_(), bare.clone().requires_grad_()
    a, b = padded(padded_z, mask), alone(alone_z)
    assert torch.equal(a.indices.movedim(1, -1)[mask].T[None], b.indices)
    assert (a.indices.movedim(1, -1)[~mask] == -1).all()
    assert (a.vectors.movedim(1, -1)[~mask] == 0).all()
    torch.testing.assert_close(a.vectors.movedim(1, -1)[mask].T[None], b.vectors)
    torch.testing.assert_close(a.losses, b.losses)
    torch.testing.assert_close(a.stats, b.stats, atol=1e-5, rtol=1e-5)
    assert torch.equal(padded.decode(a.indices), a.vectors)
    (a.vectors.square().sum() + sum(a.losses.values())).backward()
    (b.vectors.square().sum() + sum(b.losses.values())).backward()
    torch.testing.assert_close(padded_z.grad.movedim(1, -1)[mask].T[None], alone_z.grad)
    assert (padded_z.grad.movedim(1, -1)[~mask] == 0).all()
    for p, q in zip(padded.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_a_batch_of_padding_only_or_of_nothing(kind):
    for z in (torch.randn(2, DIM, 6), torch.randn(0, DIM, 6)):
        out = kind()(z, torch.zeros(len(z), 6, dtype=torch.bool))
        assert (out.indices == -1).all()
        assert all(loss == 0 for loss in out.losses.values())
        assert all(figure.isfinite().all() for figure in out.stats.values())


def test_a_broken_vector_has_an_index_and_harms_no_other(kind):
    z = torch.randn(1, DIM, 30)
    z[0, 1, 3], z[0, 0, 2] = float("nan"), float("inf")
    quantizer = kind()
    out = quantizer(z)
    whole = [i for i in range(30) if i not in (2, 3)]
    assert (out.indices >= 0).all()
    assert (out.indices < quantizer.codebook_size).all()
    assert torch.equal(out.indices[..., whole], quantizer.encode(z[..., whole]))
    assert out.stats["counts"].isfinite().all()


def test_autocast_and_half_modules_compute_in_float32(kind):
    z = torch.randn(2, DIM, 30)
    a = kind()(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        b = kind()(z)
    assert torch.equal(a.indices, b.indices)
    assert torch.equal(a.vectors, b.vectors)
    torch.testing.assert_close(a.losses, b.losses, atol=0, rtol=0)
    half = kind().to(torch.bfloat16)
    assert all(t.dtype == torch.float32 for t in half.state_dict().values() if t.is_floating_point())
    out = half(z.bfloat16())
    assert out.vectors.dtype == torch.bfloat16
    assert torch.equal(out.indices, kind().encode(z.bfloat16().float()))
    assert all(loss.dtype == torch.float32 for loss in out.losses.values())


def test_made_again_from_spec_and_state(kind):
    quantizer, z = kind(), torch.randn(2, DIM, 8)
    again = QUANTIZERS.build(plain(quantizer.spec))
    assert again.spec == quantizer.spec
    again.load_state_dict(quantizer.state_dict())
    assert torch.equal(again(z).vectors, quantizer(z).vectors)


@pytest.mark.parametrize("name", ["fsq-projected", "lfq-projected"])
@pytest.mark.parametrize("training", [True, False])
def test_compiles_whole(name, training):
    quantizer, z = KINDS[name]().train(training), torch.randn(2, DIM, 6)
    mask = torch.rand(2, 6) < 0.8
    torch.compiler.reset()
    a, b = torch.compile(quantizer, fullgraph=True, backend="aot_eager")(z, mask), quantizer(z, mask)
    assert torch.equal(a.indices, b.indices)
    torch.testing.assert_close(a.vectors, b.vectors)
    torch.testing.assert_close(a.losses, b.losses)


class Encode(torch.nn.Module):
    """What is exported: the integers."""

    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer

    def forward(self, z):
        return self.quantizer.encode(z)


def test_encoding_is_exported(kind):
    quantizer, z = kind().eval(), torch.randn(2, DIM, 6)
    frames = torch.export.Dim("frames", min=2, max=100)
    program = torch.export.export(Encode(quantizer), (z,), dynamic_shapes=({2: frames},))
    longer = torch.randn(2, DIM, 33)
    assert torch.equal(program.module()(longer), quantizer.encode(longer))


def test_wrong_shapes_are_sentences(kind):
    with pytest.raises(BadSetting, match=r"takes \(batch, 5, \*grid\), but got \(2, 4, 7\)"):
        kind()(torch.randn(2, 4, 7))
    with pytest.raises(BadCodes, match="use the codec that made them"):
        kind().decode(torch.zeros(2, 2, 7, dtype=torch.int64))
