"""The C++ kernel; native/python/bindings.cpp is the map of the extension.

N rows, D features, K classes, R runs, T batches. X (N, D) is uint8, float16, float32 or float64
with contiguous rows, y (N,) int64 or int32, weights (N,) float64 or None. W (R, K, D) and b (R, K)
are float32 or float64, scale and offset (D,) float64. A feature is fma(x, scale, offset) in W's
type. X of sparse rows is their values, float32 or float64, indices, int32 or int64, indptr, and D;
sums over them are float64. An order lists the rows of a pass; without one they are all rows in file
order.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Float64 = NDArray[np.float64]
Labels = NDArray[np.integer]
Order = NDArray[np.int64] | None
Stored = NDArray[Any] | tuple[NDArray[Any], NDArray[Any], NDArray[np.int64], int]

def train_epoch(
    X: Stored, y: Labels, order: Order, batch_size: int, W: Floats, b: Floats,
    scale: Float64, offset: Float64, threads: int, settings: Mapping[str, Float64],
    slots: Mapping[str, tuple[Floats, Floats]] = ..., weights: Float64 | None = None,
    flipped: NDArray[np.bool_] | None = None, image_width: int = 0,
) -> int:  # fmt: skip
    """Take one step for each batch, in place, and return the number of steps.

    settings are learning_rate and averaging, (T, R), and the arrays of `engines.base.Method`, (R,);
    one that is missing is 0, or no averaging. slots are those of `engines.base.State` that the
    settings need: pairs shaped like W and b, updated in place. flipped has one entry for each row
    of the pass: whether each of its lines of image_width features is read backwards.
    """

def evaluate(
    X: Stored, y: Labels, W: Floats, b: Floats, scale: Float64, offset: Float64,
    threads: int, order: Order = None, weights: Float64 | None = None,
    settings: Mapping[str, Float64] = ...,
) -> tuple[Float64, Float64, Float64, NDArray[np.int64]]:  # fmt: skip
    """Return the means of the loss, its square and right labels, and the number of these, (R,).

    What is averaged, the loss by the settings of its run, is multiplied by the row's weight; the
    mean divides by N.
    """

def classify(
    X: Stored, y: Labels, W: Floats, b: Floats, scale: Float64, offset: Float64,
    threads: int, order: Order = None,
) -> tuple[NDArray[np.int32], Float64, Float64, NDArray[np.int32]]:  # fmt: skip
    """Return each row's class, its probability, the cross-entropy and the label's rank, (R, N).

    The probability is NaN where any score of the row is not finite.
    """

def full_gradient(
    X: Stored, y: Labels, W: Floats, b: Floats, scale: Float64, offset: Float64,
    threads: int, order: Order = None, weights: Float64 | None = None,
) -> tuple[Float64, Float64, Float64, Float64]:  # fmt: skip
    """Return the mean cross-entropy (R,) and its gradients (R, K, D) and (R, K), without l2.

    The last is the mean of m² ‖p − y‖², (R,), with m the sums in the arithmetic type that a row is
    part of. Each row's loss is multiplied by its weight; the mean divides by N.
    """

def scores(
    X: Stored, y: Labels, W: Floats, b: Floats, scale: Float64, offset: Float64,
    threads: int, order: Order = None,
) -> Floats:  # fmt: skip
    """Return the scores W x + b of every row, (R, N, K), in W's type."""

def weighted_sums(
    X: Stored, factors: Floats, scale: Float64, offset: Float64, threads: int,
    order: Order = None,
) -> Float64:  # fmt: skip
    """Return the sum over rows of factors (R, N, K) times the scaled row: (R, K, D)."""

def class_sums(
    X: Stored, y: Labels, classes: int, threads: int, order: Order = None,
    weights: Float64 | None = None,
) -> tuple[Float64, Float64]:  # fmt: skip
    """Return the sum of the stored rows of each class, (K, D), and of each feature's squares, (D,).

    Each row counts by its weight.
    """

def sparse_ranges(X: Stored) -> tuple[Floats, Floats]:
    """Return the least and the largest value of each feature of sparse rows, (D,) each.

    They have the values' type; a value that a row does not store is 0.
    """

def stored_features(X: Stored, most: int) -> tuple[NDArray[np.int64], NDArray[np.int32]] | None:
    """Return the features that sparse rows store, ascending, and the place there of each value's.

    None where they are more than `most`.
    """

def fingerprints(X: Stored, threads: int) -> NDArray[np.uint64]:
    """Return 64 bits of the values of each row, (N,)."""

def products(rows: Floats, x: Floats, threads: int) -> Float64:
    """Return the products of vectors (m, n) with x (n,)."""

def combination(
    rows: Floats, factors: Float64, x: Floats, factor: float, threads: int
) -> Float64:  # fmt: skip
    """Return x (n,) times its factor plus vectors (m, n) times theirs, (m,)."""

def without_shared(
    at: Float64, present: NDArray[np.bool_], wide: bool, threads: int
) -> tuple[Float64, Floats, Floats]:
    """Return a point (K, D + 1) less what its present classes share, and its W and b.

    All are rounded to float32, unless they are to be wide.
    """

def add_penalty(
    at: Float64, present: NDArray[np.bool_], G: Float64, g: Float64, bends: Float64, threads: int
) -> tuple[Float64, float, float]:
    """Return the gradient (K, D + 1) of a cost from the loss's, of the present classes.

    It is less what these classes share; also return the penalty, and the squares of the gradient
    of W, summed. `bends` (D,) is the curvature of the penalty.
    """

def coordinate_descent(
    H: Float64, penalty: Float64, w: Float64, g: Float64, tolerance: float, sweeps: int
) -> int:
    """Minimise a quadratic plus the sum over j of penalty_j times the norm of w_:j, in place.

    H (n, n) is the Hessian of each of m rows, g (m, n) the gradient at w (m, n). It ends when a
    sweep moves by no more than the tolerance of the first one; return the number of sweeps.
    """

class SparseColumns:
    """A copy of sparse rows by columns; `offset` is what features are moved by after `scale`."""

    def __init__(
        self, X: Stored, scale: Float64, offset: Float64, order: Order = None, threads: int = 1
    ) -> None: ...
    def sums(self, features: NDArray[np.int64], factors: Float64, threads: int = 1) -> Float64:
        """Return the sum over rows of factors (N, m) times the features, (m, n)."""

    def scores(self, features: NDArray[np.int64], w: Float64) -> Float64:
        """Return the scores (N, m) of weights w (m, n) of scaled features, not moved."""

    def descend(
        self, features: NDArray[np.int64], d: Float64, l1: Float64, l2: Float64, intercept: bool,
        w: Float64, r: Float64, tolerance: float, sweeps: int,
    ) -> int:  # fmt: skip
        """Minimise over w (m, n), in place, at the best bias where there is an intercept.

        It is half the squares of what w adds to the scores, by the rows' curvatures d (N,), plus
        the residuals r (N, m), which are overwritten, times it, plus l2 (n,) times the squares and
        l1 (n,) times the norms of w_:j. It ends as `coordinate_descent` does.
        """

class ArrayColumns:
    """Columns of those features of an array that were asked for, as stored."""

    def __init__(self, N: int, wide: bool, scale: Float64, offset: Float64) -> None: ...
    def hold(self, features: NDArray[np.int64]) -> None:
        """Make room for columns of features that are not held yet."""

    def read(self, X: Stored, order: Order, place: int, features: NDArray[np.int64]) -> None:
        """Read columns that are held from rows of X, of which the first one's place is given."""

class PairSearch:
    """The search for few features of two classes: rows under weights of some features."""

    def __init__(
        self, X: ArrayColumns | SparseColumns, y: Float64, fractions: Float64,
        offsets: Float64 | None, intercept: bool, threads: int,
    ) -> None: ...  # fmt: skip
    def forget(self) -> None:
        """Forget Hessians, so that steps depend on the next ones alone."""

    def place(self, features: NDArray[np.int64], w: Float64, bias: float) -> None:
        """Score the rows by weights of features."""

    def put(self, scores: Float64) -> None:
        """Take scores (N,) as they are, with a bias of 0."""

    def centre(self, least: float, frequency: float) -> float:
        """Move the bias to where the residuals' sum is `least` at most; return it."""

    def fit(
        self, features: NDArray[np.int64], limits: Float64, curvatures: Float64, w: Float64,
        slope: Float64 | None, aim: float, cycles: int,
    ) -> float:  # fmt: skip
        """Solve for w, in place, from where the rows are (their slope is known or None).

        It ends at a gap of `aim` of the cost limits |w| + curvatures w² / 2 and the loss, and
        returns the bias.
        """

    def sums(self) -> tuple[float, float, float, float]:
        """Return the loss, and the sums of residuals, of scores and of those of label 1."""

    def scores(self) -> Float64:
        """Return the rows' scores, (N,)."""

    def travel(self) -> tuple[float, float, float]:
        """Return two distances of the last step's probabilities, or else of the rows' own ones.

        They are the roots of the mean of squares, from the rows' when this was last called, and
        from the rows'. The third is the sum of their residuals.
        """

    def residuals(self, found: bool = True) -> Float64:
        """Return f (p - y), (N,), of the last step's probabilities, or else of the rows'."""

    def slopes(self, features: NDArray[np.int64], found: bool) -> Float64:
        """Return the sums of features over those residuals."""

    def has_found(self) -> bool:
        """Whether the last step found probabilities."""

    def divergence(self, kept: float) -> float:
        """Return the sum of f KL(q || p) of the last step's, of which q keeps a part beside y."""

class DualSolution:
    """Weights of sparse rows that sweeps of ascent in the dual reach from 0.

    fractions (N,) of the weight are of the rows in order; wide has weights float64, else float32.
    """

    def __init__(
        self, X: Stored, y: Labels, classes: int, fractions: Float64, l2: float, intercept: bool,
        wide: bool, threads: int, scale: Float64 | None = None, order: Order = None,
    ) -> None: ...  # fmt: skip
    def sweep(self, b: Float64) -> tuple[Float64, Float64, float, float, float]:
        """Take steps of all rows at biases b (K,), centred where there is an intercept.

        Return what b bends the mean of r by, (K, K), the sum of steps (K,), the mean loss, the
        squared norm of the weights, and nearly the gap to the dual.
        """

    def features(self) -> int:
        """Return how many features rows store."""

    def finish(self) -> None:
        """End the sweeps: what follows is of weights W in their type."""

    def moments(self, b: Float64) -> tuple[float, Float64, Float64, Float64]:
        """Return the mean loss at biases b (K,), and the mean of p − y, (K,).

        Then what b bends it by, (K, K), and for the rows of each class the sum of their scores
        times their fractions, (K, K).
        """

    def slope(self, b: Float64) -> tuple[float, float, float]:
        """Return ‖∇_W J‖², ‖W‖² and the mean of ‖x‖²; the last call but for `weights`."""

    def weights(self) -> Floats:
        """Return W (K, D)."""

def newton(
    X: Float64, y: NDArray[np.int64], fractions: Float64, offsets: Float64 | None,
    curvatures: Float64, at: Float64, end: float, relative_end: float, bias_end: float, far: float,
    most: int,
) -> tuple[float, Float64, int]:  # fmt: skip
    """Lower the cost of weights `at` (m, D) by Newton's method, in place.

    For m = 1 there are two classes, whose weights are −w and w.

    X (N, D) has the bias's column of 1 last, offsets are (m, N), of two classes their difference,
    and curvatures (D,) those of the penalty. It ends where ‖∂J/∂W‖² ≤ end + relative_end J and
    Σ |∂J/∂b| ≤ bias_end J, at most a step after the former, after `most` costs, or where a step
    fails; above `far` times that a step is as long as lowers the cost. Return the cost, its
    gradient, and how many costs were evaluated after the first.
    """

def instruction_set() -> str:
    """Return the instruction set in use; ONELAYER_ISA overrides it."""

def supported_instruction_sets() -> list[str]:
    """Return the instruction sets that this machine supports, best first."""

def default_threads() -> int:
    """Return the number of cores this process may use; ONELAYER_THREADS overrides it."""

def phase_times() -> dict[str, float]:
    """Return seconds per phase since the last call; needs a build with ONELAYER_PHASE_TIMES."""
