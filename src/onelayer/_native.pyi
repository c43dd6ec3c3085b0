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
) -> int:
    """Run one epoch of mini-batch gradient descent in place; return the number of steps."""

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
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int32] | None]:
    """Return mean cross-entropy (R,), right rows (R,) and, if asked for, classes (R, N).

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
