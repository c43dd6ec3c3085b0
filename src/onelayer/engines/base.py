"""What an engine offers: the arithmetic of R runs trained side by side, on arrays alone.

Shape letters, the same everywhere: N rows, D features, K classes, B batch, T steps of a pass,
R runs trained together; X (N, D), y (N,), W (R, K, D), b (R, K).

    t = (1 − ε) onehot(y) + ε/K                   targets, with label smoothing ε
    p = softmax(s), or σ(s) / K for the K-sigmoid loss, whose targets are t / K
    t = (1 − ε) y + ε/2,  p = σ(s)                of many labels a row, whatever the loss is called
    g = (1/B) Σ (p − t) xᵀ + 2λ W                 gradient of a batch; that of b has no λ
    V ← μ V + g                                   velocity
    W ← W − η V, or W ← W − η (g + μ V)           step, or Nesterov's
    W ← W − ℓ z,  V ← V + z                       with λ₁: z in λ₁ ∂ Σ |W| at this new W, so that
                                                  W − ℓ z = prox(W), |W| less ℓ λ₁ where above it,
                                                  0 elsewhere; ℓ = η, or Nesterov's η (1 + μ);
                                                  grouped: Σ_d ‖W_:d‖₂ in the place of Σ |W|
    A ← A + α (W − A)                             average of the weights

Rows of many labels have y (N, L) of 0 and 1. The weights are of L classes, or of L runs with one
class each, which is how the losses of each label are told apart; a row is right where all labels
are. Nothing classifies such rows, and none of their classes has sums.

What a step remembers beside the weights, V and A, are slots of the state: each has the shape of the
weights and a name. b has slots of its own, by the same equations. A new optimiser adds a slot, the
arrays of `Method` that it reads, and its step in each engine; nothing else names slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows

Float64 = NDArray[np.float64]


class Weights(NamedTuple):
    """Weights of R runs: W (R, K, D) and b (R, K), in the arithmetic type."""

    W: NDArray[np.floating]
    b: NDArray[np.floating]

    def of(self, positions: Sequence[int]) -> Weights:
        """Copies of the weights of these runs, in this order."""
        chosen = list(positions)
        return Weights(self.W[chosen], self.b[chosen])

    def copy(self) -> Weights:
        """A copy in C order, b in the type of W."""
        return Weights(*(np.array(part, self.W.dtype, order="C") for part in self))


# Slots: what steps remember beside the weights.
VELOCITY = "velocity"
AVERAGE = "average"


@dataclass(frozen=True, eq=False)
class State:
    """All that the next step of R runs depends on.

    Attributes:
        weights: W and b, from which steps are taken.
        slots: by name; one that is missing begins at zero, the average at the weights.
    """

    weights: Weights
    slots: dict[str, Weights] = field(default_factory=dict)

    @property
    def model(self) -> Weights:
        """The weights that are evaluated and kept: the average where there is one."""
        return self.slots.get(AVERAGE, self.weights)

    def of(self, positions: Sequence[int]) -> State:
        """The state of these runs, in this order."""
        slots = {name: slot.of(positions) for name, slot in self.slots.items()}
        return State(self.weights.of(positions), slots)

    def copy(self, slots: Sequence[str] = ()) -> State:
        """A copy with these slots as well; those that are missing begin at zero."""
        copied = {name: slot.copy() for name, slot in self.slots.items()}
        zeros = {n: Weights(*map(np.zeros_like, self.weights)) for n in slots if n not in copied}
        return State(self.weights.copy(), copied | zeros)


@dataclass(frozen=True, eq=False)
class Method:
    """The objective and the optimiser of R runs; every array has one entry a run.

    Attributes:
        l2: λ ≥ 0, float64.
        l1: λ₁ ≥ 0, float64.
        grouped: whether λ₁ multiplies Σ_d ‖W_:d‖₂, a norm over the classes of a feature, bool.
        momentum: μ in [0, 1), float64.
        nesterov: whether the step is Nesterov's, bool.
        sigmoid: whether the loss is the mean of K binary cross-entropies, bool; else softmax.
        label_smoothing: ε in [0, 1), float64.
        no_intercept: whether the gradient of b is taken for 0, so that b stays as it is, bool.

    The fields are attributes of `onelayer.training.run.Run`.
    """

    l2: NDArray[np.float64] = field(metadata={"dtype": np.float64})
    l1: NDArray[np.float64] = field(metadata={"dtype": np.float64})
    grouped: NDArray[np.bool_] = field(metadata={"dtype": np.bool_})
    momentum: NDArray[np.float64] = field(metadata={"dtype": np.float64})
    nesterov: NDArray[np.bool_] = field(metadata={"dtype": np.bool_})
    sigmoid: NDArray[np.bool_] = field(metadata={"dtype": np.bool_})
    label_smoothing: NDArray[np.float64] = field(metadata={"dtype": np.float64})
    no_intercept: NDArray[np.bool_] = field(metadata={"dtype": np.bool_})

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the slots that its steps read and write."""
        return (VELOCITY,) if self.momentum.any() else ()

    def lengths(self, learning_rate: NDArray[np.float64]) -> NDArray[np.float64]:
        """What a step of these η moves W by for a unit of g, (…, R): η, Nesterov's η (1 + μ)."""
        return learning_rate * np.where(self.nesterov, 1.0 + self.momentum, 1.0)

    @classmethod
    def plain(cls, l2: NDArray[np.float64]) -> Method:
        """Gradient descent on the softmax cost, with these λ."""
        zeros = {item.name: np.zeros(len(l2), item.metadata["dtype"]) for item in fields(cls)}
        return cls(**{**zeros, "l2": np.asarray(l2, np.float64)})


@dataclass(frozen=True, eq=False)
class Steps:
    """One pass of training over rows: the batches, and the step after each.

    Attributes:
        batch_size: rows of a batch, B; a last smaller batch is averaged over its own size.
        learning_rate: η of each step and run, shape (T, R), T = ⌈n/B⌉ for n rows visited.
        averaging: α of each step and run, shape (T, R), in [0, 1]; 1 is the weights as they are,
            1/k the mean of the last k. None leaves averages alone.
        order: numbers of rows of X in the order of visits, shape (n,); None is file order.
        flipped: which of the visited rows are mirrored, by place in the order, shape (n,), bool;
            None is none.
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
        rates = np.tile(np.asarray(learning_rate, np.float64), (-(-rows // batch_size), 1))
        return cls(batch_size, rates, None, order)

    def part(self, start: int, stop: int) -> Steps:
        """The steps of batches `start` to `stop` of the pass."""
        cut = slice(start * self.batch_size, stop * self.batch_size)
        return replace(
            self,
            learning_rate=self.learning_rate[start:stop],
            averaging=None if self.averaging is None else self.averaging[start:stop],
            order=None if self.order is None else self.order[cut],
            flipped=None if self.flipped is None else self.flipped[cut],
        )


class Evaluation(NamedTuple):
    """Figures of R runs on some rows, each of shape (R,).

    Attributes:
        loss: mean loss, nats. Means are by weight where rows have weights, and a row of weight 0
            counts for nothing, even where its loss is infinite.
        square: mean of the squared loss.
        accuracy: mean of 1 where a row is classified right.
        correct: number of rows classified right; it counts each row once.
    """

    loss: Float64
    square: Float64
    accuracy: Float64
    correct: NDArray[np.int64]


class RowFigures(NamedTuple):
    """What the scores of R runs say of each row, each of shape (R, N).

    Attributes:
        classes: class index of the largest score; of equal scores the first counts.
        confidence: softmax probability of this class; NaN where any score is not finite.
        loss: cross-entropy, nats.
        rank: number of classes that come before the row's own: of larger scores, or of equal ones
            and named first.
    """

    classes: NDArray[np.int64]
    confidence: Float64
    loss: Float64
    rank: NDArray[np.int64]


class FullGradient(NamedTuple):
    """Mean cross-entropy, shape (R,), and its gradients W (R, K, D) and b (R, K), in float64."""

    loss: NDArray[np.float64]
    W: NDArray[np.float64]
    b: NDArray[np.float64]
    # (R,): mean of m² ‖p − y‖², with m the sums in the arithmetic type that end in W's gradient and
    # that a row is part of, at most `Roundings.rows`; None where that is not known.
    rounded: NDArray[np.float64] | None = None


class ClassSums(NamedTuple):
    """Sums over rows as stored, by weight: of each class, (K, D), and of squares, (D,)."""

    classes: Float64
    squares: Float64


class Roundings(NamedTuple):
    """The most roundings on the way to a score, and from a residual to an entry of a gradient.

    They are of float32 arithmetic. A score's products are summed in at most that many steps; the
    probabilities of a row sum to 1 within three roundings; sums of residuals are float64.
    """

    score: int
    rows: int


class Trainer(Protocol):
    """R runs in training; it owns their state from `begin` on."""

    def epoch(self, rows: Rows, steps: Steps) -> None:
        """Take one step for each batch of a pass.

        Row weights are taken as they are: a batch's gradient is (1/B) Σ w (p − t) xᵀ, so weights of
        mean 1 leave the step's length as it was. `steps.order`, not `rows.index`, says which rows
        are visited.
        """

    def evaluate(self, rows: Rows) -> Evaluation:
        """`Engine.evaluate` of each run's model as it is now, by its own loss."""

    def weights(self) -> Weights:
        """A copy of each run's model as it is now: its average where it has one."""

    def state(self) -> State:
        """A copy of the state, from which `begin` resumes bit for bit."""


class Engine(Protocol):
    """Arithmetic for a grid of runs."""

    @property
    def name(self) -> str:
        """The name a user chooses it by."""

    def describe(self) -> dict[str, str]:
        """What may change the last bits of a result: library, instruction set, threads."""

    def begin(self, state: State, method: Method) -> Trainer:
        """Start R runs from a copy of their state, or resume them.

        The dtype of the weights, float32 or float64, is the arithmetic type.
        """

    def gradient(self, rows: Rows, weights: Weights) -> FullGradient:
        """Mean cross-entropy over all rows and its gradient, without the penalty, in one pass."""

    def evaluate(self, rows: Rows, weights: Weights, method: Method | None = None) -> Evaluation:
        """Losses and accuracies of R runs in one pass, by the method's losses; None is softmax."""

    def classify(self, rows: Rows, weights: Weights) -> RowFigures:
        """Class, confidence, loss and rank of each row, in one pass without N × K scores."""

    def scores(self, rows: Rows, weights: Weights) -> NDArray[np.floating]:
        """Scores W x + b of every row, shape (R, N, K), in the type of the weights."""

    def weighted_sums(self, rows: Rows, factors: NDArray[np.floating]) -> Float64:
        """Σ over rows of factors (R, N, K) times the scaled row, shape (R, K, D)."""

    def class_sums(self, rows: Rows, classes: int) -> ClassSums:
        """Sums of the rows as stored, in one read, without scores."""

    def roundings(self, rows: Rows) -> Roundings | None:
        """What bounds the error of a float32 gradient; None where nothing is known of its sums."""
        return None

    def side_by_side(self) -> Sequence[Engine]:
        """Engines to use at once, each by a thread of its own, to the same bits; or itself."""
        return (self,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"
