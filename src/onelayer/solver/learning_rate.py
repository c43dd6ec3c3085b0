"""The learning rates that a data set allows, measured before training.

    H (V, c) = (1/N) Σ uᵢ (xᵢᵀ, 1) + (2λ V, 0)      uᵢ = ∂²ℓᵢ/∂s² (V xᵢ + c)
    λmax(H) ≤ L = κ λmax(X̃ᵀX̃/N) + 2λ                full batches are stable for η < 2/L
    L₁ = κ maxᵢ ‖x̃ᵢ‖² + 2λ                          the same for a batch of one row
    L_B = (N (B−1) L + (N−B) L₁) / (B (N−1))

X̃ are the rows with a 1 appended, or a 0 without an intercept, and κ is the largest curvature of a
row's loss in its scores: ½ for softmax (Böhning 1992), 1/4K for K-sigmoid. L_B is the expected
smoothness of a random batch of B rows (Gower, Loizou, Qian, Sailanbayev, Shulgin & Richtárik 2019,
proposition 3.8).

With momentum μ a step is stable along a direction of curvature h while η < m/h,

    m = 2 (1 + μ)               heavy ball
    m = 2 (1 + μ) / (1 + 2μ)    Nesterov

by Jury's conditions on z² − (1 + μ − ηh) z + μ and z² − (1 + μ)(1 − ηh) z + μ (1 − ηh), the two
recursions on a quadratic cost. On other costs heavy ball need not settle below m/L (Lessard, Recht
& Packard 2016); what is guaranteed is η < 2 (1 − μ)/L (Ghadimi, Feyzmahdavian & Johansson 2015), so
"auto" takes (1 − μ)/L_B, to three digits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data import Dataset, Splits
from onelayer.data.dataset import require_rows, training_rows
from onelayer.data.rows import Rows, intercept_setting, rows_to_fit
from onelayer.data.streaming import stored_rows
from onelayer.data.weights import ClassWeight
from onelayer.engines import Engine, Weights, loaded, streaming, tiles
from onelayer.errors import known_options, require_number, require_whole
from onelayer.objective.loss import Loss, check_loss, loss_function
from onelayer.objective.penalty import L2_RANGE, MAX_L2, Penalty
from onelayer.solver.linalg import inner, norm, require_finite

Float64 = NDArray[np.float64]

MAX_PRODUCTS = 30

# Probabilities are made in tiles of TILE_BYTES; those of all rows are kept up to KEPT_BYTES, else
# made again for each product.
TILE_BYTES, KEPT_BYTES = 4 << 20, 64 << 20

# Rows of a tile where each has one score, and where each is read in float32.
MOMENT_ROWS, LENGTH_ROWS = 1 << 24, 1024

# For rows in files the search begins on a sample of this size.
SAMPLE_BYTES = 32 << 20

# Relative error at which Lanczos stops.
TOLERANCE = 1e-3


@dataclass(frozen=True, repr=False)
class LearningRateBounds:
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
        """2/L: full-batch descent with a smaller learning rate is stable everywhere."""
        return 2.0 / self.smoothness

    @property
    def batch_stable(self) -> float:
        """2/L_B: the same for batches of that size."""
        return 2.0 / self.batch_smoothness

    @property
    def start_stable(self) -> float:
        """2/λmax(H) at W = 0: with a larger learning rate the first steps overshoot."""
        return 2.0 / self.start_curvature

    @property
    def learning_rate(self) -> float:
        """1/L_B: half of what is guaranteed to be stable. "auto" takes it, to three digits."""
        return 1.0 / self.batch_smoothness

    def __repr__(self) -> str:
        return (
            f"learning_rate {self.learning_rate:.3g} for batches of {self.batch_size} rows, λ = "
            f"{self.l2:g}\nstable below {self.batch_stable:.3g} for such batches, "
            f"{self.stable:.3g} for full batches; overshoots at the start above "
            f"{self.start_stable:.3g}"
        )


@known_options
def suggest_learning_rate(
    data: Dataset | Splits,
    *,
    l2: float = 0.0,
    batch_size: int = 100,
    loss: Loss = "softmax",
    intercept: bool = True,
    class_weight: ClassWeight = None,
    scaling: str = "auto",
    engine: Engine | str | None = None,
) -> LearningRateBounds:
    """Measure which learning rates are stable on a data set: about thirty passes over the rows.

    Args:
        data: the training rows; of `Splits` the training part.
        l2: λ ≥ 0.
        batch_size: B ≥ 1; more than N counts as N.
        loss: "softmax" or "sigmoid".
        intercept: whether there is a bias, as of `solve`.
        class_weight: of the training rows, as of `solve`.
        scaling: "auto", "none", "unit" or "standardize".
        engine: an engine or its name; None is the native engine.

    Returns:
        Bounds on the learning rate, and one to take: `learning_rate`.

    Raises:
        SettingsError: for a value outside its range.

    Source:
        Böhning (1992), Multinomial logistic regression algorithm; Gower et al. (2019), SGD: General
        analysis and improved rates.

    Example:
        >>> from onelayer import load, suggest_learning_rate
        >>> bounds = suggest_learning_rate(load("digits"), batch_size=100)
        >>> 0 < bounds.learning_rate < bounds.batch_stable <= bounds.stable < bounds.start_stable
        True
    """
    require_number("l2 (λ)", l2, L2_RANGE, least=0, below=MAX_L2)
    require_whole("batch_size", batch_size, 1)
    require_rows("suggest_learning_rate", data)
    check_loss(loss, 0.0, training_rows(data).y)
    penalty, engine = Penalty(l2), streaming(engine)
    intercept_setting(intercept)
    data = training_rows(data)
    how: dict[str, Any] = {"intercept": intercept, "without_offsets": "mini-batch training"}
    train, _, rows = rows_to_fit(data, scaling, class_weight, **how)
    curvature = loss_function(loss, train.y).curvature(train.classes)
    whole, mixed = smoothness(engine, rows, penalty, batch_size, curvature)
    W = np.zeros((1, train.classes, train.features), np.float32)
    start = Weights(W, np.zeros(W.shape[:2], np.float32))
    ((at_start, _),) = largest_curvatures(engine, rows, start, [penalty], losses=[loss])
    return LearningRateBounds(l2, min(batch_size, rows.count), whole, mixed, at_start)


def stable_product(momentum: float = 0.0, *, nesterov: bool = False) -> float:
    """m: steps are stable along a direction of curvature h while η h < m.

    Example:
        >>> stable_product(), stable_product(0.5), stable_product(0.5, nesterov=True)
        (2.0, 3.0, 1.5)
    """
    heavy_ball = 2.0 * (1.0 + momentum)
    return heavy_ball / (1.0 + 2.0 * momentum) if nesterov else heavy_ball


def smoothness(
    engine: Engine,
    rows: Rows,
    penalty: Penalty,
    batch_size: int,
    curvature: float = 0.5,
    dtype: str = "float32",
) -> tuple[float, float]:
    """L and L_B: about ten passes over the rows.

    `curvature` is κ. A row of weight w counts as a loss w / w̄ times as curved. A batch_size above N
    counts as N.
    """
    N, B = rows.count, min(batch_size, rows.count)
    whole = curvature * largest_second_moment(engine, rows, dtype)
    single = curvature * _largest_row(rows)
    mixed = whole if N == 1 else (N * (B - 1) * whole + (N - B) * single) / (B * (N - 1))
    return whole + penalty.curvature, mixed + penalty.curvature


def largest_curvatures(
    engine: Engine,
    rows: Rows,
    weights: Weights,
    penalties: Sequence[Penalty],
    *,
    losses: Sequence[Loss] = (),
    intercepts: Sequence[bool] = (),
    starts: Sequence[Float64 | None] = (),
    tolerance: float = TOLERANCE,
) -> list[tuple[float, Float64]]:
    """λmax of the Hessian of J at weights W (R, K, D), b (R, K), and its direction (K, D + 1).

    Lanczos iteration on Hessian-vector products, of all runs in one pass over the rows, each from a
    direction of `starts` near the one looked for, such as an earlier answer. Without `losses` they
    are softmax, and without `intercepts` the rows say whether runs have one.
    """
    (R, K, D), dtype = weights.W.shape, weights.W.dtype
    functions = [loss_function(loss, rows.y) for loss in losses or ["softmax"] * R]
    biased = intercepts or [rows.intercept] * R
    row_bytes = R * K * dtype.itemsize
    keeps, kept = rows.count * row_bytes <= KEPT_BYTES, dict[int, NDArray[np.floating]]()

    def probabilities(place: int, part: Rows) -> NDArray[np.floating]:
        if place in kept:
            return kept[place]
        S = engine.scores(part, weights)
        P = np.stack([of.probabilities(s) for of, s in zip(functions, S, strict=True)])
        P = P.astype(dtype)
        if keeps:
            kept[place] = P
        return P

    def bend(place: int, part: Rows, runs: list[int], Z: NDArray[np.floating]) -> list[Any]:
        P = probabilities(place, part)
        return [functions[run].bend(P[run], z) for run, z in zip(runs, Z, strict=True)]

    moment = _moment(engine, rows, max(256, TILE_BYTES // row_bytes), dtype, bend)

    def product(runs: list[int], V: Float64) -> Float64:
        bent = moment(runs, V)
        for run, of_run, v in zip(runs, bent, V, strict=True):
            of_run[:, :-1] += penalties[run].gradient(v[:, :-1])
            of_run[:, -1] *= biased[run]
        return bent

    first = np.random.default_rng(0).standard_normal((K, D + 1))
    given = [first.copy() if start is None else start for start in starts or [None] * R]
    for start, has_bias in zip(given, biased, strict=True):
        start[:, -1] *= has_bias
    return _largest_eigenvalues(product, given, tolerance)


def largest_second_moment(engine: Engine, rows: Rows, dtype: str = "float32") -> float:
    """λmax(X̃ᵀX̃/N) of the scaled rows with a 1 appended; κ times it bounds the loss's curvature.

    For rows in files it starts from the answer of a sample of them.
    """
    start = np.ones((1, rows.X.shape[1] + 1))
    start[:, -1] = rows.intercept

    def largest(of: Rows) -> tuple[float, Float64]:
        product = _moment(engine, of.unlabelled, MOMENT_ROWS, np.dtype(dtype), lambda *of: of[-1])
        return _largest_eigenvalues(product, [start], TOLERANCE)[0]

    most = max(1, SAMPLE_BYTES // (rows.X.shape[1] * rows.X.dtype.itemsize))
    if stored_rows(rows.X) is not None and rows.count > most:
        chosen = np.sort(np.random.default_rng(0).choice(rows.count, most, replace=False))
        sample = loaded(rows, chosen)
        start = largest(sample)[1] if sample.mass else start
    return largest(rows)[0]


def _moment(
    engine: Engine,
    rows: Rows,
    step: int,
    dtype: np.dtype[Any],
    bend: Callable[[int, Rows, list[int], NDArray[np.floating]], Any],
) -> Callable[[list[int], Float64], Float64]:
    """The map V ↦ (1/N) Σ bend(X̃ᵢ Vᵀ) X̃ᵢ of some runs' V (R, K, D + 1), `step` rows at a time."""
    mass = rows.mass

    def product(runs: list[int], V: Float64) -> Float64:
        directions, total = V.astype(dtype), np.zeros(V.shape)
        along = Weights(directions[:, :, :-1], directions[:, :, -1])
        for place, part in tiles(rows, step):
            bent = bend(place.start, part, runs, engine.scores(part, along))
            Z = np.stack([_weighed(part, z) for z in bent])
            total[:, :, :-1] += engine.weighted_sums(part, Z)
            total[:, :, -1] += rows.intercept * Z.sum(axis=1, dtype=np.float64)
        return total / mass

    return product


def _largest_row(rows: Rows) -> float:
    """maxᵢ ‖x̃ᵢ‖² of the scaled rows and what is appended, each times its weight over the mean."""
    largest, weights = 0.0, rows.row_weights
    for place, tile in tiles(rows, LENGTH_ROWS):
        lengths = tile.squared_lengths("float32") + float(rows.intercept)
        if weights is not None:
            lengths *= weights[place] * (rows.count / rows.mass)
        largest = max(largest, float(lengths.max()))
    return largest


def _weighed(rows: Rows, values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Values of the rows, shape (N, K), times the rows' weights."""
    weights = rows.row_weights
    return values if weights is None else values * weights[:, None].astype(values.dtype)


@np.errstate(over="ignore", invalid="ignore")  # what leaves the numbers is refused
def _largest_eigenvalues(
    product: Callable[[list[int], Float64], Float64], starts: Sequence[Float64], tolerance: float
) -> list[tuple[float, Float64]]:
    """Those of several runs, whose products are made together while they are looked for."""
    searches = [_lanczos(start, tolerance) for start in starts]
    asked = {run: next(search) for run, search in enumerate(searches)}
    found: dict[int, tuple[float, Float64]] = {}
    while asked:
        runs = list(asked)
        for run, image in zip(runs, product(runs, np.stack(list(asked.values()))), strict=True):
            try:
                asked[run] = searches[run].send(image)
            except StopIteration as end:
                found[run] = end.value
                del asked[run]
    return [found[run] for run in range(len(searches))]


def _lanczos(
    start: Float64, tolerance: float
) -> Generator[Float64, Float64, tuple[float, Float64]]:
    """Lanczos with full orthogonalisation, a few dozen vectors at most; asks for their images."""
    basis = [start / norm(start)]
    T = np.zeros((MAX_PRODUCTS, MAX_PRODUCTS))
    value, mix = 0.0, np.ones(1)
    for j in range(MAX_PRODUCTS):
        image = yield basis[j]
        for i, vector in enumerate(basis):
            T[i, j] = inner(vector, image)
            image = image - T[i, j] * vector
        left = norm(image)
        values, vectors = np.linalg.eigh(require_finite(T[: j + 1, : j + 1]), UPLO="U")
        value, mix = float(values[-1]), vectors[:, -1]
        if left * abs(mix[-1]) <= tolerance * abs(value) or len(basis) == start.size:
            break
        basis.append(image / left)
    direction = sum(m * vector for m, vector in zip(mix, basis, strict=False))
    return value, np.asarray(direction / norm(np.asarray(direction)))
