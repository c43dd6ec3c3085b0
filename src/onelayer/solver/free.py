"""The certificate where some features are not penalised: their factor f is 0, as that of the bias.

    J(W, b) − J* ≤ Σ_{f > 0} ‖G̃_:d + 2λ f_d W_:d‖² / (4λ f_d) + (1/N) Σ KL(p̃ᵢ ‖ pᵢ)

holds for probabilities p̃ that leave no gradient of the free weights: with zᵢ the row's free
features, and a 1 for the bias, (1/N) Σ (p̃ᵢ − yᵢ) zᵢᵀ = 0 (derived in Formulations). The free
weights are first brought to their best for the others by Newton's method. What their gradient g
lacks to 0 is then taken out of the probabilities by a step A of it, whose Hessian is
H = (1/N) Σ (diag p − p pᵀ) ⊗ z zᵀ:

    p̃ᵢ = pᵢ (1 − (A zᵢ − pᵢᵀ A zᵢ))        H A = g

They sum to 1 and are ≥ 0 where A zᵢ is small. Where they are not, the bound is J* ≥ 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.data.sparse import sparse_rows
from onelayer.engines import Engine, Weights, tiles
from onelayer.errors import SettingsError
from onelayer.model.certificate import Certificate
from onelayer.objective.loss import log_softmax
from onelayer.objective.penalty import Penalty
from onelayer.solver.certificate import ROUNDING, Certified, Pass
from onelayer.solver.lbfgs import Descent, Point, descend
from onelayer.solver.linalg import inner, norm, one_blas_thread
from onelayer.solver.newton import DenseRows, Newton

Float64 = NDArray[np.float64]

# Free weights, with the biases, at most: Newton's method has a Hessian of them.
MAX_FREE = 2048

# Where Newton's method ends, and what corrections may leave of the gradient: relative to the root
# of a feature's mean square.
SMALL, LEFT = 1e-11, 1e-13
MAX_STEPS, CORRECTIONS = 60, 4

# Entries of rows of which the free features are read at a time.
TILE_ENTRIES = 1 << 20


@dataclass(frozen=True, eq=False)
class FreeProof:
    """What is proven of weights whose free part, with the bias, is the best for the others."""

    W: Float64  # (K, D)
    reached: Float64  # the bias, (K,)
    found: Pass
    certificate: Certificate
    passes: int = 2

    def certified(self) -> Certified:
        """The certificate of these weights."""
        return Certified(self.certificate, self.certificate, self.reached, self.passes)


def check_free(free: int, classes: int) -> None:
    """Raise `SettingsError` for too many free features."""
    if (unknowns := (free + 1) * classes) > MAX_FREE:
        raise SettingsError(
            f"penalty_factors of 0 for {free} features make {unknowns:,} unpenalised weights, more "
            f"than the {MAX_FREE:,} that are solved for; give them a small factor, such as 1e-4."
        )


def certify_with_free(
    engine: Engine, rows: Rows, W: Float64, b: Float64, penalty: Penalty
) -> Certified:
    """Certificates of (W, b), and of the best free weights and bias for the rest of W."""
    proof = prove_with_free(engine, rows, W, b, penalty)
    loss = float(engine.evaluate(rows, Weights(W[None], b[None])).loss[0])
    cost, best = loss + penalty.value(W), proof.certificate
    gap = max(cost - best.lower_bound, 0.0)
    return Certified(replace(best, cost=cost, gap=gap), best, proof.reached, proof.passes + 1)


def prove_with_free(
    engine: Engine, rows: Rows, W: Float64, b: Float64, penalty: Penalty
) -> FreeProof:
    """The best free weights and bias for the rest of W (K, D), and their certificate."""
    free = free_features(rows)
    rest = W.copy()
    rest[:, free] = 0.0
    S = engine.scores(rows, Weights(rest[None], np.zeros((1, len(b)))))[0]
    fit = fit_free(rows, S, W[:, free], b)
    W = rest
    W[:, free] = fit.W
    P, own = fit.probabilities, np.eye(len(b))[rows.labels]
    both = np.stack([P - own, P * fit.change]) * fit.fractions[:, None]
    G, moved = engine.weighted_sums(rows, both)
    cost = fit.loss + penalty.value(W)
    slopes = np.delete(G + moved + penalty.gradient(W), free, axis=1)
    slope, gap = norm(slopes / np.sqrt(np.delete(_factors(rows), free))), np.inf
    if bend := float(penalty.curvature):
        gap = min(slope**2 / (2.0 * bend) + fit.divergence(), cost)
    residual = float(np.abs(fit.g).max())
    proven = Certificate(float(penalty.l2), cost, float(gap), slope, residual, rows.count)
    return FreeProof(W, fit.b, Pass(fit.loss, G, fit.g), proven)


def free_features(rows: Rows) -> NDArray[np.int64]:
    """The features that are not penalised."""
    return np.flatnonzero(_factors(rows) == 0.0)


def _factors(rows: Rows) -> Float64:
    assert rows.penalty_factors is not None  # noqa: S101  # some are 0
    return rows.penalty_factors


@dataclass(frozen=True, eq=False)
class FreeFit:
    """The best free weights and bias, and the probabilities p̃ = p (1 + change) of a proof."""

    W: Float64  # of the free features, (K, u), of mean 0 over the classes
    b: Float64  # (K,), likewise
    loss: float
    g: Float64  # the gradient of the bias, (K,)
    logs: Float64  # log p, (N, K)
    change: Float64  # (N, K)
    left: float  # what rounding may have left of the gap; infinite where p̃ is not feasible
    fractions: Float64  # of the rows' weight, (N,)

    @property
    def probabilities(self) -> Float64:
        """p, (N, K)."""
        return np.asarray(np.exp(self.logs))

    def divergence(self, kept: float = 1.0, own: Float64 | None = None) -> float:
        """(1/N) Σ KL(ρ p̃ + (1 − ρ) y ‖ p), with `own` the rows' y (N, K), and what is left."""
        if self.left == np.inf:
            return np.inf
        P = self.probabilities * (1.0 + self.change)
        if own is not None:
            P = kept * P + (1.0 - kept) * own
        logs = np.log(P, where=P > 0.0, out=np.zeros_like(P)) - self.logs
        return max(float(self.fractions @ (P * logs).sum(axis=1)), 0.0) + self.left


def fit_free(rows: Rows, S: Float64, W: Float64, b: Float64) -> FreeFit:
    """Find the best free weights W (K, u) and bias from these, beside the others' scores (N, K)."""
    sub = replace(free_rows(rows), score_offsets=S)
    free, weights = sub.X.shape[1], sub.weights
    check_free(free, len(b))
    fractions = np.full(rows.count, 1.0 / rows.count) if weights is None else weights / rows.mass
    mean = fractions @ sub.scaled() if rows.intercept else np.zeros(free)
    sub = replace(sub, offset=sub.offset - mean)
    held = DenseRows(sub, np.ones(len(b), np.bool_), "float64")
    with one_blas_thread():
        point = _best(held, np.column_stack([W, b + W @ mean]))
        at = point.at - point.at.mean(axis=0)
        logs = log_softmax(S + held.X[:, :-1] @ at[:, :-1].T + at[:, -1])
        change, left = _correction(held, point, np.exp(logs), fractions)
    b = at[:, -1] - at[:, :-1] @ mean
    return FreeFit(at[:, :-1], b, point.cost, point.gradient[:, -1], logs, change, left, fractions)


def free_rows(rows: Rows) -> Rows:
    """The free features alone of the rows that a full pass visits, in memory, without offsets."""
    free = free_features(rows)
    return replace(
        rows, X=_stored(rows, free), y=rows.labels, scale=rows.scale[free],
        offset=rows.offset[free], index=None, weights=rows.row_weights, score_offsets=None,
        penalty_factors=None,
    )  # fmt: skip


def read_columns(rows: Rows, features: NDArray[np.int64]) -> Float64:
    """These features of the rows that a full pass visits, scaled, (u, N)."""
    return (_stored(rows, features) * rows.scale[features] + rows.offset[features]).T


def _stored(rows: Rows, features: NDArray[np.int64]) -> Float64:
    """These features of the rows that a full pass visits, as stored, (n, u)."""
    found = np.empty((rows.count, len(features)))
    sparse = sparse_rows(rows.X)
    if sparse is not None:
        return np.asarray(sparse.take_columns(features)[rows.chosen].toarray(), np.float64)
    for place, tile in tiles(rows, max(1, TILE_ENTRIES // rows.X.shape[1])):
        found[place] = tile.X[tile.chosen][:, features]
    return found


def _best(held: DenseRows, at: Float64) -> Point:
    """The lowest loss by Newton's method; of rows that can be separated, as far as it comes."""
    newton, X, steps = Newton(held), held.X, 0
    sizes = np.sqrt(held.mean(np.ones(len(X))) @ X**2)
    none = Penalty(0.0)

    def is_done(point: Point) -> bool:
        nonlocal steps
        steps += 1
        newton.damp_less()
        return steps > MAX_STEPS or bool((np.abs(point.gradient) <= SMALL * sizes).all())

    def evaluate(at: Float64) -> Point:
        return Point(at, *held.cost(at))

    descent = Descent(
        evaluate=evaluate,
        inverse_hessian=lambda point: newton.step(point.at, point.gradient, none),
        memory=None,
        rounding=ROUNDING["float64"],
        is_done=is_done,
        is_damped=lambda point: newton.damp_more(),
        first_length=lambda point, direction: held.best_length(point.at, direction, none),
    )
    return descend(descent, evaluate(at))


def _correction(
    held: DenseRows, point: Point, P: Float64, fractions: Float64
) -> tuple[Float64, float]:
    """Relative changes of P (N, K) after which no gradient is left; what rounding may be of it.

    That is infinite where they do not lead there, or probabilities would be negative.
    """
    newton, X = Newton(held), held.X
    sizes = np.sqrt(fractions @ X**2)
    A, missing = np.zeros_like(point.at), point.gradient
    change = np.zeros_like(P)
    for _ in range(CORRECTIONS):
        if (np.abs(missing) <= LEFT * sizes).all():
            break
        A += newton.step(point.at, missing, Penalty(0.0))
        T = X @ A.T
        change = (P * T).sum(axis=1, keepdims=True) - T
        missing = point.gradient + (P * change * fractions[:, None]).T @ X
    if not (np.abs(missing) <= LEFT * sizes).all() or change.min() < -1.0:
        return change, np.inf
    return change, inner(np.abs(missing), np.abs(point.at))
