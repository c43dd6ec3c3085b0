"""How sharply the cost bends: the curvature that bounds the learning rate.

    H (V, c) = (1/N) Σ uᵢ (xᵢᵀ, 1) + (2λ V, 0)     uᵢ = (diag pᵢ − pᵢ pᵢᵀ) (V xᵢ + c)
    λmax(H) ≤ L = ½ λmax(X̃ᵀX̃/N) + 2λ               X̃ the rows with a 1 appended (Böhning 1992)

For the K-sigmoid loss uᵢ = diag(σᵢ (1 − σᵢ)) (V xᵢ + c) / K, and as σ (1 − σ) ≤ ¼ the bound has
1/4K in the place of ½. Label smoothing is linear in the scores, so it bends nothing.

Gradient descent with step η is stable along a direction of curvature h while η < 2/h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onelayer.engines import Engine, Rows, Weights, loaded, tiles
from onelayer.objective import Loss, sigmoid, softmax
from onelayer.optimum.products import inner, norm
from onelayer.stored import stored_rows

Float64 = NDArray[np.float64]

MOST_PRODUCTS = 30
# Probabilities are made in tiles of so many bytes; of all rows they are kept if they take no more
# than that, else they are made anew for each product.
TILE_BYTES, KEPT_BYTES = 4 << 20, 64 << 20
# Rows of a tile of the second moment's products, each of which has one score.
MOMENT_ROWS = 1 << 24
# Of rows that stay in their files its search begins on so many.
SAMPLE_BYTES = 32 << 20
# Lanczos stops when the largest eigenvalue is known to this share.
ENOUGH = 1e-3


def largest_curvature(
    engine: Engine,
    rows: Rows,
    weights: Weights,
    l2: float,
    *,
    loss: Loss = "softmax",
    start: Float64 | None = None,
    enough: float = ENOUGH,
) -> tuple[float, Float64]:
    """λmax of the Hessian of J at (W, b), by Lanczos iteration on Hessian-vector products.

    Args:
        engine: what does the arithmetic.
        rows: the rows that J is the mean over.
        weights: one run's, W (1, K, D) and b (1, K).
        l2: λ ≥ 0.
        loss: "softmax" or "sigmoid".
        start: a direction near the one looked for, shape (K, D + 1), such as an earlier answer.
        enough: relative error to stop at.

    Returns:
        λmax, and the direction it belongs to, shape (K, D + 1), of length 1.
    """
    K, D = weights.W.shape[1:]
    probabilities = _Probabilities(engine, rows, weights, loss)

    def product(v: Float64) -> Float64:
        direction = v.astype(weights.W.dtype)
        along = Weights(direction[None, :, :-1], direction[None, :, -1])
        bent = np.zeros((K, D + 1))
        for part, P in probabilities.tiles():
            Z = engine.scores(part, along)[0]
            U = _weighed(part, _bent(loss, P, Z))
            bent[:, :-1] += engine.weighted_sums(part, U[None])[0]
            bent[:, -1] += U.sum(axis=0, dtype=np.float64)
        bent /= rows.mass
        bent[:, :-1] += 2.0 * l2 * v[:, :-1]
        return bent

    if start is None:
        start = np.random.default_rng(0).standard_normal((K, D + 1))
    return _largest_eigenvalue(product, start, enough)


def _bent(loss: Loss, P: NDArray[np.floating], Z: NDArray[np.floating]) -> NDArray[np.floating]:
    """The curvature of each row's loss in its scores, times a direction of them, (n, K)."""
    if loss == "sigmoid":
        return np.asarray(P * (1 - P) * Z / P.shape[1])
    return np.asarray(P * (Z - np.einsum("nk,nk->n", P, Z)[:, None]))


def loss_curvature(loss: Loss, classes: int) -> float:
    """The largest curvature of a row's loss in its scores: ½ of softmax, 1/4K of K-sigmoid.

    Args:
        loss: "softmax" or "sigmoid".
        classes: K.

    Returns:
        What λmax(X̃ᵀX̃/N) is multiplied by to bound the curvature of the mean loss.

    Example:
        >>> loss_curvature("softmax", classes=10), loss_curvature("sigmoid", classes=10)
        (0.5, 0.025)
    """
    return 0.5 if loss == "softmax" else 0.25 / classes


def largest_second_moment(engine: Engine, rows: Rows, dtype: str = "float32") -> float:
    """λmax(X̃ᵀX̃/N) of the scaled rows with a 1 appended.

    Args:
        engine: what does the arithmetic.
        rows: the rows.
        dtype: arithmetic type.

    Returns:
        The largest eigenvalue; `loss_curvature` times it bounds the curvature of the mean loss.
    """
    return _largest_moment(engine, rows, dtype, _first_guess(engine, rows, dtype))[0]


def _first_guess(engine: Engine, rows: Rows, dtype: str) -> Float64:
    """Where to start: for rows that stay in their files, the answer of a sample of them."""
    ones = np.ones((1, rows.X.shape[1] + 1))
    most = max(1, SAMPLE_BYTES // (rows.X.shape[1] * rows.X.dtype.itemsize))
    if stored_rows(rows.X) is None or rows.count <= most:
        return ones
    chosen = np.sort(np.random.default_rng(0).choice(rows.count, most, replace=False))
    sample = loaded(rows, chosen)
    return _largest_moment(engine, sample, dtype, ones)[1] if sample.mass else ones


def _largest_moment(
    engine: Engine, rows: Rows, dtype: str, start: Float64
) -> tuple[float, Float64]:
    unlabelled, mass = replace(rows, y=np.zeros_like(rows.y)), rows.mass

    def product(v: Float64) -> Float64:
        direction, moment = v.astype(dtype), np.zeros(v.shape)
        along = Weights(direction[None, :, :-1], direction[None, :, -1])
        for _, part in tiles(unlabelled, MOMENT_ROWS):
            Z = _weighed(part, engine.scores(part, along)[0])
            moment[:, :-1] += engine.weighted_sums(part, Z[None])[0]
            moment[:, -1] += Z.sum(dtype=np.float64)
        return moment / mass

    return _largest_eigenvalue(product, start, ENOUGH)


class _Probabilities:
    """Probabilities of all rows in tiles, in the weights' type; kept where they fit in memory."""

    def __init__(self, engine: Engine, rows: Rows, weights: Weights, loss: Loss) -> None:
        self._engine, self._rows, self._weights = engine, rows, weights
        self._of_scores = softmax if loss == "softmax" else sigmoid
        row_bytes = weights.b.shape[1] * weights.W.itemsize
        self._step = max(256, TILE_BYTES // row_bytes)
        self._keeps = rows.count * row_bytes <= KEPT_BYTES
        self._kept: dict[int, NDArray[np.floating]] = {}

    def tiles(self) -> Iterator[tuple[Rows, NDArray[np.floating]]]:
        """Rows with their P, shape (n, K)."""
        for place, part in tiles(self._rows, self._step):
            yield part, self._of(place.start, part)

    def _of(self, start: int, part: Rows) -> NDArray[np.floating]:
        if start in self._kept:
            return self._kept[start]
        S = self._engine.scores(part, self._weights)[0]
        P: NDArray[np.floating] = self._of_scores(S).astype(S.dtype)
        if self._keeps:
            self._kept[start] = P
        return P


def _weighed(rows: Rows, values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Values of the rows, shape (N, K), times the rows' weights."""
    weights = rows.row_weights
    return values if weights is None else values * weights[:, None].astype(values.dtype)


def _largest_eigenvalue(
    product: Callable[[Float64], Float64], start: Float64, enough: float
) -> tuple[float, Float64]:
    """Lanczos with full orthogonalisation: a few dozen vectors at most."""
    basis = [start / norm(start)]
    T = np.zeros((MOST_PRODUCTS, MOST_PRODUCTS))
    value, mix = 0.0, np.ones(1)
    for j in range(MOST_PRODUCTS):
        image = product(basis[j])
        for i, vector in enumerate(basis):
            T[i, j] = inner(vector, image)
            image = image - T[i, j] * vector
        left = norm(image)
        values, vectors = np.linalg.eigh(T[: j + 1, : j + 1], UPLO="U")
        value, mix = float(values[-1]), vectors[:, -1]
        if left * abs(mix[-1]) <= enough * abs(value) or len(basis) == start.size:
            break
        basis.append(image / left)
    direction = sum(m * vector for m, vector in zip(mix, basis, strict=False))
    return value, np.asarray(direction / norm(np.asarray(direction)))
