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
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onelayer.engines import Engine, Rows, Weights, tiles
from onelayer.objective import Loss
from onelayer.optimum.curvature import (
    largest_curvature,
    largest_second_moment,
    loss_curvature,
)

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
