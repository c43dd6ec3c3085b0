"""What learning rate a data set allows, before anything is trained on it.

    L = ½ λmax(X̃ᵀX̃/N) + 2λ        full batches are stable for η < 2/L
    L₁ = ½ maxᵢ ‖x̃ᵢ‖² + 2λ        the same for a batch of one row
    L_B = (N (B−1) L + (N−B) L₁) / (B (N−1))

½ is the largest curvature of a row's softmax loss in its scores; for the K-sigmoid loss 1/4K
stands in its place. L_B is the expected smoothness of a random batch of B rows: Gower, Loizou,
Qian, Sailanbayev, Shulgin & Richtárik (2019), proposition 3.8. It is L₁ at B = 1 and L at B = N.

With momentum μ a step is stable along a direction of curvature h while η < m/h,

    m = 2 (1 + μ)               heavy ball
    m = 2 (1 + μ) / (1 + 2μ)    Nesterov

by Jury's conditions on z² − (1 + μ − ηh) z + μ and z² − (1 + μ)(1 − ηh) z + μ (1 − ηh), the two
recursions on a quadratic cost. On other costs heavy ball need not settle below m/L (Lessard, Recht
& Packard 2016, by an example); what is guaranteed is η < 2 (1 − μ)/L (Ghadimi, Feyzmahdavian &
Johansson 2015), so "auto" takes (1 − μ)/L_B.

How sharply the cost bends: the curvature that bounds the learning rate.

    H (V, c) = (1/N) Σ uᵢ (xᵢᵀ, 1) + (2λ V, 0)     uᵢ = (diag pᵢ − pᵢ pᵢᵀ) (V xᵢ + c)
    λmax(H) ≤ L = ½ λmax(X̃ᵀX̃/N) + 2λ               X̃ the rows with a 1 appended (Böhning 1992)

For the K-sigmoid loss uᵢ = diag(σᵢ (1 − σᵢ)) (V xᵢ + c) / K, and as σ (1 − σ) ≤ ¼ the bound has
1/4K in the place of ½. Label smoothing is linear in the scores, so it bends nothing.

Gradient descent with step η is stable along a direction of curvature h while η < 2/h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onelayer.data import Dataset
from onelayer.data.rows import Rows, rows_of
from onelayer.data.scaling import fit_scaling
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine, Weights, loaded, streaming, tiles
from onelayer.errors import require_number, require_whole
from onelayer.objective.loss import Loss, _bent, check_loss, loss_curvature, sigmoid, softmax
from onelayer.solver.linalg import inner, norm


def suggest(
    dataset: Dataset,
    *,
    l2: float = 0.0,
    batch_size: int = 100,
    loss: Loss = "softmax",
    scaling: str = "unit",
    engine: Engine | None = None,
) -> Advice:
    """Measure which learning rates are stable on a data set, before training.

    Args:
        dataset: the training rows.
        l2: λ ≥ 0.
        batch_size: B ≥ 1; more than N counts as N.
        loss: "softmax" or "sigmoid".
        scaling: "none", "unit" or "standardize".
        engine: what does the arithmetic; None takes the default engine.

    Returns:
        Bounds on the learning rate, and one to take.

    Raises:
        SettingsError: for a value outside its range.

    Source:
        Böhning (1992); Gower et al. (2019), SGD: General Analysis and Improved Rates.

    Example:
        >>> from onelayer.data import load
        >>> advice = suggest(load("digits").train)
        >>> 0 < advice.learning_rate < advice.batch_stable <= advice.stable < advice.start_stable
        True
    """
    require_number("l2 (λ)", l2, "a finite number, 0 or above", least=0)
    require_whole("batch_size", batch_size, 1)
    check_loss(loss, 0.0)
    rows = rows_of(dataset, fit_scaling(scaling, dataset.X, dataset.max_value))
    return advise(streaming(engine), rows, dataset.classes, l2, batch_size, loss)


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


TILE_ROWS = 1024


@dataclass(frozen=True)
class Advice:
    """Bounds on the learning rate for a λ and a batch size.

    Attributes:
        l2: λ.
        batch_size: B.
        smoothness: L, the largest curvature that J can have anywhere.
        batch_smoothness: L_B, the same for a random batch, in expectation.
        start_curvature: λmax of the Hessian at W = 0, where training starts.
    """

    l2: float
    batch_size: int
    smoothness: float
    batch_smoothness: float
    start_curvature: float

    @property
    def stable(self) -> float:
        """2/L: below it, full-batch descent is stable wherever it goes."""
        return 2.0 / self.smoothness

    @property
    def batch_stable(self) -> float:
        """2/L_B: the same for batches of that size."""
        return 2.0 / self.batch_smoothness

    @property
    def start_stable(self) -> float:
        """2/λmax(H) at the start: above it, the first steps already overshoot."""
        return 2.0 / self.start_curvature

    @property
    def learning_rate(self) -> float:
        """1/L_B, what learning_rate="auto" takes: half of what is guaranteed to be stable."""
        return 1.0 / self.batch_smoothness


def stable_product(momentum: float = 0.0, *, nesterov: bool = False) -> float:
    """What η · h must be below for steps to be stable along a direction of curvature h.

    Args:
        momentum: μ in [0, 1).
        nesterov: whether the step is Nesterov's.

    Returns:
        m: 2 without momentum.

    Example:
        >>> stable_product(), stable_product(0.5), stable_product(0.5, nesterov=True)
        (2.0, 3.0, 1.5)
    """
    heavy_ball = 2.0 * (1.0 + momentum)
    return heavy_ball / (1.0 + 2.0 * momentum) if nesterov else heavy_ball


def advise(
    engine: Engine,
    rows: Rows,
    classes: int,
    l2: float,
    batch_size: int,
    loss: Loss = "softmax",
) -> Advice:
    """Measure the bounds on these rows: about thirty passes over them.

    Args:
        engine: what does the arithmetic.
        rows: the training rows.
        classes: K.
        l2: λ ≥ 0.
        batch_size: B, 1 … N.
        loss: "softmax" or "sigmoid".

    Returns:
        The bounds.
    """
    whole, mixed = smoothness(engine, rows, l2, batch_size, loss_curvature(loss, classes))
    D = rows.X.shape[1]
    zero = Weights(np.zeros((1, classes, D), np.float32), np.zeros((1, classes), np.float32))
    at_start, _ = largest_curvature(engine, rows, zero, l2, loss=loss)
    return Advice(l2, min(batch_size, rows.count), whole, mixed, at_start)


def smoothness(
    engine: Engine, rows: Rows, l2: float, batch_size: int, curvature: float = 0.5
) -> tuple[float, float]:
    """L and L_B alone: about ten passes over the rows.

    Args:
        engine: what does the arithmetic.
        rows: the training rows. A row with a weight w counts as a loss w / w̄ times as curved.
        l2: λ ≥ 0.
        batch_size: B ≥ 1; more than N counts as N.
        curvature: of a row's loss in its scores, at most; ½ is softmax's (`loss_curvature`).

    Returns:
        L for all rows at once, and L_B for random batches.
    """
    N, B = rows.count, min(batch_size, rows.count)
    whole = curvature * largest_second_moment(engine, rows)
    single = curvature * _largest_row(rows)
    mixed = whole if N == 1 else (N * (B - 1) * whole + (N - B) * single) / (B * (N - 1))
    return whole + 2.0 * l2, mixed + 2.0 * l2


def _largest_row(rows: Rows) -> float:
    """maxᵢ ‖x̃ᵢ‖² of the scaled rows with a 1 appended, each times its weight over the mean."""
    largest, weights = 0.0, rows.row_weights
    for place, tile in tiles(rows, TILE_ROWS):
        scaled = tile.X[slice(None) if tile.index is None else tile.index].astype(np.float32)
        scaled *= rows.scale.astype(np.float32)
        scaled += rows.offset.astype(np.float32)
        lengths = np.einsum("nd,nd->n", scaled, scaled) + 1.0
        if weights is not None:
            lengths *= weights[place] * (rows.count / rows.mass)
        largest = max(largest, float(lengths.max()))
    return largest
