"""Fewer coordinates for rows that are fewer than their features.

The cost sees W through its scores and its norm alone, so W* lies in the span of the centred rows.
N rows of rank r are solved in r coordinates, whatever D is:

    G = X̃ X̃ᵀ      S G S = U Λ Uᵀ      Z = G S U Λ^(−1/2)      W = V (S U Λ^(−1/2))ᵀ X̃

with X̃ (N, D) the scaled rows less their mean, S² the rows' fractions of the weight, Z (N, r) the
coordinates and V (K, r) the weights in them: V zᵢ = W x̃ᵢ and ‖V‖ = ‖W‖, so the cost is the same.
The covariance of Z is Λ, which gives a preconditioner that needs no sample. G is made once for all
solutions; rows of a fold are rows of Z.

What rounding took from G may be missing from Z. Solutions are therefore proven on the rows
themselves, and the search goes on in all features where the proof falls short.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onelayer.data.memory import available_memory
from onelayer.data.rows import Rows
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine, Weights, loaded
from onelayer.solver.lbfgs import (
    EXACT_FEATURES,
    RANK,
    Preconditioner,
    mean_curvature,
)
from onelayer.solver.linalg import inner_product, one_blas_thread, require_finite
from onelayer.solver.newton import choose_preconditioner

Float64 = NDArray[np.float64]

# Rows whose products with all others are made at a time; of rows in files a quarter of the free
# memory, since each such block reads them all.
BLOCK_BYTES = 64 << 20

# Directions of less variance, relative to the largest, are rounding of G.
MIN_VARIANCE = 1e-13

# Seconds on two cores, measured: of N² D products in G and N³ in its factorisation, of the sample's
# products for a preconditioner, and of a pass for each entry of X and each entry and class.
GRAM, FACTOR, SAMPLE, ENTRY, ENTRY_CLASS = 1.2e-11, 1.5e-10, 7e-11, 2e-10, 1.5e-11

# Passes of a solution, and the bytes that G may take.
PASSES, GRAM_BYTES = 30, 256 << 20


@dataclass(frozen=True, eq=False)
class Reduction:
    """Rows in the coordinates of their span.

    Attributes:
        rows: the rows with coordinates as features, X (N, r).
        mean: of the scaled features, (D,).
        preconditioner: of the coordinates, their exact covariance.
    """

    rows: Rows
    mean: Float64
    preconditioner: Preconditioner
    _engine: Engine
    _centred: Rows
    _mix: Float64  # S U Λ^(−1/2), (N, r)

    def part(self, rows: Rows) -> Rows:
        """Some of the rows, as `Rows.only` gave them, in coordinates."""
        if rows.index is None or self._centred.index is None:
            return replace(self.rows, index=rows.index)
        places = np.empty(len(rows.y), np.int64)
        places[self._centred.index] = np.arange(self.rows.count)
        return replace(self.rows, index=places[rows.index])

    def lift(self, V: Float64) -> Float64:
        """W (K, D) of weights V (K, r) of the coordinates: one pass over the rows."""
        factors = np.einsum("nr,kr->nk", self._mix, V)
        W: Float64 = self._engine.weighted_sums(self._centred, factors[None])[0]
        return W

    def lower(self, W: NDArray[np.floating]) -> Float64:
        """V (K, r) of weights W (K, D), without what is outside the span: one pass."""
        weights = Weights(np.asarray(W, np.float64)[None], np.zeros((1, len(W))))
        along = np.asarray(self._engine.scores(self._centred, weights)[0], np.float64)
        return inner_product(self._engine, along, self._mix)


def fit_shared(
    engine: Engine, rows: Rows, classes: int, solutions: int = 1
) -> Preconditioner | Reduction:
    """What so many solutions of the rows and of parts of them share.

    Coordinates where those are expected to be faster, else a preconditioner.
    """
    if is_faster(rows.count, rows.X.shape[1], classes, solutions):
        reduction = reduce_rows(engine, rows, classes)
        if reduction is not None:
            return reduction
    return choose_preconditioner(engine, rows, classes)


def is_faster(N: int, D: int, classes: int, solutions: int) -> bool:
    """Whether so many solutions are expected to be faster in coordinates than in all features.

    Example:
        >>> is_faster(50, 100_000, 2, 1), is_faster(4000, 6000, 2, 1), is_faster(60_000, 784, 10, 1)
        (True, False, False)
    """
    if N >= D or 8 * N**2 > GRAM_BYTES:
        return False
    made = GRAM * N**2 * D + FACTOR * N**3
    sampled = SAMPLE * N * D * min(RANK, N // 2) if D > EXACT_FEATURES else 0.0
    spared = solutions * PASSES * N * (D - N) * (ENTRY + ENTRY_CLASS * classes)
    return made < sampled + spared


@np.errstate(over="ignore", invalid="ignore")  # what leaves the numbers is refused
def reduce_rows(engine: Engine, rows: Rows, classes: int) -> Reduction | None:
    """The rows in coordinates of their span; None where they do not differ."""
    weights = rows.row_weights
    fractions = np.full(rows.count, 1.0 / rows.count) if weights is None else weights / rows.mass
    mean = engine.weighted_sums(rows, fractions[None, :, None])[0, 0]
    centred = replace(rows, offset=rows.offset - mean)
    G, roots = gram_matrix(engine, centred), np.sqrt(fractions)
    with one_blas_thread():
        variances, U = np.linalg.eigh(require_finite(G * roots * roots[:, None]))
    held = variances > MIN_VARIANCE * variances[-1]
    if not held.any():
        return None
    variances, U = variances[held][::-1], U[:, held][:, ::-1]
    mix = U * (roots[:, None] / np.sqrt(variances))
    if weights is None:  # the same without the rounding of another product
        Z = np.ascontiguousarray(U * np.sqrt(variances) / roots[:, None])
    else:
        Z = inner_product(engine, G, mix)
    r = len(variances)
    coordinates = Rows(Z, rows.labels, np.ones(r), np.zeros(r), None, weights)
    preconditioner = Preconditioner(
        engine, np.zeros(r), None, variances, 0.0, mean_curvature(rows, classes)
    )
    return Reduction(coordinates, mean, preconditioner, engine, centred, mix)


def gram_matrix(engine: Engine, rows: Rows) -> Float64:
    """X̃ X̃ᵀ of the scaled rows, shape (N, N), in float64; some of them at a time are copied."""
    N, D = rows.count, rows.X.shape[1]
    most = BLOCK_BYTES
    if stored_rows(rows.X) is not None:
        most = max(most, available_memory() // 4)
    step = max(1, most // (8 * D))
    G = np.empty((N, N))
    rows = replace(rows, y=np.zeros_like(rows.y))  # rows take the place of classes
    for start in range(0, N, step):
        places = np.arange(start, min(start + step, N))
        W = np.ascontiguousarray(loaded(rows, places).scaled(), np.float64)
        products = engine.scores(rows.part(start, N), Weights(W[None], np.zeros((1, len(W)))))[0]
        G[start:, places] = products
        G[places, start:] = products.T
    return G
