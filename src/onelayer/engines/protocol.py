"""What an engine offers: the arithmetic of R runs trained side by side, on arrays alone.

Shape letters, the same everywhere: N rows, D features, K classes, B batch, R runs trained
together; X (N, D), y (N,), W (R, K, D), b (R, K).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from onelayer.engines.descent import Method, State, Steps, Weights
from onelayer.engines.rows import Rows


class Evaluation(NamedTuple):
    """Mean loss, shape (R,) in nats, and number of rows classified right, shape (R,).

    The mean is by weight where rows have weights; the number counts each row once.
    """

    loss: NDArray[np.float64]
    correct: NDArray[np.int64]


class FullGradient(NamedTuple):
    """Mean cross-entropy, shape (R,), and its gradients W (R, K, D) and b (R, K), in float64."""

    loss: NDArray[np.float64]
    W: NDArray[np.float64]
    b: NDArray[np.float64]


class Trainer(Protocol):
    """R runs in training: it owns their state from `begin` on."""

    def epoch(self, rows: Rows, steps: Steps) -> None:
        """Take one step of gradient descent for each batch, once through the rows.

        Args:
            rows: the training rows. Their weights are taken as they are: a batch's gradient is
                (1/B) Σ w (p − t) xᵀ, so weights of mean 1 leave the step's length as it was.
            steps: the batches and the learning rates; the order there, not `rows.index`, says
                which rows are visited.
        """

    def evaluate(self, rows: Rows) -> Evaluation:
        """Loss and number of right rows of each run's model on these rows, as it is now.

        The loss is the run's own: K-sigmoid and label smoothing where it has them.
        """

    def predict(self, rows: Rows) -> NDArray[np.int64]:
        """Class index of the largest score, shape (R, N); of equal scores the first counts."""

    def weights(self) -> Weights:
        """A copy of each run's model as it is now: its average where it has one."""

    def state(self) -> State:
        """A copy of where the runs stand; `begin` goes on from it to the same bits."""


class Engine(Protocol):
    """Arithmetic for a grid of runs."""

    @property
    def name(self) -> str:
        """The name a user chooses it by."""

    def describe(self) -> dict[str, str]:
        """What may change the last bits of a result: library, instruction set, threads."""

    def begin(self, state: State, method: Method) -> Trainer:
        """Start R runs from where they stand, or go on with them.

        Args:
            state: their weights, whose dtype is the arithmetic type, float32 or float64, and what
                else the next step depends on. It is copied.
            method: what each run lowers, and how.
        """

    def gradient(self, rows: Rows, weights: Weights) -> FullGradient:
        """Mean cross-entropy over all rows and its gradient, without the l2 term, in one pass."""

    def scores(self, rows: Rows, weights: Weights) -> NDArray[np.floating]:
        """Scores W x + b of every row, shape (R, N, K), in the type of the weights."""

    def weighted_sums(self, rows: Rows, factors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Σ over rows of factors (R, N, K) times the scaled row, shape (R, K, D)."""
