"""Checks of the search: the nearest code, whatever the data is moved, scaled or turned by."""

import torch


def encode(side, x, codes):
    """Indices (N,) that ``side`` gives the rows ``x`` (N, D) under ``codes``."""
    side.set_codebook(codes)
    with torch.no_grad():
        return side.eval()(x[None])[1][0, :, 0]


def data(n=500, k=16, d=8):
    return torch.randn(n, d), torch.randn(k, d)


def test_nearest_in_double_precision(make):
    """The chosen code is as near as the nearest, by distances in float64."""
    x, codes = data()
    distance = torch.cdist(x.double(), codes.double())
    chosen = distance.gather(1, encode(make(), x, codes)[:, None])[:, 0]
    assert (chosen - distance.min(1).values).max() < 1e-6


def test_ties_go_to_the_lowest_index(make):
    codes = torch.randn(4, 8).repeat_interleave(4, 0)
    x = codes[torch.randint(16, (60,))]
    found = encode(make(), x, codes)
    assert (found % 4 == 0).all()
    assert torch.equal(codes[found], x)


def test_scale_invariance(make):
    x, codes = data()
    plain = encode(make(), x, codes)
    for scale in (2.0**-10, 2.0**10):
        assert torch.equal(encode(make(), x * scale, codes * scale), plain)


def test_rotation_invariance(make):
    x, codes = data()
    turn = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q
    turned = encode(make(), (x.double() @ turn).float(), (codes.double() @ turn).float())
    assert (turned != encode(make(), x, codes)).float().mean() < 0.005


def test_shift_invariance(make):
    """On a grid of 2^-12 adding 1000 is exact in float32, so every distance is the same."""
    x, codes = ((t * 1024).round() / 1024 for t in data())
    assert torch.equal(x + 1000 - 1000, x)
    assert torch.equal(encode(make(), x + 1000, codes + 1000), encode(make(), x, codes))


def test_images_give_the_codes_of_their_vectors(make):
    rows, pictures = make(), make(image=True)
    codes = torch.randn(16, 8)
    rows.set_codebook(codes)
    pictures.set_codebook(codes)
    x = torch.randn(2, 8, 3, 5)
    vectors, indices, _ = pictures.eval()(x)
    wanted, listed, _ = rows.eval()(x.flatten(2).mT)
    assert vectors.shape == x.shape
    assert torch.equal(indices.flatten(1, 2), listed)
    assert torch.equal(vectors.flatten(2).mT, wanted)
