"""The metric that the solver walks in: an upper-bound shape of the cost's curvature.

Böhning (1992) bounds the Hessian of the cross-entropy by ½ (I − 11ᵀ/K) ⊗ X̃ᵀX̃/N. On centred
features the bias separates, and residuals sum to zero over the classes, so what is left for each
class is

    M(λ) = c Σ + 2λ I        Σ the covariance of the scaled features, c ≤ ½

Here c = (1 − Σ_k π_k²) / (K − 1), the mean curvature of the softmax where every row has the
probabilities of the label frequencies π: 1/K for balanced classes, Böhning's ½ for two of them.

Σ is held as its leading directions, found once by subspace iteration on a sample of rows (Halko,
Martinsson & Tropp 2011), and one variance for all other directions. M(λ) is then inverted for any
λ at no cost, needs D × r numbers instead of D × D, and takes a tenth of the time of a Gram matrix
with a factorisation; what the sample misses is mended by the solver's memory of its own steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelayer.engines import Rows

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

# Up to this many features all directions are found, exactly on the sample.
EXACT_FEATURES = 512
SAMPLE_ROWS = 4096
RANK = 256
EXTRA_DIRECTIONS = 16
# Memory is bounded, whatever D: the sample, and the directions that are kept.
SAMPLE_BYTES, DIRECTION_BYTES = 64 << 20, 64 << 20
FLATTEST = 1e-6


@dataclass(frozen=True, eq=False)
class Metric:
    """M(λ) = c Σ + 2λ I on centred features, and c for the bias.

    Attributes:
        mean: of the scaled features over the sample, shape (D,); the solver centres by it.
        directions: leading eigenvectors of Σ, shape (D, r), float32.
        variances: their eigenvalues, shape (r,), descending.
        rest: variance of every direction beside them, ≥ 0.
        curvature: c, mean curvature of the softmax in its scores, in (0, ½].
    """

    mean: Float64
    directions: Float32
    variances: Float64
    rest: float
    curvature: float

    def divide(self, gradient: Float64, l2: float) -> Float64:
        """M(λ)⁻¹ times a gradient.

        Args:
            gradient: shape (K, D + 1); the last column is the bias's.
            l2: λ ≥ 0.

        Returns:
            Shape (K, D + 1).
        """
        c, G = self.curvature, gradient[:, :-1]
        # The directions are float32: a larger ratio of curvatures would amplify their rounding.
        least = FLATTEST * c * float(self.variances[0]) + np.finfo(np.float64).tiny
        inside = 1.0 / np.maximum(c * self.variances + 2.0 * l2, least)
        complete = len(self.variances) == G.shape[1]
        outside = 0.0 if complete else 1.0 / max(c * self.rest + 2.0 * l2, least)
        along = (G.astype(np.float32) @ self.directions) * (inside - outside).astype(np.float32)
        divided = np.empty_like(gradient)
        divided[:, :-1] = outside * G + along @ self.directions.T
        divided[:, -1] = gradient[:, -1] / c
        return divided


def fit_metric(rows: Rows, classes: int, *, rank: int = RANK) -> Metric:
    """Find the leading directions of the scaled features on a seeded sample of the rows.

    Args:
        rows: the training rows.
        classes: K.
        rank: directions to keep where D is above EXACT_FEATURES.

    Returns:
        The metric; the same for the same rows.

    Example:
        >>> X, y = np.eye(4), np.array([0, 1, 0, 1])
        >>> metric = fit_metric(Rows(X, y, np.ones(4), np.zeros(4)), classes=2)
        >>> metric.curvature
        0.5
    """
    rng = np.random.default_rng(0)
    sample, weights = _sample(rows, rng)
    if weights is None:
        mean = sample.mean(axis=0, dtype=np.float64)
    else:
        mean = weights @ sample / weights.sum()
    sample -= mean.astype(np.float32)
    if weights is not None:
        sample *= np.sqrt(weights / weights.mean())[:, None].astype(np.float32)
    total = float(np.einsum("nd,nd->", sample, sample, optimize=True)) / len(sample)
    if sample.shape[1] <= EXACT_FEATURES:
        directions, variances = _all_directions(sample)
    else:
        affordable = max(1, DIRECTION_BYTES // (4 * sample.shape[1]))
        most = min(rank, len(sample) // 2, affordable)
        directions, variances = _leading_directions(sample, most, rng)
    others = sample.shape[1] - len(variances)
    rest = max(total - float(variances.sum()), 0.0) / others if others else 0.0
    return Metric(mean, directions, variances, rest, _curvature(rows, classes))


def _sample(rows: Rows, rng: np.random.Generator) -> tuple[Float32, Float64 | None]:
    """Scaled rows, at most SAMPLE_ROWS of them, in float32, and their weights."""
    features = rows.X.shape[1]
    most = max(2, min(SAMPLE_ROWS, SAMPLE_BYTES // (4 * features)))
    chosen: slice | NDArray[np.int64] = slice(None)
    if rows.count > most:
        chosen = np.sort(rng.choice(rows.count, most, replace=False))
    weights = None if rows.row_weights is None else rows.row_weights[chosen]
    if weights is not None and not weights.any():
        weights = None
    if rows.index is not None:
        chosen = rows.index[chosen]
    sample = rows.X[chosen].astype(np.float32)
    sample *= rows.scale.astype(np.float32)
    sample += rows.offset.astype(np.float32)
    return sample, weights


def _all_directions(sample: Float32) -> tuple[Float32, Float64]:
    values, vectors = np.linalg.eigh((sample.T @ sample).astype(np.float64) / len(sample))
    return (
        np.ascontiguousarray(vectors[:, ::-1], np.float32),
        np.maximum(values[::-1], 0.0),
    )


def _leading_directions(
    sample: Float32, rank: int, rng: np.random.Generator
) -> tuple[Float32, Float64]:
    width = min(rank + EXTRA_DIRECTIONS, *sample.shape)
    guess = rng.standard_normal((sample.shape[1], width), np.float32)
    basis = _orthonormal(sample.T @ (sample @ guess))
    inside = sample @ basis
    values, vectors = np.linalg.eigh((inside.T @ inside).astype(np.float64) / len(sample))
    leading = vectors[:, ::-1][:, :rank].astype(np.float32)
    return np.ascontiguousarray(basis @ leading), np.maximum(values[::-1][:rank], 0.0)


def _orthonormal(Y: Float32) -> Float32:
    """An orthonormal basis of the columns' span, by their Gram matrix: ten times faster than QR.

    The columns' condition is that of Σ's leading part, whose square float64 holds easily.
    """
    wide = Y.astype(np.float64)
    values, vectors = np.linalg.eigh(wide.T @ wide)
    held = values > 1e-13 * values[-1]
    return np.asarray(wide @ (vectors[:, held] / np.sqrt(values[held])), np.float32)


def _curvature(rows: Rows, classes: int) -> float:
    shares = rows.shares(classes)
    present = max(int((shares > 0).sum()), 2)
    mean = float(1.0 - np.sum(shares**2)) / (present - 1)
    return max(mean, 1.0 / (8.0 * present))
