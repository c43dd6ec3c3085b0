"""What an engine offers: the arithmetic of R runs trained side by side, on arrays alone.

Shape letters, the same everywhere: N rows, D features, K classes, B batch, R runs trained
together; X (N, D), y (N,), W (R, K, D), b (R, K).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as stored, with the affine map that is applied to each feature while it is read.

    Attributes:
        X: features, shape (N, D), any real dtype; never copied as a whole.
        y: class index of each row, shape (N,), int64, 0 … K−1.
        scale: factor of each feature, shape (D,), float64.
        offset: added after the factor, shape (D,), float64.
        index: which rows count, and in which order, shape (n,), int64; None is all of them. Full
            passes follow it; `Trainer.epoch` has an order of its own.
        weights: what each row counts for, shape (N,), float64, ≥ 0 and of a positive sum; None is
            one each. Means over rows become Σ w (·) / Σ w, so a whole number counts a row as often.
    """

    X: NDArray[np.generic]
    y: NDArray[np.int64]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    index: NDArray[np.int64] | None = None
    weights: NDArray[np.float64] | None = None

    @property
    def count(self) -> int:
        """How many rows a full pass visits."""
        return len(self.y if self.index is None else self.index)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class index of each row that a full pass visits, in its order."""
        return self.y if self.index is None else self.y[self.index]

    @property
    def row_weights(self) -> NDArray[np.float64] | None:
        """Weight of each row that a full pass visits, in its order; None is one each."""
        if self.weights is None or self.index is None:
            return self.weights
        return self.weights[self.index]

    @property
    def mass(self) -> float:
        """Σ w over the rows that a full pass visits, their number without weights."""
        weights = self.row_weights
        return float(self.count) if weights is None else float(weights.sum())

    def shares(self, classes: int) -> NDArray[np.float64]:
        """Share of each class in the rows that a full pass visits, shape (K,), by weight."""
        counts = np.bincount(self.labels, weights=self.row_weights, minlength=classes)
        return np.asarray(counts / self.mass)

    def part(self, start: int, stop: int) -> Rows:
        """Rows `start` to `stop` of those that a full pass visits; X is not copied."""
        if self.index is not None:
            return replace(self, index=self.index[start:stop])
        weights = None if self.weights is None else self.weights[start:stop]
        return replace(self, X=self.X[start:stop], y=self.y[start:stop], weights=weights)

    def only(self, index: NDArray[np.int64]) -> Rows:
        """These rows alone, in this order; X is not copied."""
        return replace(self, index=index if self.index is None else self.index[index])


class Weights(NamedTuple):
    """Weights of R runs: W (R, K, D) and b (R, K), in the arithmetic type."""

    W: NDArray[np.floating]
    b: NDArray[np.floating]


class Evaluation(NamedTuple):
    """Mean cross-entropy, shape (R,) in nats, and number of rows classified right, shape (R,).

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
    """R runs in training: it owns their weights from `begin` on."""

    def epoch(self, rows: Rows, order: NDArray[np.int64] | None, batch_size: int) -> None:
        """Take one step of gradient descent for each batch, once through the rows.

        Args:
            rows: the training rows. Their weights are taken as they are: a batch's gradient is
                (1/B) Σ w (p − y) xᵀ, so weights of mean 1 leave the step's length as it was.
            order: the order in which rows are visited, numbers of rows of X; None is file order.
            batch_size: rows of a batch, B; a last smaller batch is averaged over its own size.
        """

    def evaluate(self, rows: Rows) -> Evaluation:
        """Loss and number of right rows of each run on these rows, with the weights as they are."""

    def predict(self, rows: Rows) -> NDArray[np.int64]:
        """Class index of the largest score, shape (R, N); of equal scores the first counts."""

    def weights(self) -> Weights:
        """A copy of the weights as they are now."""


class Engine(Protocol):
    """Arithmetic for a grid of runs."""

    @property
    def name(self) -> str:
        """The name a user chooses it by."""

    def describe(self) -> dict[str, str]:
        """What may change the last bits of a result: library, instruction set, threads."""

    def begin(
        self, weights: Weights, learning_rate: NDArray[np.float64], l2: NDArray[np.float64]
    ) -> Trainer:
        """Start R runs from these weights.

        Args:
            weights: initial W (R, K, D) and b (R, K); their dtype is the arithmetic type,
                float32 or float64. They are copied.
            learning_rate: η of each run, shape (R,).
            l2: λ of each run, shape (R,).
        """

    def gradient(self, rows: Rows, weights: Weights) -> FullGradient:
        """Mean cross-entropy over all rows and its gradient, without the l2 term, in one pass."""

    def scores(self, rows: Rows, weights: Weights) -> NDArray[np.floating]:
        """Scores W x + b of every row, shape (R, N, K), in the type of the weights."""

    def weighted_sums(self, rows: Rows, factors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Σ over rows of factors (R, N, K) times the scaled row, shape (R, K, D)."""
