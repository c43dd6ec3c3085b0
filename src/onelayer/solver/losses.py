"""The rows under scores: probabilities and loss, the best bias, and how far J is from J* at most.

m rows of weights: of two classes one, that of their difference; or one of each of K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.objective.loss import softmax_and_log_sum
from onelayer.objective.penalty import Penalty
from onelayer.solver.certificate import ROUNDING, TINY
from onelayer.solver.linalg import inner

Float64 = NDArray[np.float64]

# Steps for the best bias, where they end, and the largest of Newton's.
BIAS_STEPS, BIAS_RESIDUAL, FARTHEST = 50, 1e-13, 4.0

# Added to t, for the rounding of sums.
SPARE = 4e-16


class Fit(NamedTuple):
    """The rows under a model: scores, probabilities and loss; (m, N) for m rows of weights."""

    S: Float64
    P: Float64
    losses: Float64  # (N,)
    loss: float
    R: Float64  # the residuals, times the rows' fractions of the weight
    g: Float64  # their sums, (m,)


class Gap(NamedTuple):
    """How far J is from J* at most, and G̃ (m, D) for which it is."""

    size: float
    dual: Callable[[], Float64]


class Dual(NamedTuple):
    """Probabilities beside a model's: whether they were found, or are its own, and sums of rows."""

    found: bool
    g: Float64  # of the residuals, (m,)
    divergence: Callable[[float], float]  # from the model's, where only a part of them is kept
    loss: float  # the model's
    mean_logs: Callable[[], Float64]  # of the model's log p, (K,)


class Losses:
    """Losses of rows, by their labels.

    Attributes:
        fractions: of the weight, (N,).
        Y: 1 where a class is the row's, else 0, (m, N).
        is_pair: whether there are two classes.
    """

    def __init__(
        self, labels: NDArray[np.integer], fractions: Float64, frequencies: Float64, intercept: bool
    ) -> None:
        K, N = len(frequencies), len(labels)
        self.is_pair, self.fractions = K == 2, fractions
        self._own, self._frequencies, self._intercept = labels, frequencies, intercept
        Y = np.zeros((K, N))
        Y[labels, np.arange(N)] = 1.0
        self.Y = Y[1:] if self.is_pair else Y

    def with_bias(self, S: Float64, least: float) -> tuple[Fit, Float64]:
        """The fit of scores, of which the bias is moved to where p̄ is π; and by how much it is.

        Newton's steps, and where one raises the loss b + log(π / p̄), which never does (iterative
        scaling; Darroch & Ratcliff 1972).
        """
        fit, shift = self.of(S), np.zeros(len(S))
        for _ in range(BIAS_STEPS if self._intercept else 0):
            if float(np.abs(fit.g).max()) <= least:
                break
            for step in (self._newton_shift(fit), self._scaling_shift(fit)):
                moved = self.of(fit.S + step[:, None])
                if moved.loss <= fit.loss * (1.0 + ROUNDING["float64"]):
                    break
            shift, fit = shift + step, moved
        return fit, shift

    def _newton_shift(self, fit: Fit) -> Float64:
        if self.is_pair:
            bend = float(self.fractions @ (fit.P[0] * (1.0 - fit.P[0])))
            step = -fit.g / max(bend, TINY)
        else:
            H = -(fit.P * self.fractions) @ fit.P.T
            bent = -H.sum(axis=1)
            # What all classes share changes nothing: a curvature keeps it out of the step.
            H += np.diag(bent) + max(float(bent.max()), TINY) * (1.0 + 1e-12 * np.eye(len(H)))
            step = -np.asarray(np.linalg.solve(H, fit.g), np.float64)
            step -= step.mean()
        return np.asarray(step * min(1.0, FARTHEST / max(float(np.abs(step).max()), TINY)))

    def _scaling_shift(self, fit: Fit) -> Float64:
        g = self._of_classes(fit.g)
        step = np.log(self._frequencies / np.maximum(self._frequencies + g, TINY))
        return step[1:] - step[:1] if self.is_pair else step - step.mean()

    def of(self, S: Float64) -> Fit:
        """The rows under scores (m, N)."""
        if self.is_pair:
            small = np.exp(-np.abs(S))
            P = np.where(S >= 0.0, 1.0, small) / (1.0 + small)
            losses = (np.maximum(S, 0.0) - self.Y * S + np.log1p(small))[0]
        else:
            P, log_sum = softmax_and_log_sum(S, axis=0)
            losses = log_sum - S[self._own, np.arange(S.shape[1])]
        R = (P - self.Y) * self.fractions
        return Fit(S, P, losses, float(self.fractions @ losses), R, R.sum(axis=1))

    def mean(self, S: Float64) -> float:
        """The loss of scores of many classes, (K, N)."""
        top = S.max(axis=0)
        losses = np.log(np.exp(S - top).sum(axis=0)) + top - S[self._own, np.arange(S.shape[1])]
        return float(self.fractions @ losses)

    def gap(
        self,
        found: Float64 | None,
        penalty: Penalty,
        W: Float64,
        fit: Fit,
        G: Float64,
        centred: Float64 | float,
    ) -> Gap:
        """J(W, b) − J*, at most, and G̃ for which it is; see onelayer.solver.proximal.

        G̃ is of probabilities that were found, or the model's own; G are the sums of what they lack.
        """
        dual = Dual(
            found is not None,
            fit.g if found is None else (found - self.Y) @ self.fractions,
            lambda kept: self._divergence(fit, found, kept),
            fit.loss,
            lambda: self._mean_logs(fit),
        )
        return self.gap_of(dual, penalty, W, G, centred)

    def _of_classes(self, g: Float64) -> Float64:
        return np.array([-g[0], g[0]]) if self.is_pair else g

    def mixed(self, g: Float64) -> float:
        """The part t of one q for all rows by which residuals of sums g are mixed."""
        if not self._intercept:
            return 0.0
        above = np.maximum(self._of_classes(g), 0.0)
        return float((above / (self._frequencies + above)).max()) + SPARE

    def gap_of(
        self, dual: Dual, penalty: Penalty, W: Float64, G: Float64, centred: Float64 | float
    ) -> Gap:
        """The same of probabilities, by what is known of them."""
        pi, g, t = self._frequencies, self._of_classes(dual.g), self.mixed(dual.g)
        # Features of no weight whose part of G̃ is within the penalty add nothing.
        sizes, limits = penalty.sizes(G), penalty.limits
        slack = t * float(np.max(penalty.sizes(np.atleast_2d(centred)), initial=0.0))
        steep = sizes > limits - slack
        if len(W) == 1:
            felt = np.flatnonzero(steep.reshape(-1) | (W[0] != 0.0))
        else:
            felt = np.flatnonzero((steep if steep.ndim == 1 else steep.any(axis=0)) | W.any(axis=0))

        def mixture(which: Any) -> Float64:
            added = centred if isinstance(centred, float) else centred[:, which]
            return np.asarray((1.0 - t) * G[:, which] - t * added)

        best, kept = nearest_dual(
            penalty.of_features(felt),
            W[:, felt],
            mixture(felt),
            lambda kept: (1.0 - t) * dual.divergence(kept),
            whole=dual.found,
        )
        if t:
            means = pi + g
            q = np.maximum(means - g / t, 0.0)
            logs = float(np.sum(q * np.log(np.where(q > 0.0, q, 1.0))) - q @ dual.mean_logs())
            best += t * (kept * max(logs, 0.0) + (1.0 - kept) * dual.loss)
        return Gap(best, lambda: kept * mixture(slice(None)))

    def _divergence(self, fit: Fit, found: Float64 | None, kept: float) -> float:
        """(1/N) Σ KL(ρ p̂ + (1 − ρ) y ‖ p), where p̂ is p if none was found."""
        f = self.fractions
        if found is not None:
            p = kept * found + (1.0 - kept) * self.Y
            logs = (p * np.log(np.maximum(p, TINY))).sum(axis=0)
            # −log p is the loss, or for another class the loss and what its score lacks.
            return max(float(f @ (logs + fit.losses + ((self.Y - p) * fit.S).sum(axis=0))), 0.0)
        if kept == 1.0:
            return 0.0
        right = np.exp(-fit.losses)
        of_own = kept * right + (1.0 - kept)
        of_rows = of_own * (np.log(of_own) + fit.losses)
        return max(float(f @ (of_rows + kept * math.log(kept) * (1.0 - right))), 0.0)

    def _mean_logs(self, fit: Fit) -> Float64:
        """The mean of log p of each class."""
        f, S = self.fractions, fit.S
        if self.is_pair:
            own = self.Y[0] * S[0]
            return -fit.loss - np.array([float(f @ own), float(f @ (own - S[0]))])
        own = S[self._own, np.arange(S.shape[1])]
        return S @ f - float(f @ (fit.losses + own))


def nearest_dual(
    penalty: Penalty, W: Float64, dual: Float64, divergence: Callable[[float], float],
    *, whole: bool = False,
) -> tuple[float, float]:  # fmt: skip
    """The least gap of ρ G̃, and ρ, for ρ = 1 alone where it may be `whole`.

    Features that are not penalised have no part in it.
    """
    if penalty.factors is not None and not penalty.factors.all():
        counted = penalty.factors > 0.0
        W, dual, penalty = W[:, counted], dual[:, counted], penalty.of_features(counted)
    counts = np.flatnonzero(W.any(axis=0))
    along = inner(dual[:, counts], W[:, counts])
    value = penalty.of_features(counts).value(W[:, counts])
    largest = float((penalty.sizes(dual) / penalty.limits).max(initial=0.0))
    kept = 1.0 / largest * (1.0 - 1e-15) if largest > 1.0 else 1.0

    def distance(kept: float) -> float:
        return max(value + kept * along + penalty.conjugate(kept * dual), 0.0) + divergence(kept)

    parts: tuple[float, ...] = (1.0,)
    if penalty.l2 and kept < 1.0:
        parts = (0.0,) if whole else (1.0, 0.8, 0.5, 0.2, 0.05, 0.0)
    return min((distance(r), r) for r in (1.0 - part * (1.0 - kept) for part in parts))


def softplus(z: Float64) -> Float64:
    """log(1 + exp z)."""
    return np.asarray(np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z))))
