"""Scores of rows under weights that do not change, and what a bias beside them gives.

An engine whose arithmetic is done away from NumPy's memory can answer these questions where the
scores are; for other engines `onelayer.optimum` answers them from the scores.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from onelayer.engines.rows import Rows

Float64 = NDArray[np.float64]


class Mixture(NamedTuple):
    """p̃ = (1 − t) p + t q: what makes mean probabilities equal to the shares."""

    t: float
    q: Float64


class Moments(NamedTuple):
    """What a bias gives: mean cross-entropy, mean probabilities (K,), curvature in b (K, K)."""

    loss: float
    means: Float64
    hessian: Float64


class Judgement(NamedTuple):
    """Mean loss of rows, mean of its square, and the share that is classified right."""

    loss: float
    square: float
    right: float


class FixedScores(Protocol):
    """Scores W x of all rows; every mean over them is by weight where they have weights.

    A row of weight 0 counts for nothing, even where its loss is infinite.
    """

    def moments(self, b: Float64) -> Moments:
        """Mean cross-entropy with bias b, shape (K,), with its first and second derivatives.

        b may be −∞ for a class without rows. The curvature may be that of some of the rows.
        """

    def gradient(self, b: Float64, mixture: Mixture) -> tuple[Float64, float]:
        """(1/N) Σ (p̃ᵢ − yᵢ) xᵢᵀ, shape (K, D), and (1/N) Σ KL(p̃ᵢ ‖ pᵢ) in nats."""

    def judge(self, b: Float64) -> Judgement:
        """How good the classifier with bias b is on the rows."""


@runtime_checkable
class KeepsScores(Protocol):
    """An engine that answers these questions itself."""

    def fixed_scores(self, rows: Rows, W: NDArray[np.floating]) -> FixedScores:
        """Scores of the rows under weights W (K, D), in their type, for questions in float64."""
