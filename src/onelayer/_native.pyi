"""The C++ kernel: see native/bindings.cpp.

Letters: N rows, D features, K classes, R runs; X (N, D) uint8, float16, float32 or float64 with
contiguous rows, y (N,) int64 or int32, weights (N,) float64 or None, W (R, K, D) and b (R, K)
float32 or float64, scale and offset (D,) float64. The feature used is fma(x, scale, offset) in W's
type.
"""

import numpy as np
from numpy.typing import NDArray

def train_epoch(
    X: NDArray[np.generic],
    y: NDArray[np.integer],
    order: NDArray[np.int64] | None,
    batch_size: int,
    W: NDArray[np.floating],
    b: NDArray[np.floating],
    learning_rate: NDArray[np.float64],
    l2: NDArray[np.float64],
    scale: NDArray[np.float64],
    offset: NDArray[np.float64],
    threads: int,
    weights: NDArray[np.float64] | None = None,
    flipped: NDArray[np.bool_] | None = None,
    image_width: int = 0,
    sigmoid: NDArray[np.bool_] | None = None,
    smoothing: NDArray[np.float64] | None = None,
    momentum: NDArray[np.float64] | None = None,
    nesterov: NDArray[np.bool_] | None = None,
    velocity: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
    averaging: NDArray[np.float64] | None = None,
    average: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
) -> int:
    """Take one step for each batch, in place; return the number of steps.

    learning_rate and averaging are (T, R) for T batches, flipped (n,) for n rows visited, of lines
    of image_width features; l2, sigmoid, smoothing, momentum and nesterov are (R,). velocity and
    average are W and b of their own, stepped in place; momentum asks for the one, averaging for
    the other.
    """

def evaluate(
    X: NDArray[np.generic],
    y: NDArray[np.integer],
    W: NDArray[np.floating],
    b: NDArray[np.floating],
    scale: NDArray[np.float64],
    offset: NDArray[np.float64],
    predictions: bool,
    threads: int,
    order: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
    sigmoid: NDArray[np.bool_] | None = None,
    smoothing: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int32] | None]:
    """Return the mean loss (R,), right rows (R,) and, if asked for, classes (R, N).

    Each row's loss is times its weight; the mean is over the rows' number.
    """

def full_gradient(
    X: NDArray[np.generic],
    y: NDArray[np.integer],
    W: NDArray[np.floating],
    b: NDArray[np.floating],
    scale: NDArray[np.float64],
    offset: NDArray[np.float64],
    threads: int,
    order: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mean cross-entropy (R,), its gradients (R, K, D) and (R, K); without l2.

    Each row counts times its weight; the mean is over the rows' number.
    """

def scores(
    X: NDArray[np.generic],
    y: NDArray[np.integer],
    W: NDArray[np.floating],
    b: NDArray[np.floating],
    scale: NDArray[np.float64],
    offset: NDArray[np.float64],
    threads: int,
    order: NDArray[np.int64] | None = None,
) -> NDArray[np.floating]:
    """Return the scores W x + b of every row, (R, N, K), in W's type."""

def weighted_sums(
    X: NDArray[np.generic],
    factors: NDArray[np.floating],
    scale: NDArray[np.float64],
    offset: NDArray[np.float64],
    threads: int,
    order: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Return the sum over rows of factors (R, N, K) times the scaled row: (R, K, D)."""

def instruction_set() -> str:
    """Name the instruction set that runs; ONELAYER_ISA overrides it."""

def supported_instruction_sets() -> list[str]:
    """Name those this machine can run, best first."""

def default_threads() -> int:
    """Count the cores this process may use; ONELAYER_THREADS overrides it."""

def phase_times() -> dict[str, float]:
    """Return seconds per phase since the last call, in builds with ONELAYER_PHASE_TIMES."""
