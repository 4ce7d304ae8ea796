"""Gumbel-softmax: draws, gradients against the formula written out, the temperature's fall, the prior."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from speechvq.errors import BadCodes, BadSetting
from speechvq.quantize.base import QUANTIZERS
from speechvq.quantize.gumbel import Anneal, GumbelQuantizer
from speechvq.table import plain

DIM, SIZE = 5, 12


def made(seed=0, **more):
    torch.manual_seed(seed)
    return GumbelQuantizer(DIM, SIZE, **more)


def noise_of(seed, rows):
    """The noise that a forward pass draws after this seed."""
    torch.manual_seed(seed)
    return -(-torch.rand(rows, SIZE).log()).log()


@pytest.mark.parametrize("grid", [(), (7,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_shapes_and_inverse(grid, training):
    quantizer = made().train(training)
    z = torch.randn(2, DIM, *grid)
    out = quantizer(z)
    assert out.vectors.shape == z.shape
    assert out.indices.shape == (2, 1, *grid)
    assert torch.equal(quantizer.decode(out.indices), out.vectors)
    assert (quantizer.decode(torch.full_like(out.indices, -1)) == 0).all()
    assert out.stats["counts"].sum() == z.numel() / DIM
    assert 1 <= out.stats["perplexity"] <= SIZE
    assert not any(figure.requires_grad for figure in out.stats.values())
    logits = quantizer.logits(z.movedim(1, -1)).argmax(-1)
    assert torch.equal(quantizer.encode(z)[:, 0], logits)
    if not training:
        assert torch.equal(out.indices[:, 0], logits)


@pytest.mark.parametrize("hard", [True, False])
def test_gradients_against_the_formula_written_out(hard):
    """Scores, softmax, one-hot and product in full, with the same noise; hard is straight-through."""
    quantizer = made(hard=hard, anneal=Anneal(start=0.7, end=0.7), prior=0.3)
    z = torch.randn(1, DIM, 20, requires_grad=True)
    cotangent = torch.randn(1, DIM, 20)
    noise = noise_of(3, 20)
    leaves = [z, *quantizer.parameters()]
    torch.manual_seed(3)
    out = quantizer(z)
    got = torch.autograd.grad((out.vectors * cotangent).sum() + out.losses["prior"], leaves)
    logits = quantizer.logits(z[0].T)
    soft = ((logits + noise) / 0.7).softmax(1)
    share = soft
    if hard:
        share = F.one_hot(soft.argmax(1), SIZE) - soft.detach() + soft
    vectors = (share @ quantizer.vectors).T[None]
    q = logits.softmax(1)
    prior = 0.3 * (q * (q * SIZE).log()).sum(1).mean()
    assert torch.equal(out.indices[0, 0], soft.argmax(1))
    torch.testing.assert_close(out.vectors, vectors)
    torch.testing.assert_close(out.losses["prior"], prior)
    torch.testing.assert_close(got, torch.autograd.grad((vectors * cotangent).sum() + prior, leaves))


def test_out_of_training_the_gradient_still_arrives():
    quantizer = made().eval()
    z = torch.randn(2, DIM, 6, requires_grad=True)
    quantizer(z).vectors.square().sum().backward()
    assert (z.grad != 0).any()


def test_draws_follow_the_softmax():
    """Whatever the temperature: the largest score is a draw from softmax(logits)."""
    quantizer = made(anneal=Anneal(start=0.1, end=0.1))
    z = torch.randn(1, DIM, 1)
    want = quantizer.logits(z[0].T).softmax(1)[0]
    torch.manual_seed(0)
    counts = quantizer(z.expand(1, DIM, 40_000)).stats["counts"][0]
    assert (counts / 40_000 - want).abs().max() < 0.012  # five deviations of a share


def test_the_seed_decides_the_draws():
    quantizer, z = made(), torch.randn(2, DIM, 30)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(quantizer(z).indices)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_prior_is_nothing_when_uniform_and_log_k_when_certain():
    quantizer = made(prior=1.0)
    z = torch.randn(1, DIM, 9)
    with torch.no_grad():
        quantizer.logits.weight.zero_()
        quantizer.logits.bias.zero_()
        assert quantizer(z).losses["prior"].abs() < 1e-6
        quantizer.logits.bias[3] = 1000.0
        assert quantizer(z).losses["prior"].item() == pytest.approx(math.log(SIZE))
    assert made(prior=0)(z).losses == {}


# -- temperature ----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["cosine", "exponential"])
def test_the_temperature_falls(by):
    anneal = Anneal(start=2.0, end=0.5, steps=100, by=by)
    at = [anneal.temperature(torch.tensor(s)).item() for s in (0, 50, 100, 1000)]
    middle = {"cosine": 1.25, "exponential": 1.0}[by]
    assert at == pytest.approx([2.0, middle, 0.5, 0.5])


def test_steps_count_in_training_only():
    quantizer = made(anneal=Anneal(start=1.0, end=0.1, steps=4))
    z = torch.randn(2, DIM, 6)
    for _ in range(3):
        quantizer(z)
    assert quantizer.step == 3
    quantizer.eval()(z)
    quantizer.train().encode(z)
    assert quantizer.step == 3
    again = made(7, anneal=quantizer.anneal)
    again.load_state_dict(quantizer.state_dict())
    assert again.temperature == quantizer.temperature == quantizer.anneal.temperature(torch.tensor(3))
    twin = copy.deepcopy(quantizer)
    twin(z)
    assert (quantizer.step, twin.step) == (3, 4)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("hard", [True, False])
def test_recomputed_activations_count_once(reentrant, hard):
    """And they are the same: the noise and the temperature of the first time."""
    found = []
    for recompute in (False, True):
        quantizer = made(hard=hard, anneal=Anneal(start=1.0, end=0.1, steps=3))
        z = torch.linspace(-1, 1, DIM * 8).reshape(1, DIM, 8).requires_grad_()
        for _ in range(2):
            torch.manual_seed(5)
            f = lambda x: quantizer(x).vectors.sin()  # noqa: B023, E731
            out = checkpoint(f, z, use_reentrant=reentrant) if recompute else f(z)
            out.sum().backward()
        found.append([z.grad, *(p.grad for p in quantizer.parameters() if p.grad is not None)])
        assert quantizer.step == 2
    torch.testing.assert_close(found[0], found[1], atol=0, rtol=0)


# -- promises -------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("hard", [True, False])
def test_what_stands_in_the_padding_does_not_matter(training, hard):
    mask = torch.rand(2, 4, 3) < 0.6
    mask[0, 0, 0] = True
    z, found = torch.randn(2, DIM, 4, 3), []
    for filling in (7.0, float("nan")):
        quantizer = made(hard=hard, prior=0.5).train(training)
        filled = z.clone()
        filled.movedim(1, -1)[~mask] = filling
        filled.requires_grad_()
        torch.manual_seed(2)
        out = quantizer(filled, mask)
        (out.vectors.square().sum() + out.losses["prior"]).backward()
        assert (out.indices.movedim(1, -1)[~mask] == -1).all()
        assert (out.vectors.movedim(1, -1)[~mask] == 0).all()
        assert (filled.grad.movedim(1, -1)[~mask] == 0).all()
        found.append((out, filled.grad, [p.grad for p in quantizer.parameters()]))
    (a, *grads_a), (b, *grads_b) = found
    assert torch.equal(a.vectors, b.vectors)
    torch.testing.assert_close([a.losses, a.stats, *grads_a], [b.losses, b.stats, *grads_b])


def test_padding_changes_nothing():
    """Without noise, a padded batch with a mask does what the bare vectors do."""
    quantizer, mask = made(prior=0.5).eval(), torch.rand(2, 9) < 0.6
    mask[0, 0] = True
    z = torch.randn(2, DIM, 9)
    a, b = quantizer(z, mask), quantizer(z.movedim(1, -1)[mask].T[None])
    assert torch.equal(a.indices.movedim(1, -1)[mask].T[None], b.indices)
    assert torch.equal(a.vectors.movedim(1, -1)[mask].T[None], b.vectors)
    torch.testing.assert_close((a.losses, a.stats), (b.losses, b.stats), atol=1e-5, rtol=1e-5)


def test_a_batch_of_padding_only_or_of_nothing():
    for z in (torch.randn(2, DIM, 6), torch.randn(0, DIM, 6)):
        out = made()(z, torch.zeros(len(z), 6, dtype=torch.bool))
        assert (out.indices == -1).all()
        assert all(loss == 0 for loss in out.losses.values())
        assert all(figure.isfinite().all() for figure in out.stats.values())


def test_autocast_and_half_modules_compute_in_float32():
    z, found = torch.randn(2, DIM, 30), []
    for enabled in (False, True):
        quantizer = made()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            found.append(quantizer(z))
    assert torch.equal(found[0].vectors, found[1].vectors)
    torch.testing.assert_close(found[0].losses, found[1].losses, atol=0, rtol=0)
    half = made().bfloat16()
    assert all(t.dtype == torch.float32 for t in half.state_dict().values() if t.is_floating_point())
    out = half(z.bfloat16())
    assert out.vectors.dtype == torch.bfloat16
    assert out.losses["prior"].dtype == torch.float32


def test_made_again_from_spec_and_state():
    quantizer, z = made(hard=False, anneal=Anneal(by="exponential")), torch.randn(2, DIM, 8)
    quantizer(z)
    again = QUANTIZERS.build(plain(quantizer.spec))
    assert again.spec == quantizer.spec
    again.load_state_dict(quantizer.state_dict())
    assert torch.equal(again.eval()(z).vectors, quantizer.eval()(z).vectors)


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_compiles_whole(hard, training):
    quantizer, z = made(hard=hard).train(training), torch.randn(2, DIM, 6, requires_grad=True)
    twin, mask = copy.deepcopy(quantizer), torch.rand(2, 6) < 0.8
    torch.compiler.reset()
    compiled = torch.compile(quantizer, fullgraph=True, backend="aot_eager")
    grads = []
    for f in (compiled, twin):
        torch.manual_seed(1)
        out = f(z, mask)
        grads.append(torch.autograd.grad(out.vectors.square().sum() + out.losses["prior"], z)[0])
    torch.testing.assert_close(grads[0], grads[1])
    assert quantizer.step == twin.step == training


class Encode(torch.nn.Module):
    """What is exported: the integers."""

    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer

    def forward(self, z):
        return self.quantizer.encode(z)


def test_encoding_is_exported():
    quantizer, z = made().eval(), torch.randn(2, DIM, 6)
    frames = torch.export.Dim("frames", min=2, max=100)
    program = torch.export.export(Encode(quantizer), (z,), dynamic_shapes=({2: frames},))
    longer = torch.randn(2, DIM, 33)
    assert torch.equal(program.module()(longer), quantizer.encode(longer))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: GumbelQuantizer(0, 4), "dim is 0"),
        (lambda: GumbelQuantizer(4, 0), "codebook_size is 0"),
        (lambda: GumbelQuantizer(4, 4, prior=-1), "weight of the prior is -1"),
        (lambda: Anneal(end=0), "both must be above 0"),
        (lambda: Anneal(steps=0), "falls in 0 steps"),
        (lambda: Anneal(by="steps"), "choose one of cosine, exponential"),
    ],
)
def test_wrong_settings_are_sentences(make, sentence):
    with pytest.raises(BadSetting, match=sentence):
        make()


def test_wrong_shapes_are_sentences():
    with pytest.raises(BadSetting, match=r"takes \(batch, 5, \*grid\), but got \(2, 4, 7\)"):
        made()(torch.randn(2, 4, 7))
    with pytest.raises(BadCodes, match="use the codec that made them"):
        made().decode(torch.zeros(2, 2, 7, dtype=torch.int64))
