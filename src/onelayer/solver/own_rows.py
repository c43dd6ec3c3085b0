"""The curvature of many classes, by the margins of each class's own rows.

Where classes are many, a row bends the cost by its own class first: of its other scores each has
a small probability, and all of them together bend by about c Σ, c the mean of (1 − p_y) / K. With
m = w_yᵀx̃ the score of a row's own class, and Δ what a step d changes it by, a row's loss is

    log(p + (1 − p) exp(−Δ))        p the probability of its own class where the step begins

as long as its other scores stay. So the cost is modelled, for each class k apart, by

    gₖᵀd + ½ dᵀ M d + Σ_{i in k} fᵢ [log(pᵢ + (1 − pᵢ) exp(−Δᵢ)) + (1 − pᵢ) Δᵢ]     M = c Σ + 2λ I

which is lowest at d = −M⁻¹ (g + Σ vᵢ x̃ᵢ), with as many unknowns v as the class has rows: they are
found by sweeps over them. From W = 0 this step is far nearer to the optimum than one by curvature,
which falls by orders of magnitude on the way there. Near the optimum the model's own curvature,
M + Σ fᵢ pᵢ (1 − pᵢ) x̃ᵢ x̃ᵢᵀ, is a preconditioner that knows the bias as well; Woodbury's formula
inverts it. Either takes about 4 N D products, while a pass takes 4 N D K.

Of classes with many rows their mean row stands for them, with the mean of their 1 − p: what all
rows of a class have in common is where its curvature differs most from that of the others.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.data.streaming import stored_rows
from onelayer.objective.penalty import Penalty
from onelayer.solver.certificate import RowSums
from onelayer.solver.lbfgs import Preconditioner
from onelayer.solver.linalg import one_blas_thread

Float64 = NDArray[np.float64]

Floats = NDArray[np.floating]

# The least number of classes whose means stand for them; that of classes whose rows do, the most
# rows of one, their places for each row, and entries of all.
MIN_MEANS, MIN_CLASSES, MOST_OWN, MOST_PLACES, MAX_ENTRIES = 8, 32, 32, 3, 1 << 24

# The least part of the variance that is between classes, where they are fewer.
MIN_COMMON = 0.01

# The curvature of the other classes, of that at W = 0, at least.
LEAST_OTHERS = 1e-3

# Sweeps over the margins, the change that ends them, and the longest step of one; steps of Newton's
# method for each in the first sweep, and in the others.
MAX_SWEEPS, SETTLED, LONGEST, FIRST_TURNS, TURNS = 20, 0.01, 3.0, 5, 2

# The largest 1 − p that is told from 1.
SURE = 1.0 - 1e-12

TINY = float(np.finfo(np.float64).tiny)

# A margin from which on a loss is 0, or linear.
FAR_MARGIN = 50.0


class OwnRows:
    """The rows of each class side by side, padded to as many places: X (K, m, D + 1)."""

    tells_bias = True  # whether steps by their curvature bring p̄ to π

    def __init__(self, centred: Rows, classes: int) -> None:
        y, weights = centred.labels, centred.row_weights
        counts = np.bincount(y, minlength=classes)
        order, most = np.argsort(y, kind="stable"), int(counts.max())
        within = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
        self._places = np.empty(len(y), np.int64)
        self._places[order] = y[order] * most + within
        self._shape = classes, most
        X = np.zeros((classes * most, centred.X.shape[1] + 1), np.float32)
        X[self._places, :-1] = centred.scaled("float32")
        X[self._places, -1] = centred.intercept
        self.X = X.reshape(*self._shape, -1)
        fractions = np.ones(len(y)) if weights is None else weights
        self.fractions = self.placed(fractions / centred.mass)

    @classmethod
    def suit(cls, centred: Rows, classes: int) -> bool:
        """Whether classes are many and have few rows each, all in memory and without offsets."""
        held = centred.is_dense and stored_rows(centred.X) is None
        if not held or centred.score_offsets is not None or classes < MIN_CLASSES:
            return False
        most = int(np.bincount(centred.labels, minlength=classes).max())
        places = classes * most
        few = most <= MOST_OWN and places <= MOST_PLACES * centred.count
        return few and places * (centred.X.shape[1] + 1) <= MAX_ENTRIES

    def placed(self, values: Float64) -> Float64:
        """Values of the rows (N,) where the rows are, (K, m)."""
        found = np.zeros(self._shape[0] * self._shape[1])
        found[self._places] = values
        return found.reshape(self._shape)

    def of_rows(self, values: Float64) -> Float64:
        """Values (K, m) of the rows, (N,)."""
        return values.reshape(-1)[self._places]


class ClassMeans(OwnRows):
    """The mean of each class's rows in their place: X (K, 1, D + 1)."""

    tells_bias = False  # a sample of rows tells more of it

    def __init__(self, centred: Rows, sums: RowSums) -> None:
        X = np.empty((len(sums.centred), 1, len(sums.mean) + 1), np.float32)
        means = sums.centred / sums.frequencies[:, None] + sums.mean
        X[:, 0, :-1], X[:, 0, -1] = np.where(centred.scale != 0.0, means, 0.0), centred.intercept
        self.X, self.fractions, self._labels = X, sums.frequencies[:, None], centred.labels
        weights = np.ones(centred.count) if centred.row_weights is None else centred.row_weights
        self._parts = weights / np.bincount(self._labels, weights)[self._labels]

    @classmethod
    def suit(cls, centred: Rows, classes: int) -> bool:
        """Whether classes are many, of dense rows without offsets."""
        entries = classes * (centred.X.shape[1] + 1)
        plain = centred.is_dense and centred.score_offsets is None
        return plain and classes >= MIN_MEANS and entries <= MAX_ENTRIES

    @staticmethod
    def tell(sums: RowSums) -> bool:
        """Whether the classes are many, or their rows have enough in common."""
        between = float(np.sum(sums.centred**2 / sums.frequencies[:, None]))
        enough = between >= MIN_COMMON * float(np.sum(sums.spreads**2))
        return enough or len(sums.centred) >= MIN_CLASSES

    def placed(self, values: Float64) -> Float64:
        """Means over the rows of each class, (K, 1), of values of the rows (N,)."""
        return np.asarray(np.bincount(self._labels, self._parts * values)[:, None], np.float64)

    def of_rows(self, values: Float64) -> Float64:
        """Values (K, 1) of the classes, for each row (N,)."""
        return np.asarray(values[self._labels, 0])


class OwnCurvature:
    """The model of the cost about one point."""

    def __init__(self, own: OwnRows, preconditioner: Preconditioner, missing: Float64) -> None:
        """`missing` is 1 − p of each row's own class, (N,)."""
        self._own, self._missing = own, own.placed(missing)
        cold, mean = preconditioner.curvature, (own.fractions * self._missing).sum() / len(own.X)
        c = min(max(float(mean), LEAST_OTHERS * cold), cold)
        self._others = replace(preconditioner, curvature=c, _made={})
        self.tells_bias, self._bend = own.tells_bias, -1.0
        self._weight: NDArray[np.float32] | None = None

    def divide(self, gradient: Float64, penalty: Penalty) -> Floats:
        """The inverse of the model's curvature times a gradient (K, D + 1)."""
        self._bring_to(penalty)
        divided = self._others.divide(gradient, penalty)
        with one_blas_thread():
            if self._weight is None:
                self._weight = self._woodbury_weight()
            margins = np.matmul(self._own.X, divided[:, :, None])
            v = np.matmul(self._weight, margins)[:, None, :, 0]
            divided -= np.matmul(v, self._Z)[:, 0]
        return divided

    def step(self, gradient: Float64, penalty: Penalty) -> Float64:
        """The step to where the model is lowest."""
        self._bring_to(penalty)
        divided = self._others.divide(gradient, penalty)
        with one_blas_thread():
            margins = np.matmul(self._own.X, divided[:, :, None])[:, :, 0]
            start = -margins.astype(np.float64)
            v = _lowest(self._A, start, self._missing, self._own.fractions)
            self._moved = start - np.matmul(self._A, v[:, :, None])[:, :, 0]
            divided += np.matmul(v[:, None, :].astype(np.float32), self._Z)[:, 0]
        return -divided.astype(np.float64)

    def missing_after(self, length: float, loss: float) -> Float64:
        """About 1 − p of each row (N,) after so much of the last step, where this is the mean loss.

        The other scores of all rows have moved as much as makes it that.
        """
        f, odds = self._own.fractions, self._missing / (1.0 - self._missing).clip(min=1.0 - SURE)
        odds = odds * np.exp(-(length * self._moved).clip(-FAR_MARGIN, FAR_MARGIN))
        shift = 0.0
        for _ in range(MAX_SWEEPS):
            missing = odds * math.exp(shift) / (1.0 + odds * math.exp(shift))
            excess = float((f * np.log1p(odds * math.exp(shift))).sum()) - loss
            step = -excess / max(float((f * missing).sum()), TINY)
            shift += min(max(step, -LONGEST), LONGEST)
            if abs(step) <= SETTLED:
                break
        return self._own.of_rows(missing)

    def _bring_to(self, penalty: Penalty) -> None:
        if penalty.curvature == self._bend:
            return
        own = self._own
        self._bend, self._weight = float(penalty.curvature), None
        rows = own.X.reshape(-1, own.X.shape[-1])
        self._Z = np.asarray(self._others.divide(rows, penalty), np.float32).reshape(own.X.shape)
        with one_blas_thread():
            self._A = np.matmul(self._Z, own.X.transpose(0, 2, 1)).astype(np.float64)

    def _woodbury_weight(self) -> NDArray[np.float32]:
        """What multiplies the margins of a step by the other classes' curvature, (K, m, m)."""
        bent = self._own.fractions * self._missing * (1.0 - self._missing)
        within = np.eye(bent.shape[1]) + self._A * bent[:, None, :]
        return np.asarray(bent[:, :, None] * np.linalg.inv(within), np.float32)


def _lowest(A: Float64, margins: Float64, missing: Float64, fractions: Float64) -> Float64:
    """The v of each class, (K, m), with Δ = margins − A v and v = f (1 − p − (1 − p of Δ)).

    Each is found for all classes at once, the others of its class held, and again.
    """
    A, x = np.ascontiguousarray(A.transpose(1, 2, 0)), margins.T.copy()
    q, f, v = (np.ascontiguousarray(of.T) for of in (missing, fractions, np.zeros_like(margins)))
    for sweep in range(MAX_SWEEPS):
        most = 0.0
        for i in range(len(x)):
            d, start = A[i, i], x[i] + A[i, i] * v[i]
            of, steep = x[i].copy(), d * f[i]
            for _ in range(TURNS if sweep else FIRST_TURNS):
                e = q[i] * np.exp(-of.clip(-FAR_MARGIN, FAR_MARGIN))
                left = e / (1.0 - q[i] + e)
                off = of - start + steep * (q[i] - left)
                of -= (off / (1.0 + steep * left * (1.0 - left))).clip(-LONGEST, LONGEST)
            moved = np.where(d > 0.0, (start - of) / np.where(d > 0.0, d, 1.0), 0.0) - v[i]
            moved[f[i] == 0.0] = 0.0
            v[i] += moved
            x -= A[:, i] * moved
            most = max(most, float(np.abs(d * moved).max()))
        if most <= SETTLED:
            break
    return v.T
