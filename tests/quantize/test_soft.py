"""Soft labels against a loop over vectors and depths, and the fused loss against its formula."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from speechvq.errors import BadSetting
from speechvq.kernels import plain
from speechvq.quantize import GroupedQuantizer, Learning, ResidualQuantizer, Space, Start, VectorQuantizer
from speechvq.quantize.scalar import FSQ
from speechvq.quantize.soft import soft_labels, soft_targets

NORMAL = Start(by="normal")
GRADIENT = Learning(by="gradient")
MAKERS = {
    "vector": lambda: VectorQuantizer(4, 7, start=NORMAL),
    "vector-cosine": lambda: VectorQuantizer(4, 7, start=NORMAL, space=Space(dim=3, metric="cosine")),
    "vector-projected": lambda: VectorQuantizer(
        4, 7, start=NORMAL, space=Space(codes="projected"), learning=GRADIENT
    ),
    "residual": lambda: ResidualQuantizer(4, 7, 3, start=NORMAL),
    "residual-affine": lambda: ResidualQuantizer(
        4, 7, 2, start=NORMAL, space=Space(dim=2, codes="affine"), learning=GRADIENT
    ),
    "residual-shared": lambda: ResidualQuantizer(4, 7, 3, shared=True, start=NORMAL),
    "grouped": lambda: GroupedQuantizer(4, 7, 2, depth=2, start=NORMAL),
}


@pytest.fixture(params=MAKERS)
def made(request):
    """(quantizer in float64, vectors, mask)."""
    quantizer = MAKERS[request.param]().double()
    grid = (3, 2) if request.param == "residual" else (5,)
    z = torch.randn(2, 4, *grid, dtype=torch.float64)
    mask = torch.rand(2, *grid) < 0.7
    mask.reshape(2, -1)[:, 0] = True
    return quantizer, z, mask


def by_loop(stack, z, mask, indices, temperature):
    """Q of one stack (B, V, *grid, K) for the chosen ``indices``, one vector at a time."""
    books = [stack.codebook] if isinstance(stack, VectorQuantizer) else list(stack.codebooks)
    wanted = torch.zeros(*indices.shape, stack.codebook_size, dtype=z.dtype)
    for b, *place in mask.nonzero().tolist():
        where = tuple(place)
        left = stack.passage.into(z[(b, slice(None), *where)][None])[0]
        for v in range(indices.shape[1]):
            codes = books[v if len(books) > 1 else 0].codes()
            raised = [math.exp(-float(((left - code) ** 2).sum()) / temperature) for code in codes]
            for k, value in enumerate(raised):
                wanted[(b, v, *where, k)] = value / sum(raised)
            left = left - codes[int(indices[(b, v, *where)])]
    return wanted


@pytest.mark.parametrize("sample", [False, True])
def test_probabilities_as_the_loop_finds_them(made, sample, state_of):
    quantizer, z, mask = made
    before = state_of(quantizer)
    z = z.requires_grad_()
    found = soft_labels(quantizer, z, temperature=0.8, sample=sample, mask=mask)
    assert not found.probabilities.requires_grad
    for name, value in state_of(quantizer).items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(found.indices >= 0, mask[:, None].expand_as(found.indices))
    if not sample:
        assert torch.equal(found.indices, torch.where(mask[:, None], quantizer.encode(z), -1))
    stacks = list(quantizer.groups) if isinstance(quantizer, GroupedQuantizer) else [quantizer]
    parts = zip(stacks, z.detach().chunk(len(stacks), 1), found.indices.chunk(len(stacks), 1), strict=True)
    with torch.no_grad():
        wanted = torch.cat([by_loop(stack, part, mask, chosen, 0.8) for stack, part, chosen in parts], 1)
    torch.testing.assert_close(found.probabilities, wanted)


def test_fused_loss_is_the_formula(made, monkeypatch):
    """Values and slopes, with tiles of two rows, and whatever stands in the padding."""
    monkeypatch.setitem(plain.TILE_SCORES, "cpu", 14)
    quantizer, z, mask = made
    targets = soft_targets(quantizer, z, temperature=0.8, sample=True, mask=mask)
    labels = targets.labels()
    logits = torch.randn_like(labels.probabilities, requires_grad=True)
    each = -(labels.probabilities * logits.log_softmax(-1)).sum(-1)
    wanted = each.sum() / (labels.indices >= 0).sum()
    (slope,) = torch.autograd.grad(wanted, logits, retain_graph=True)

    broken = torch.where(mask[:, None, ..., None], logits.detach(), torch.nan).requires_grad_()
    loss = targets.cross_entropy(broken)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(torch.autograd.grad(loss, broken)[0], slope)
    own = targets.cross_entropy(logits, mean=False)
    torch.testing.assert_close(own, each)
    weight = torch.randn_like(own)
    slopes = [torch.autograd.grad((weight * one).sum(), logits)[0] for one in (own, each)]
    torch.testing.assert_close(*slopes)


def test_figures_of_both(made):
    quantizer, z, mask = made
    targets = soft_targets(quantizer, z, temperature=0.8, mask=mask)
    labels = targets.labels()
    for v in range(quantizer.num_codebooks):
        valid = labels.probabilities[:, v][mask]
        for found in (targets.figures(), labels.figures()):
            torch.testing.assert_close(found.certainty[v], valid.amax(1).mean())
            torch.testing.assert_close(found.entropy[v], -(valid * valid.log()).sum(1).mean())


def test_samples_follow_the_distribution():
    """The share of each first code, and of each second code after a first one, over many draws."""
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(2, 3, 2, start=NORMAL)
    z = torch.randn(1, 2, 1).expand(1, 2, 20000)
    found = soft_labels(quantizer, z, temperature=2.0, sample=True)
    first, second = found.indices[0]
    p, q = found.probabilities[0]
    share = torch.bincount(first, minlength=3) / len(first)
    torch.testing.assert_close(share, p[0], atol=0.02, rtol=0)
    for k in range(3):
        after = first == k
        share = torch.bincount(second[after], minlength=3) / after.sum()
        torch.testing.assert_close(share, q[after][0], atol=0.05, rtol=0)
    assert not torch.equal(found.indices, soft_labels(quantizer, z, temperature=2.0, sample=True).indices)


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(1, 9),
    depth=st.integers(1, 3),
    grid=st.lists(st.integers(0, 3), max_size=3),
    temperature=st.floats(1e-3, 1e3),
    offset=st.sampled_from([0.0, 100.0]),
    seed=st.integers(0, 99),
)
def test_every_shape_and_temperature(size, depth, grid, temperature, offset, seed):
    torch.manual_seed(seed)
    quantizer = ResidualQuantizer(2, size, depth, start=NORMAL)
    z = torch.randn(2, 2, *grid) + offset
    found = soft_labels(quantizer, z, temperature=temperature)
    assert found.probabilities.shape == (2, depth, *grid, size)
    torch.testing.assert_close(found.probabilities.sum(-1), torch.ones(found.indices.shape))
    assert torch.equal(found.probabilities.argmax(-1), found.indices) or temperature > 100 or offset
    targets = soft_targets(quantizer, z, temperature=temperature)
    loss = targets.cross_entropy(torch.randn_like(found.probabilities))
    assert loss.isfinite()


def test_little_heat_is_the_hard_loss_and_much_is_the_even_one():
    quantizer = VectorQuantizer(3, 8, start=NORMAL)
    z, logits = torch.randn(2, 3, 6), torch.randn(2, 1, 6, 8)
    hard = F.cross_entropy(logits.reshape(-1, 8), quantizer.encode(z).flatten())
    cold = soft_targets(quantizer, z, temperature=1e-6)
    torch.testing.assert_close(cold.cross_entropy(logits), hard)
    torch.testing.assert_close(cold.figures().certainty, torch.ones(1))
    hot = soft_targets(quantizer, z, temperature=1e6)
    torch.testing.assert_close(hot.cross_entropy(logits), -logits.log_softmax(-1).mean(), atol=1e-4, rtol=0)
    torch.testing.assert_close(hot.figures().entropy, torch.tensor([math.log(8)]))


def test_full_precision_under_autocast_and_16_bit_logits():
    quantizer = VectorQuantizer(16, 32, start=NORMAL)
    z = torch.randn(2, 16, 9) * 5
    wanted = soft_labels(quantizer, z, temperature=0.5)
    logits = torch.randn(2, 1, 9, 32).bfloat16().requires_grad_()
    explicit = -(wanted.probabilities * logits.float().log_softmax(-1)).sum(-1).mean()
    with torch.autocast("cpu", torch.bfloat16):
        found = soft_labels(quantizer, z, temperature=0.5)
        loss = soft_targets(quantizer, z, temperature=0.5).cross_entropy(logits)
    assert torch.equal(found.probabilities, wanted.probabilities)
    assert found.probabilities.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(loss, explicit)
    loss.backward()
    assert logits.grad.dtype == torch.bfloat16


def test_targets_stay_when_the_codebook_learns_on():
    quantizer = VectorQuantizer(3, 8, start=NORMAL)
    z, logits = torch.randn(2, 3, 6), torch.randn(2, 1, 6, 8)
    targets = soft_targets(quantizer, z, temperature=1.0)
    before = targets.cross_entropy(logits)
    quantizer(torch.randn(2, 3, 50))
    assert torch.equal(targets.cross_entropy(logits), before)


class Largest(TorchFunctionMode):
    """Remembers how many numbers the largest tensor made under it has; views and writes make none."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        before = {one.untyped_storage().data_ptr() for one in args if isinstance(one, torch.Tensor)}
        if isinstance(out, torch.Tensor) and out.untyped_storage().data_ptr() not in before:
            self.numbers = max(self.numbers, out.numel())
        return out


def test_the_whole_target_is_never_held(monkeypatch):
    """Nothing that is made on the way to the loss is larger than a tile."""
    tile = 64 * 128
    monkeypatch.setitem(plain.TILE_SCORES, "cpu", tile)
    quantizer = ResidualQuantizer(2, 64, 2, start=NORMAL)
    z = torch.randn(1, 2, 4 * 128)
    logits = torch.randn(1, 2, z.shape[2], 64, requires_grad=True)
    with Largest() as making:
        targets = soft_targets(quantizer, z, temperature=1.0, sample=True)
    assert making.numbers == tile
    with Largest() as losing:
        targets.cross_entropy(logits)
    assert losing.numbers == tile
    with Largest() as explicit:
        targets.labels()
    assert explicit.numbers == logits.numel()


def test_refusals_are_sentences():
    quantizer = VectorQuantizer(3, 8, start=NORMAL)
    z = torch.randn(2, 3, 6)
    with pytest.raises(BadSetting, match="temperature"):
        soft_labels(quantizer, z, temperature=0)
    with pytest.raises(BadSetting, match="FSQ does not choose"):
        soft_labels(FSQ((3, 3)), z, temperature=1)
    with pytest.raises(BadSetting, match="takes"):
        soft_labels(GroupedQuantizer(4, 8, 2, start=NORMAL), z, temperature=1)
    with pytest.raises(BadSetting, match="logits are"):
        soft_targets(quantizer, z, temperature=1).cross_entropy(torch.randn(2, 6, 8))
