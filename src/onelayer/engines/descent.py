"""How runs descend, as engines read it: what each run lowers, its steps, and where it stands.

    t = (1 − ε) onehot(y) + ε/K                   targets, with label smoothing ε
    p = softmax(s), or σ(s) / K for the K-sigmoid loss, whose targets are t / K
    g = (1/B) Σ (p − t) xᵀ + 2λ W                 gradient of a batch; that of b has no λ
    V ← μ V + g                                   velocity
    W ← W − η V, or W ← W − η (g + μ V)           step, or Nesterov's
    A ← A + α (W − A)                             average of the weights

b has a velocity and an average of its own, by the same equations. Shape letters: R runs,
T steps of a pass, B batch, K classes, D features; W (R, K, D), b (R, K).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Weights(NamedTuple):
    """Weights of R runs: W (R, K, D) and b (R, K), in the arithmetic type."""

    W: NDArray[np.floating]
    b: NDArray[np.floating]

    def of(self, positions: Sequence[int]) -> Weights:
        """Copies of the weights of these runs, in this order."""
        chosen = list(positions)
        return Weights(self.W[chosen], self.b[chosen])


@dataclass(frozen=True, eq=False)
class State:
    """Where R runs stand: all that the next step depends on.

    Attributes:
        weights: W and b, from which steps are taken.
        velocity: V of W and b; None is zero everywhere.
        average: A of W and b; None where no run averages, and then the model is the weights.
    """

    weights: Weights
    velocity: Weights | None = None
    average: Weights | None = None

    @property
    def model(self) -> Weights:
        """The weights that are judged and kept: the average where there is one."""
        return self.weights if self.average is None else self.average

    def of(self, positions: Sequence[int]) -> State:
        """Where these runs stand, in this order."""
        return State(
            self.weights.of(positions),
            None if self.velocity is None else self.velocity.of(positions),
            None if self.average is None else self.average.of(positions),
        )


@dataclass(frozen=True, eq=False)
class Method:
    """What each of R runs lowers, and how; every array has one entry a run.

    Attributes:
        l2: λ ≥ 0, float64.
        momentum: μ in [0, 1), float64.
        nesterov: whether the step is Nesterov's, bool.
        sigmoid: whether the loss is the mean of K binary cross-entropies, bool; else softmax.
        smoothing: ε in [0, 1), float64.
    """

    l2: NDArray[np.float64]
    momentum: NDArray[np.float64]
    nesterov: NDArray[np.bool_]
    sigmoid: NDArray[np.bool_]
    smoothing: NDArray[np.float64]

    @classmethod
    def plain(cls, l2: NDArray[np.float64]) -> Method:
        """Gradient descent on the softmax cost, with these λ."""
        zero, no = np.zeros(len(l2)), np.zeros(len(l2), bool)
        return cls(np.asarray(l2, np.float64), zero, no, no, zero)


@dataclass(frozen=True, eq=False)
class Steps:
    """One pass of training over rows: the batches, and the step that is taken after each.

    Attributes:
        batch_size: rows of a batch, B; a last smaller batch is averaged over its own size.
        learning_rate: η of each step and run, shape (T, R), T = ⌈n/B⌉ for n rows visited.
        averaging: α of each step and run, shape (T, R), in [0, 1]; 1 is the weights as they are,
            1/k the mean of the last k. None leaves averages alone.
        order: the order in which rows are visited, numbers of rows of X, shape (n,); None is file
            order.
        flipped: which of the rows visited are mirrored while they are read, by their place in
            the order, shape (n,), bool; None is none of them.
    """

    batch_size: int
    learning_rate: NDArray[np.float64]
    averaging: NDArray[np.float64] | None = None
    order: NDArray[np.int64] | None = None
    flipped: NDArray[np.bool_] | None = None

    @classmethod
    def constant(
        cls,
        learning_rate: NDArray[np.float64],
        rows: int,
        batch_size: int,
        order: NDArray[np.int64] | None = None,
    ) -> Steps:
        """The same η of each run, shape (R,), at every step of a pass over that many rows.

        Example:
            >>> Steps.constant(np.array([0.1]), rows=5, batch_size=2).learning_rate.shape
            (3, 1)
        """
        count = -(-rows // batch_size)
        return cls(
            batch_size, np.tile(np.asarray(learning_rate, np.float64), (count, 1)), None, order
        )

    def part(self, start: int, stop: int) -> Steps:
        """The steps of batches `start` to `stop` of the pass."""
        first, last = start * self.batch_size, stop * self.batch_size
        cut = slice(first, last)
        return replace(
            self,
            learning_rate=self.learning_rate[start:stop],
            averaging=None if self.averaging is None else self.averaging[start:stop],
            order=None if self.order is None else self.order[cut],
            flipped=None if self.flipped is None else self.flipped[cut],
        )
