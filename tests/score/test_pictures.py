"""Scores of pictures against slow twins: loops over places, SciPy's matrix root, counting by hand."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from speechvq.errors import BadSetting, MissingExtra
from speechvq.score.picture_features import FEATURES, Features, picture_features
from speechvq.score.pictures import depth_correlation, frechet_distance, moments, overlap, psnr, ssim


def test_psnr_by_loop_and_by_hand():
    real, made = torch.rand(3, 2, 5, 4) * 2 - 1, torch.rand(3, 2, 5, 4) * 2 - 1
    for i, found in enumerate(psnr(made, real).tolist()):
        error = sum((float(a) - float(b)) ** 2 for a, b in zip(made[i].ravel(), real[i].ravel(), strict=True))
        assert found == pytest.approx(20 * math.log10(2) - 10 * math.log10(error / 40), abs=1e-4)
    assert psnr(torch.full((1, 1, 2, 2), 0.2), torch.zeros(1, 1, 2, 2)).item() == pytest.approx(20.0)
    assert psnr(real, real).isinf().all()


def slow_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, equation 13, place after place, of one plane in [0, 1]."""
    window = [[math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5**2)) for j in range(11)] for i in range(11)]
    total = sum(map(sum, window))
    first, second = 0.01**2, 0.03**2
    height, width = x.shape
    values = []
    for top in range(height):
        for left in range(width):
            sums = dict.fromkeys(("x", "y", "xx", "yy", "xy"), 0.0)
            for i in range(11):
                for j in range(11):
                    # Beyond the edge the picture goes on mirrored.
                    r, c = mirrored(top + i - 5, height), mirrored(left + j - 5, width)
                    a, b, w = x[r, c], y[r, c], window[i][j] / total
                    for name, value in (("x", a), ("y", b), ("xx", a * a), ("yy", b * b), ("xy", a * b)):
                        sums[name] += w * value
            mx, my = sums["x"], sums["y"]
            vx, vy, cov = sums["xx"] - mx * mx, sums["yy"] - my * my, sums["xy"] - mx * my
            top_ = (2 * mx * my + first) * (2 * cov + second)
            values.append(top_ / ((mx * mx + my * my + first) * (vx + vy + second)))
    return sum(values) / len(values)


def mirrored(place: int, length: int) -> int:
    place = abs(place)
    return place if place < length else 2 * (length - 1) - place


def test_ssim_place_after_place():
    real = torch.rand(2, 2, 11, 12) * 2 - 1
    made = (real + 0.3 * torch.randn(real.shape)).clamp(-1, 1)
    found = ssim(made, real)
    for i in range(2):
        planes = [slow_ssim((made[i, c].numpy() + 1) / 2, (real[i, c].numpy() + 1) / 2) for c in range(2)]
        assert float(found[i]) == pytest.approx(sum(planes) / 2, abs=1e-5)
    assert ssim(real, real).tolist() == pytest.approx([1.0, 1.0])
    with pytest.raises(BadSetting, match="window"):
        ssim(torch.zeros(1, 1, 10, 20), torch.zeros(1, 1, 10, 20))


@pytest.mark.parametrize("count", [200, 9])
def test_frechet_distance_is_scipys(count):
    """Also of fewer vectors than dimensions, where the covariances are singular."""
    mix = torch.randn(12, 12)
    one, other = torch.randn(count, 12) @ mix, 1.5 * torch.randn(count + 3, 12) + 0.4
    a, b = moments(one), moments(other)
    root = scipy.linalg.sqrtm(np.cov(one.numpy(), rowvar=False) @ np.cov(other.numpy(), rowvar=False))
    means = one.double().mean(0) - other.double().mean(0)
    trace = np.trace(np.cov(one.numpy(), rowvar=False)) + np.trace(np.cov(other.numpy(), rowvar=False))
    wanted = float(means.square().sum()) + trace - 2 * np.trace(np.real(root))
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-4 if count > 12 else 1e-3)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_of_one_dimension_by_hand():
    """(m1 - m2)^2 + (s1 - s2)^2."""
    one, other = torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [11.0]])
    deviations = math.sqrt(2), math.sqrt(32)
    assert frechet_distance(moments(one), moments(other)) == pytest.approx(
        6**2 + (deviations[0] - deviations[1]) ** 2
    )


def test_depth_correlation_is_numpys():
    real = torch.rand(4, 1, 6, 5)
    made = torch.cat([real[:1] * 3 - 1, -real[1:2], torch.rand(2, 1, 6, 5)])
    wanted = [np.corrcoef(made[i].ravel().numpy(), real[i].ravel().numpy())[0, 1] for i in range(4)]
    assert depth_correlation(made, real).tolist() == pytest.approx(wanted, abs=1e-5)
    assert depth_correlation(made, real)[:2].tolist() == pytest.approx([1, -1], abs=1e-6)
    assert depth_correlation(torch.full_like(real, 0.3), real).tolist() == [0] * 4


def test_overlap_by_counting():
    made, real = torch.randint(0, 4, (2, 7, 5)), torch.randint(-1, 4, (2, 7, 5))
    found = overlap(made, real, classes=6)
    pairs = [(int(a), int(b)) for a, b in zip(made.ravel(), real.ravel(), strict=True) if b >= 0]
    ious = []
    for name in range(4):
        both = sum(a == b == name for a, b in pairs)
        either = sum(name in (a, b) for a, b in pairs)
        ious.append(both / either)
        assert float(found.iou[name]) == pytest.approx(both / either)
    assert found.iou[4:].isnan().all()
    assert found.mean_iou == pytest.approx(sum(ious) / 4)
    assert found.accuracy == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    for values in ((made, real, 3), (made, torch.full_like(real, -1), 6), (made - 1, real, 6)):
        with pytest.raises(BadSetting, match="class maps"):
            overlap(*values[:2], classes=values[2])


def test_what_cannot_be_compared_is_a_sentence():
    for score in (psnr, ssim, depth_correlation):
        with pytest.raises(BadSetting, match="compared"):
            score(torch.zeros(2, 1, 16, 16), torch.zeros(2, 1, 16, 12))
    with pytest.raises(BadSetting, match="two feature"):
        moments(torch.zeros(1, 4))
    with pytest.raises(BadSetting, match="compared"):
        frechet_distance(moments(torch.zeros(3, 4)), moments(torch.zeros(3, 5)))
    with pytest.raises(BadSetting, match="no pictures"):
        picture_features([])
    with pytest.raises(BadSetting, match="channels|pictures"):
        picture_features([torch.zeros(1, 4, 16, 16)])


def test_features_see_what_is_shown():
    """Noise moves a picture further than a small shift does, and grey is RGB three times over."""
    smooth = torch.nn.functional.interpolate(torch.randn(3, 3, 4, 4), (48, 48), mode="bicubic").clamp(-1, 1)
    found = picture_features([smooth[:2], smooth[2:]])
    assert found.shape == (3, FEATURES)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert torch.allclose(found, picture_features([smooth]), atol=1e-4)
    shifted = picture_features([smooth.roll(1, dims=3)])
    noisy = picture_features([(smooth + 0.5 * torch.randn(smooth.shape)).clamp(-1, 1)])
    assert (found - shifted).norm() < (found - noisy).norm()
    grey = smooth[:2, :1]
    assert torch.allclose(picture_features([grey]), picture_features([grey.expand(-1, 3, -1, -1)]), atol=1e-5)


def test_features_are_the_networks_own():
    """On one picture of the size it was trained on: what the package's network gives its classifier."""
    network = Features()
    assert not network.train().training
    assert not any(part.training for part in network.modules())
    picture = torch.rand(1, 3, 224, 224) * 2 - 1
    kept = []
    network.net._fc.register_forward_hook(lambda _, inputs, __: kept.append(inputs[0]))
    levels = (picture + 1) * 127.5
    network.net((levels - 127) / 128)
    assert torch.allclose(network(picture), kept[0].flatten(1), atol=1e-4)


def test_without_the_packages_it_is_said(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    with pytest.raises(MissingExtra, match=r"speechvq\[image\]"):
        ssim(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16))
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(MissingExtra, match=r"speechvq\[image\]"):
        Features()
