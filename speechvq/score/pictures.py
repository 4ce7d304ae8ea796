"""How good pictures are: beside their originals, as a set beside a set, and beside their condition.

Pictures are (B, C, H, W) in [-1, 1], so that their range is 2.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from speechvq.errors import BadSetting, MissingExtra

RANGE = 2.0


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of a set of features.

    Attributes:
        mean: (D,) float64.
        covariance: (D, D) float64, unbiased.
        count: how many there were.
    """

    mean: Tensor
    covariance: Tensor
    count: int


def psnr(made: Tensor, real: Tensor) -> Tensor:
    """Peak signal to noise ratio of each picture, (B,) dB; infinite where they are equal.

    Raises:
        BadSetting: the shapes differ.
    """
    _alike(made, real)
    error = (made.double() - real.double()).square().flatten(1).mean(1)
    return (10 * (RANGE**2 / error).log10()).float()


def ssim(made: Tensor, real: Tensor) -> Tensor:
    """Structural similarity of each picture, (B,) in [-1, 1] (Wang et al. 2004; torchmetrics computes it).

    With the paper's Gaussian window of 11 x 11 pixels and sigma 1.5, at every place of every channel; beyond
    its edges the picture goes on mirrored.

    Raises:
        BadSetting: the shapes differ, or the pictures are smaller than the window.
        MissingExtra: torchmetrics is not installed.
    """
    _alike(made, real)
    if min(made.shape[-2:]) < 11:
        raise BadSetting(f"pictures of {tuple(made.shape[-2:])} pixels are smaller than SSIM's window of 11")
    try:
        from torchmetrics.functional.image import structural_similarity_index_measure
    except ImportError as error:
        raise MissingExtra("torchmetrics", "image", "structural similarity") from error
    made, real = ((x.double() + 1) / RANGE for x in (made, real))
    found = structural_similarity_index_measure(made, real, data_range=1.0, reduction="none")
    assert isinstance(found, Tensor)
    return found.float()


def moments(features: Tensor) -> Moments:
    """Of (N, D) features, in float64.

    Raises:
        BadSetting: there are fewer than two.
    """
    if features.ndim != 2 or len(features) < 2:
        raise BadSetting(f"a set needs at least two feature vectors (N, D), not {tuple(features.shape)}")
    x_ND = features.double()
    mean_D = x_ND.mean(0)
    centred_ND = x_ND - mean_D
    return Moments(mean_D, centred_ND.T @ centred_ND / (len(x_ND) - 1), len(x_ND))


def frechet_distance(one: Moments, other: Moments) -> float:
    """Between the Gaussians of two sets (Frechet 1957; Heusel et al. 2017): 0 if they are equal.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2). The last trace is the sum of the square roots of the
    eigenvalues of C1^1/2 C2 C1^1/2, which is symmetric and has none below zero; so nothing is complex and
    nothing is added to the diagonal, even of fewer vectors than dimensions.

    Distances of `picture_features` are of another network than Inception: they compare models with one
    another, never with a published FID. They also fall with the number of pictures, so that sets of
    equal size belong together.

    Raises:
        BadSetting: the sets have different features.
    """
    if one.mean.shape != other.mean.shape:
        raise BadSetting(f"features of {len(one.mean)} and {len(other.mean)} numbers cannot be compared")
    values, vectors = torch.linalg.eigh(one.covariance)
    root_DD = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root_DD @ other.covariance @ root_DD).clamp_min(0).sqrt().sum()
    spread = one.covariance.trace() + other.covariance.trace() - 2 * cross
    return float(((one.mean - other.mean).square().sum() + spread).clamp_min(0))


def depth_correlation(made: Tensor, real: Tensor) -> Tensor:
    """Pearson correlation of each pair of maps (B, 1, H, W), (B,) in [-1, 1]; 0 where one is constant.

    Of depths, of which only the order and proportions count: a network that guesses depth knows no scale.

    Raises:
        BadSetting: the shapes differ.
    """
    _alike(made, real)
    x_BN, y_BN = (x.double().flatten(1) for x in (made, real))
    x_BN, y_BN = x_BN - x_BN.mean(1, keepdim=True), y_BN - y_BN.mean(1, keepdim=True)
    norm_B = x_BN.norm(dim=1) * y_BN.norm(dim=1)
    flat = norm_B <= 1e-12 * x_BN.shape[1]
    return ((x_BN * y_BN).sum(1) / norm_B.masked_fill(flat, 1)).masked_fill(flat, 0).float()


@dataclass(frozen=True)
class Overlap:
    """How well class maps agree.

    Attributes:
        iou: (classes,) intersection over union of each class, over all places; NaN of one in neither map.
        accuracy: share of places with the right class.
    """

    iou: Tensor
    accuracy: float

    @property
    def mean_iou(self) -> float:
        """Over the classes that occur."""
        return float(self.iou.nanmean())


def overlap(made: Tensor, real: Tensor, *, classes: int) -> Overlap:
    """Of class numbers (B, H, W) in 0 ... classes - 1; negative ones in ``real`` are not counted.

    Raises:
        BadSetting: the shapes differ, a number is too large, or nothing is to be counted.
    """
    _alike(made, real)
    valid = real >= 0
    made, real = made[valid].long(), real[valid].long()
    if not len(real) or max(int(made.max()), int(real.max())) >= classes or int(made.min()) < 0:
        raise BadSetting(f"class maps must hold numbers from 0 to {classes - 1}, and at least one")
    table = torch.bincount(real * classes + made, minlength=classes**2).reshape(classes, classes).double()
    hit = table.diagonal()
    union = table.sum(0) + table.sum(1) - hit
    return Overlap((hit / union.masked_fill(union == 0, math.nan)).float(), float(hit.sum() / table.sum()))


def _alike(made: Tensor, real: Tensor) -> None:
    if made.shape != real.shape or made.ndim < 3:
        raise BadSetting(f"{tuple(made.shape)} and {tuple(real.shape)} cannot be compared place by place")
