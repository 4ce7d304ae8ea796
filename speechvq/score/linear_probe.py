"""A linear probe: how well a linear classifier alone reads the class from features that nobody made for it.

Multinomial logistic regression on standardised features. How strongly it is regularised is chosen on a part
held out of what it learns from; then it learns from all of that, and is scored on something else.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechvq.errors import BadSetting, MissingExtra


@dataclass(frozen=True)
class LinearProbeSettings:
    """How a linear probe learns.

    Raises:
        BadSetting: a number that makes no probe.
    """

    strengths: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # that are tried: C, 1 over the penalty
    held_out: float = 0.2  # share of what it learns from on which one of them is chosen, in (0, 1)
    iterations: int = 200  # of L-BFGS, at most, for each
    seed: int = 0  # of which are held out

    def __post_init__(self) -> None:
        if not self.strengths or min(self.strengths) <= 0:
            raise BadSetting(f"the strengths {list(self.strengths)} of a probe must be at least one, above 0")
        if not 0 < self.held_out < 1:
            raise BadSetting(f"the held-out share {self.held_out} must lie between 0 and 1")
        if self.iterations < 1:
            raise BadSetting(f"a probe needs at least 1 iteration, not {self.iterations}")


@dataclass(frozen=True)
class LinearProbe:
    """What one probe reads; accuracies are shares in [0, 1].

    Attributes:
        accuracy: on what it was scored on.
        held_out: on what was held out of what it learnt from, with the strength that was best there.
        strength: that one, C.
        majority: accuracy of always naming what is most frequent in what it learnt from.
        features: numbers that it reads of each.
        train: how many it learnt from, held-out ones included.
        test: how many it was scored on.
    """

    accuracy: float
    held_out: float
    strength: float
    majority: float
    features: int
    train: int
    test: int


def linear_probe(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    settings: LinearProbeSettings = LinearProbeSettings(),  # noqa: B008 (frozen)
) -> LinearProbe:
    """Learn from ``train`` and score on ``test``; equal input gives equal figures.

    Args:
        train: features (N, D) and labels (N,), integers or text.
        test: the same of others.
        settings: how it learns.

    Raises:
        BadSetting: fewer than two classes to learn, or nothing to score.
        MissingExtra: scikit-learn is not installed.
    """
    (x_ND, y_N), (test_ND, test_N) = train, test
    order = np.random.default_rng(settings.seed).permutation(len(y_N))
    count = max(1, round(settings.held_out * len(y_N)))
    held, learnt = order[:count], order[count:]
    if len(np.unique(y_N[learnt])) < 2 or not len(test_N):
        raise BadSetting("a probe needs two classes to learn, and something to be scored on")
    chosen, best, part = 0.0, -1.0, _standardised(x_ND[learnt])
    for strength in sorted(settings.strengths):
        model = _fitted(part(x_ND[learnt]), y_N[learnt], strength, settings)
        right = float((model.predict(part(x_ND[held])) == y_N[held]).mean())
        chosen, best = (strength, right) if right > best else (chosen, best)
    whole = _standardised(x_ND)
    said = _fitted(whole(x_ND), y_N, chosen, settings).predict(whole(test_ND))
    names, counts = np.unique(y_N, return_counts=True)
    return LinearProbe(
        accuracy=float((said == test_N).mean()),
        held_out=best,
        strength=chosen,
        majority=float((names[counts.argmax()] == test_N).mean()),
        features=x_ND.shape[1],
        train=len(y_N),
        test=len(test_N),
    )


def logistic(iterations: int, *, strength: float = 1.0, tolerance: float = 1e-3) -> Any:
    """Multinomial logistic regression, not yet fitted.

    Args:
        iterations: of L-BFGS, at most.
        strength: C, the weight of the data beside that of the squared weights.
        tolerance: of the gradient, at which it stops.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtra("scikit-learn", "score", "probes") from error
    return LogisticRegression(C=strength, max_iter=iterations, tol=tolerance)


def _standardised(x_ND: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What makes every feature of ``x_ND`` of mean 0 and deviation 1, one that is always the same 0."""
    mean, scale = x_ND.mean(0), x_ND.std(0) + 1e-6
    return lambda x: (x - mean) / scale


def _fitted(x_ND: np.ndarray, y_N: np.ndarray, strength: float, settings: LinearProbeSettings) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the last iteration was reached says nothing of the score
        return logistic(settings.iterations, strength=strength, tolerance=1e-4).fit(x_ND, y_N)
