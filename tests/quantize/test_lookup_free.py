"""LFQ: exact indices, and entropies and losses against the N x K matrix written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechvq.errors import BadSetting
from speechvq.quantize.lookup_free import LFQ, BitEntropy, summed_probabilities, token_entropy


def signs(bits):
    """Every code of an LFQ (2^bits, bits), the first channel the lowest bit."""
    return torch.tensor([[1.0 if k >> b & 1 else -1.0 for b in range(bits)] for k in range(2**bits)])


@pytest.mark.parametrize("bits", [1, 2, 5, 10, 14])
@pytest.mark.parametrize("autocast", [False, True])
def test_every_index_of_lfq_goes_round(bits, autocast):
    quantizer = LFQ(2**bits, entropy=BitEntropy(weight=0))
    indices = torch.arange(2**bits)[None, None]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        codes = quantizer.decode(indices)
        assert torch.equal(quantizer.indices_of(codes.bfloat16()), indices)
        noisy = codes * (torch.rand(codes.shape) + 1e-3)
        assert torch.equal(quantizer.encode(noisy), indices)
        assert torch.equal(quantizer(noisy.bfloat16()).indices, indices)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    torch.testing.assert_close(codes[0].T, signs(bits))


def test_zero_is_below():
    assert LFQ(4).encode(torch.tensor([[0.0, -0.0]])).item() == 0


@settings(max_examples=30, deadline=None)
@given(
    bits=st.integers(1, 7), tokens=st.integers(1, 30), temperature=st.floats(0.3, 10), seed=st.integers(0, 99)
)
def test_entropies_are_those_of_the_full_softmax(bits, tokens, temperature, seed):
    """The N x K matrix written out, values and gradients."""
    z = torch.randn(tokens, bits, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    z.requires_grad_()
    p = (2 / temperature * z @ signs(bits).double().T).softmax(1)
    slow = [torch.special.entr(p).sum(1), p.mean(0)]
    fast = [
        token_entropy(z, temperature),
        summed_probabilities(z, z.new_full((tokens,), 1 / tokens), temperature),
    ]
    for a, b in zip(slow, fast, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-7)
        cotangent = torch.randn_like(a)
        ga, gb = (torch.autograd.grad((x * cotangent).sum(), z, retain_graph=True)[0] for x in (a, b))
        torch.testing.assert_close(ga, gb, atol=1e-8, rtol=1e-6)


def test_losses_of_lfq():
    quantizer = LFQ(
        64, entropy=BitEntropy(weight=0.3, diversity=1.7, temperature=0.8), commitment=0.4
    ).double()
    z = torch.randn(2, 6, 11, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 11) < 0.7
    losses = quantizer(z, mask).losses
    x = z.movedim(1, -1)[mask]
    p = (2 / 0.8 * x @ signs(6).double().T).softmax(1)
    entropy = torch.special.entr(p).sum(1).mean() - 1.7 * torch.special.entr(p.mean(0)).sum()
    slow = {"entropy": 0.3 * entropy, "commitment": 0.4 * (x - x.sign().detach()).square().mean()}
    torch.testing.assert_close(losses, slow, check_dtype=False)
    for name in slow:
        got, want = (torch.autograd.grad(l[name], z, retain_graph=True)[0] for l in (losses, slow))  # noqa: E741
        torch.testing.assert_close(got, want)


def test_signs_pass_the_gradient_straight_through():
    z = torch.randn(2, 5, 9, requires_grad=True)
    cotangent = torch.randn(2, 5, 9)
    (got,) = torch.autograd.grad((LFQ(32)(z).vectors * cotangent).sum(), z)
    assert torch.equal(got, cotangent)


def test_certain_vectors_have_finite_slopes():
    """At a low temperature most p are exactly zero in float32."""
    z = (torch.randn(1, 10, 20) * 5).requires_grad_()
    losses = LFQ(1024, entropy=BitEntropy(temperature=1e-3))(z).losses
    sum(losses.values()).backward()
    assert z.grad.isfinite().all()


def test_a_sample_of_the_vectors_makes_the_mean():
    z = torch.randn(1, 6, 4000)
    whole = LFQ(64, entropy=BitEntropy(temperature=2.0))(z).losses["entropy"]
    half = LFQ(64, entropy=BitEntropy(temperature=2.0, sample=0.5))(z).losses["entropy"]
    assert half != whole
    torch.testing.assert_close(half, whole, atol=1e-3, rtol=0)


def test_memory_grows_with_the_root_of_the_codes():
    """4096 vectors and 65536 codes: N x K would be a gigabyte, and nothing near it is kept for backward."""
    z = torch.randn(1, 16, 4096, requires_grad=True)
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        losses = LFQ(2**16)(z).losses
    sum(losses.values()).backward()
    assert sum(kept.values()) < 64 * 2**20


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LFQ(12), "is 12; it must be a power of two"),
        (lambda: LFQ(1), "is 1; it must be a power of two"),
        (lambda: LFQ(2**31), "power of two from 2 to 2\\^30"),
        (lambda: LFQ(8, dim=0), "dim is 0"),
        (lambda: LFQ(8, commitment=-1), "commitment weight is -1"),
        (lambda: BitEntropy(weight=-1), "weight is -1"),
        (lambda: BitEntropy(temperature=0), "temperature is 0"),
        (lambda: BitEntropy(sample=0), "sample is 0"),
    ],
)
def test_wrong_settings_are_sentences(make, sentence):
    with pytest.raises(BadSetting, match=sentence):
        make()
