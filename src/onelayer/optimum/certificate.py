"""How far a model can be from the best there is: a bound, proven by one pass over the rows.

For λ > 0 and probabilities p̃ whose mean over the rows is the share of each class,

    J(W, b) − J* ≤ ‖G̃ + 2λW‖²_F / (4λ) + (1/N) Σ KL(p̃ᵢ ‖ pᵢ)      G̃ = (1/N) Σ (p̃ᵢ − yᵢ) xᵢᵀ

because such p̃ are feasible in the dual problem (docs/formulations.md derives it; Fenchel duality as
in Shalev-Shwartz & Zhang 2013 and Ndiaye et al. 2015). With b° = argmin J(W, ·) the model's own
p are feasible, the second term vanishes and the first is ‖∇_W J(W, b°)‖² / (4λ). Newton's method
brings b to b° as near as float64 can; what is left is mixed away, p̃ = (1 − t) p + t q with t as
small as can be, so the bound is one whatever Newton's method reached.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onelayer.engines import Engine, Rows, Weights
from onelayer.optimum.bias import feasible_mixture, minimise_bias, scores_of
from onelayer.optimum.products import norm as frobenius

Float64 = NDArray[np.float64]

# Of the relative gap that matters, the part by which mean probabilities may miss the shares: what
# is mixed in to mend that costs about as much, times a logarithm.
BIAS_PART = 1e-4
# Where the bias of a class without a row stands under the others' mean, in place of −∞.
ABSENT_BELOW = 50.0


@dataclass(frozen=True)
class Certificate:
    """A model's cost, and a proven bound on how far above the best it is.

    Attributes:
        l2: λ ≥ 0.
        cost: J(W, b) of the model as it is, nats.
        gap: bound on cost − J*, nats; infinite where λ = 0, since then there is none.
        gradient_norm: ‖∇_W J‖ at the best bias; where λ = 0, at the model's own.
        bias_residual: largest |∂J/∂b| left at that bias; the gap allows for it.
        rows: how many rows it is about.
    """

    l2: float
    cost: float
    gap: float
    gradient_norm: float
    bias_residual: float
    rows: int

    @property
    def lower_bound(self) -> float:
        """No model with this λ has a cost below this on these rows, nats."""
        return self.cost - self.gap

    @property
    def distance(self) -> float:
        """Bound on ‖W − W*‖, the distance to the best weights."""
        return math.sqrt(self.gap / self.l2) if self.l2 > 0.0 else math.inf

    @property
    def sentence(self) -> str:
        """The certificate in words.

        Example:
            >>> Certificate(0.1, 1.7342, 0.0061, 0.05, 1e-17, 10_000).sentence
            'cost 1.7342, at most 0.0061 above the best possible'
        """
        if self.l2 == 0.0:
            return (
                f"cost {self.cost:.5g}, gradient norm {self.gradient_norm:.2g}; "
                "without l2 (λ = 0) no bound exists"
            )
        return f"cost {self.cost:.5g}, at most {self.gap:.2g} above the best possible"


@dataclass(frozen=True, eq=False)
class Certified:
    """What was proven of (W, b), the same of (W, b°), and the bias b° itself, shape (K,)."""

    given: Certificate
    best: Certificate
    bias: Float64


def certify_weights(
    engine: Engine, rows: Rows, W: Float64, b: Float64, l2: float, tol: float = 0.0
) -> Certified:
    """Prove how far (W, b) is from the optimum on these rows.

    Args:
        engine: what does the arithmetic, in float64.
        rows: the rows that J is the mean over.
        W: weights, shape (K, D).
        b: bias, shape (K,).
        l2: λ ≥ 0.
        tol: relative gap that matters to the caller: the bias is then brought as near to its best
            as that needs, which saves passes. 0 is as near as float64 can.

    Returns:
        Certificates of (W, b) and of W with the bias that minimises J(W, ·). A class without a row
        has its best bias at −∞, and its probability counts as zero; ABSENT_BELOW the others' mean
        stands for it in the returned bias.
    """
    W, b = np.asarray(W, np.float64), np.asarray(b, np.float64)
    if l2 == 0.0:
        return _without_bound(engine, rows, W, b)
    tiles = scores_of(engine, rows, W)
    shares = rows.shares(len(b))
    penalty = l2 * float(np.sum(W * W))
    at_given = tiles.moments(b)
    given = at_given.loss + penalty
    bias, moments = minimise_bias(tiles, b, at_given, shares, BIAS_PART * tol)
    least, residual = moments.loss + penalty, float(np.abs(moments.means - shares).max())
    mixture = feasible_mixture(moments.means, shares)
    G, divergence = tiles.gradient(bias, mixture)
    norm = frobenius(G + 2.0 * l2 * W)
    # J* is no lower than 0 either.
    gap = min(norm**2 / (4.0 * l2) + divergence, least)
    best = Certificate(l2, least, gap, norm, residual, rows.count)
    excess = max(given - least, 0.0)
    present = shares > 0.0
    return Certified(
        given=replace(best, cost=given, gap=gap + excess),
        best=best,
        bias=np.where(present, bias, bias[present].mean() - ABSENT_BELOW),
    )


def _without_bound(engine: Engine, rows: Rows, W: Float64, b: Float64) -> Certified:
    """Where λ = 0 nothing can be proven; cost and gradient are told."""
    loss, G, g = engine.gradient(rows, Weights(W[None], b[None]))
    norm, residual = frobenius(G), float(np.abs(g).max())
    told = Certificate(0.0, float(loss[0]), math.inf, norm, residual, rows.count)
    return Certified(given=told, best=told, bias=b)
