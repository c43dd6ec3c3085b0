"""Contrasts of a model's classes with a reference class, and the covariance of their coefficients.

    θ = (W_k − W_r, b_k − b_r)    of each class k with a reference class r
    H = Σ wᵢ ∂²ℓᵢ/∂θ²             M = Σ wᵢ² ψᵢ ψᵢᵀ, of the gradients ψᵢ = ∂(ℓᵢ + λ Σ W²)/∂θ

    Cov θ = H⁻¹                   λ = 0, a weight is so many rows
    Cov θ = H⁻¹ M H⁻¹             of groups ψ is summed over each group

A softmax knows no more than contrasts: adding one number to all scores changes no probability. Of
many labels a row each label is a problem of its own, with itself against not having it.

H is computed in the scaled features less their mean, which keeps its condition, and all that is
shown is in the features' own units: with z = x · a + c, a coefficient of x is a times that of z,
and the intercept of x is that of z plus Σ c θ_z.

Source: McCullagh & Nelder (1989), Generalized Linear Models; White (1982), Maximum likelihood
estimation of misspecified models; Liang & Zeger (1986), Longitudinal data analysis using
generalized linear models.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.data.scaling import EQUAL
from onelayer.engines import tiles
from onelayer.errors import SettingsError
from onelayer.model.model import Model
from onelayer.objective.loss import log_softmax, sigmoid, softmax
from onelayer.objective.penalty import Penalty

Float64 = NDArray[np.float64]

INTERCEPT = "intercept"

# Entries of a block of rows, each once for every class.
BLOCK_ENTRIES = 1 << 21

# 1 − R² of a feature with those before it that is rounding: they are linearly dependent.
DEPENDENT = 1e-10

# How far a model may be from the optimum, in standard errors; and by how much a step of Newton's
# may change a score where the optimum is finite.
FAR, STEADY = 0.25, 0.05


class _Look(NamedTuple):
    """What a first pass over the rows finds."""

    loss: float  # Σ w ℓ
    squares: Float64  # Σ w z² of the features, (D,)
    all_right: bool  # whether each row's own class, or one label of all rows, is told right


class _Curvature(NamedTuple):
    """Sums of a pass, of blocks of contrasts: one of all classes, or one for each label."""

    H: Float64  # Σ w ∂²(ℓ + λ Σ W²)/∂θ², (blocks, U, U)
    M: Float64  # Σ w² ψ ψᵀ of rows, or of groups, (blocks, U, U)
    g: Float64  # Σ w ψ, (blocks, U)


@dataclass(frozen=True, eq=False)
class Contrasts:
    """The C classes that are compared with a reference, by T coefficients each.

    Attributes:
        model: whose classes they are.
        mean: of the scaled features, (D,); coefficients are of the features less their mean.
        reference: the class whose coefficients are 0; None where a row has many labels.
    """

    model: Model
    mean: Float64
    reference: int | None

    @classmethod
    def between(cls, model: Model, rows: Rows, reference: int | None) -> Contrasts:
        """Contrasts in features less the rows' mean, or as they are where no intercept takes it."""
        total = np.zeros(model.features)
        if rows.intercept:
            for _, tile in tiles(rows, max(1, BLOCK_ENTRIES // model.features)):
                total += _weights(tile) @ tile.scaled()
        return cls(model, total / rows.mass, reference)

    @cached_property
    def kept(self) -> NDArray[np.int64]:
        """The classes that are compared, (C,): all but the reference."""
        return np.flatnonzero(np.arange(self.model.classes) != self.reference)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the C classes."""
        return tuple(self.model.class_names[k] for k in self.kept)

    @cached_property
    def term_names(self) -> tuple[str, ...]:
        """Of the T coefficients of a class: the intercept's, if there is one, and the features'."""
        names = self.model.feature_names or tuple(map(str, range(self.model.features)))
        return (INTERCEPT, *names) if self.model.intercept else names

    def coefficients(self, weights: NDArray[np.floating]) -> Float64:
        """The coefficients, (…, C, T), of W and b side by side, (…, K, D + 1)."""
        weights = weights.astype(np.float64)
        theta = W = weights[..., :-1]
        if self.model.intercept:
            intercepts = weights[..., -1:] + (W @ self.mean)[..., None]
            theta = np.concatenate([intercepts, W], axis=-1)
        of_reference = 0.0 if self.reference is None else theta[..., [self.reference], :]
        return np.asarray(theta[..., self.kept, :] - of_reference)

    def own_units(self, theta: Float64) -> Float64:
        """Coefficients (…, T) as those of the features as they are stored."""
        scaling = self.model.scaling
        if not self.model.intercept:
            return np.asarray(theta * scaling.scale)
        slopes = theta[..., 1:]
        intercept = theta[..., :1] + (slopes @ (scaling.offset - self.mean))[..., None]
        return np.concatenate([intercept, slopes * scaling.scale], axis=-1)

    def terms(self, tile: Rows) -> Float64:
        """What coefficients multiply, of rows (n, T): 1, and scaled features less their mean."""
        X = tile.scaled() - self.mean
        return np.column_stack([np.ones(tile.count), X]) if tile.intercept else X

    def look(self, rows: Rows) -> _Look:
        """The model's loss on the rows, the features' spread, and whether rows are told right."""
        many, K, D = self.model.many_labels, self.model.classes, self.model.features
        loss, squares, right = 0.0, np.zeros(D), np.ones(K if many else 1, bool)
        for _, tile in tiles(rows, max(1, BLOCK_ENTRIES // (D + K))):
            Z, w, y = self.terms(tile), _weights(tile), tile.labels
            S = self._scores(tile, Z)
            squares += w @ Z[:, -D:] ** 2
            if many:
                loss += float(w @ (np.logaddexp(0.0, S) - y * S).sum(axis=1))
                right &= ((S > 0.0) == (y > 0)).all(axis=0)
                continue
            each = np.arange(len(y))
            loss -= float(w @ log_softmax(S)[each, y])
            own = S[each, y]
            S[each, y] = -np.inf
            right &= (own > S.max(axis=1)).all()
        return _Look(loss, squares, bool(right.any()))

    def check_finite(self, rows: Rows, seen: _Look) -> None:
        """Refuse classes that can be separated, and features that are constant up to rounding."""
        groups = self.model.settings.get("separated")
        if groups:
            raise separated(f"the rows of {', '.join(groups[0])} can be separated from the others")
        if seen.all_right:
            raise separated("the model is right of every row")
        spread = np.sqrt(seen.squares / rows.mass)
        constant = np.flatnonzero(spread <= EQUAL * (np.abs(self.mean) + np.abs(rows.offset)))
        if len(constant):
            name = self.term_names[constant[0] - len(self.mean)]
            raise SettingsError(
                f"the feature {name!r} is constant in these rows, so with λ = 0 its coefficient is "
                "not determined; leave it out, or solve with λ > 0."
            )

    def covariance(
        self, rows: Rows, member: NDArray[np.int64] | None, counts: float | None
    ) -> Float64:
        """The covariance of the coefficients, (blocks, U, U).

        It is the sandwich of rows, or of the groups of which they are members; or H⁻¹ of rows that
        count so often.

        Raises:
            SettingsError: when the model is not at its optimum, or there is none with λ = 0.
        """
        found = self._curvature(rows, self.model.l2 or 0.0, member)
        inverse, step = self._newton(found)
        plain = inverse / (counts or 1.0)
        self._check_near(step, plain)
        if self.model.l2 == 0.0:
            self._check_inseparable(rows, step)
        if counts is not None:
            return np.asarray(plain)
        sandwich = np.asarray(inverse @ found.M @ inverse)
        self._check_near(step, sandwich)
        return sandwich

    def standard_errors(self, covariance: Float64) -> Float64:
        """Of the coefficients in the features' own units, (C, T)."""
        T, scaling = len(self.term_names), self.model.scaling
        blocks, U, _ = covariance.shape
        each = covariance.reshape(blocks, U // T, T, U // T, T)
        own = np.concatenate([[block[c, :, c] for c in range(U // T)] for block in each])
        variances = np.einsum("ctt->ct", own).copy()
        if self.model.intercept:
            to_intercept = np.append(1.0, scaling.offset - self.mean)
            variances[:, 0] = np.einsum("t,cts,s->c", to_intercept, own, to_intercept)
        variances[:, -len(self.mean) :] *= scaling.scale**2
        return np.asarray(np.sqrt(variances))

    def logit_errors(self, Z: Float64, S: Float64, covariance: Float64) -> Float64:
        """Standard errors of the logit of each probability, (n, K), by terms Z and scores S."""
        T = len(self.term_names)
        if self.reference is None:
            each = np.einsum("ns,kst,nt->nk", Z, covariance, Z, optimize=True)
            return np.asarray(np.sqrt(each))
        C, K = len(self.kept), S.shape[1]
        blocks = covariance[0].reshape(C, T, C, T)
        V = np.empty((len(Z), C, C))  # of the contrasts' scores
        for j in range(C):
            for k in range(j, C):
                V[:, j, k] = V[:, k, j] = np.einsum("nt,nt->n", Z @ blocks[j, :, k], Z)
        errors = np.empty_like(S)
        for k in range(K):
            slope = np.zeros_like(S)
            others = np.arange(K) != k
            slope[:, others], slope[:, k] = -softmax(S[:, others]), 1.0
            a = slope[:, self.kept]
            errors[:, k] = np.sqrt(np.einsum("nj,njk,nk->n", a, V, a))
        return errors

    def _scores(self, tile: Rows, Z: Float64) -> Float64:
        W = self.model.W.astype(np.float64)
        S = Z[:, -len(self.mean) :] @ W.T + (self.model.b + W @ self.mean)
        return np.asarray(S if tile.row_offsets is None else S + tile.row_offsets)

    def _curvature(self, rows: Rows, l2: float, member: NDArray[np.int64] | None) -> _Curvature:
        """The sums over the rows, of a penalty λ Σ W²."""
        K, D, many, kept = (
            self.model.classes, self.model.features, self.model.many_labels, self.kept,
        )  # fmt: skip
        T, C = len(self.term_names), len(kept)
        blocks, U = (C, T) if many else (1, C * T)
        H, M, g = np.zeros((blocks, U, U)), np.zeros((blocks, U, U)), np.zeros(C * T)
        own = np.zeros((C, T, T))  # of each class alone
        of_groups = None if member is None else np.zeros((int(member.max()) + 1, C * T))
        W = self.model.W.astype(np.float64)
        bends = np.broadcast_to(Penalty(l2, factors=rows.penalty_factors).curvatures, D)
        pull = np.zeros((C, T))  # the penalty's gradient; what all classes share is no contrast
        pull[:, -D:] = bends * (W if many else W - W.mean(axis=0))[kept]
        for place, tile in tiles(rows, max(1, BLOCK_ENTRIES // (C * T))):
            Z, w, y = self.terms(tile), _weights(tile), tile.labels
            S = self._scores(tile, Z)
            P = (sigmoid(S) if many else softmax(S))[:, kept]
            residual = P - (y if many else np.eye(K)[y][:, kept])
            for k, p in enumerate(P.T):
                own[k] += (Z * (w * p * (1.0 - p if many else 1.0))[:, None]).T @ Z
            if not many:
                A = ((np.sqrt(w)[:, None] * P)[:, :, None] * Z[:, None]).reshape(len(Z), U)
                H[0] -= A.T @ A
            G = w[:, None, None] * (residual[:, :, None] * Z[:, None] + pull)
            G = G.reshape(len(Z), C * T)
            g += G.sum(axis=0)
            if of_groups is None or member is None:
                M += _grams(G, blocks)
            else:
                np.add.at(of_groups, member[place], G)
        if of_groups is not None:
            M = _grams(of_groups, blocks) * (len(of_groups) / (len(of_groups) - 1.0))
        features = np.arange(T - D, T)
        own[:, features, features] += bends * rows.mass
        if many:
            H = own
        else:
            each, classes = H.reshape(C, T, C, T), np.arange(C)
            each[classes, :, classes] += own
            # Of contrasts it is 2λ (I − 11ᵀ/K), for W has no part that all classes share.
            each[:, features, :, features] -= bends[:, None, None] * rows.mass / K
        return _Curvature(H, M, g.reshape(blocks, U))

    def _newton(self, found: _Curvature) -> tuple[Float64, Float64]:
        """H⁻¹ of each block, and a step of Newton's in the coefficients, (C, T)."""
        inverse = np.array([_inverse(H, self.term_names) for H in found.H])
        step = np.einsum("bij,bj->bi", inverse, found.g)
        return inverse, step.reshape(len(self.kept), -1)

    def _check_near(self, step: Float64, covariance: Float64) -> None:
        """Refuse a model that is not at its optimum, by a step of Newton's (C, T) from there."""
        with np.errstate(invalid="ignore"):  # with λ > 0 a constant feature has no errors
            apart = np.abs(self.own_units(step)) / self.standard_errors(covariance)
        apart = np.nan_to_num(apart)
        if apart.max() > FAR:
            k, t = np.unravel_index(int(np.argmax(apart)), apart.shape)
            is_feature = t > 0 or not self.model.intercept
            term = f"feature {self.term_names[t]!r}" if is_feature else "the intercept"
            of = f", in {term} for class {self.class_names[k]!r}"
            raise far_from_optimum(self.model, float(apart.max()), of)

    def _check_inseparable(self, rows: Rows, step: Float64) -> None:
        """Refuse classes that can be separated, by a step of Newton's and the one after it.

        Where an optimum is infinitely far, steps are small in standard errors, which grow without
        end as well, and yet each moves scores by about 1.
        """
        moved, D = self._largest_change(rows, step), len(self.mean)
        if moved.max() <= STEADY:
            return
        W, b = self.model.W.astype(np.float64), self.model.b.astype(np.float64)
        W[self.kept] -= step[:, -D:]
        if self.model.intercept:
            b[self.kept] -= step[:, 0] - step[:, 1:] @ self.mean
        stepped = replace(self, model=replace(self.model, W=W, b=b))
        _, again = stepped._newton(stepped._curvature(rows, 0.0, None))
        if self._largest_change(rows, again).max() > 0.5 * moved.max():
            feature = self.term_names[int(np.argmax(moved[-D:])) - D]
            raise separated(f"some classes can be separated from others by {feature!r}")

    def _largest_change(self, rows: Rows, step: Float64) -> Float64:
        """The most that each term's part of a step (C, T) changes a score, (T,)."""
        largest = np.zeros(step.shape[1])
        for _, tile in tiles(rows, max(1, BLOCK_ENTRIES // step.size)):
            largest = np.maximum(largest, np.abs(self.terms(tile)).max(axis=0))
        return np.asarray(largest * np.abs(step).max(axis=0))


def far_from_optimum(model: Model, apart: float, which: str) -> SettingsError:
    """A model is too many standard errors from its optimum."""
    return SettingsError(
        f"errors are of the optimum, but this model may be {apart:.2g} standard errors from it"
        f"{which}; to be nearer, solve(data, l2={model.l2:g}, tol=1e-10), or onelayer solve … "
        f"--l2 {model.l2:g} --tol 1e-10."
    )


def separated(words: str) -> SettingsError:
    """Classes can be separated, so there is no optimum to be at."""
    return SettingsError(
        f"{words}, so with λ = 0 the coefficients grow without end and have no errors; solve with "
        "λ > 0."
    )


def _weights(rows: Rows) -> Float64:
    return np.ones(rows.count) if rows.row_weights is None else rows.row_weights


def _grams(G: Float64, blocks: int) -> Float64:
    """GᵀG of each block of columns, (blocks, U, U)."""
    of_blocks = G.reshape(len(G), blocks, -1).transpose(1, 0, 2)
    return np.asarray(of_blocks.transpose(0, 2, 1) @ of_blocks)


def _inverse(H: Float64, names: tuple[str, ...]) -> Float64:
    """H⁻¹ of one block; a SettingsError where some features are a combination of others."""
    unit = 1.0 / np.sqrt(H.diagonal())  # in which every curvature is 1
    scaled = H * unit * unit[:, None]
    try:
        pivots = np.linalg.cholesky(scaled).diagonal()
    except np.linalg.LinAlgError:
        pivots = np.zeros(1)
    if pivots.min() ** 2 <= DEPENDENT:
        T = len(names)
        least = np.linalg.eigh(scaled[:T, :T])  # of the first class
        if least[0][0] > T * DEPENDENT:
            raise separated("some classes can be separated from others")
        part = np.abs(least[1][:, 0])
        named = [repr(names[t]) for t in np.flatnonzero(part > 0.05 * part.max())]
        listed = ", ".join(named[:4]) + (", …" if len(named) > 4 else "")
        raise SettingsError(
            f"the features {listed} are linearly dependent, so with λ = 0 their coefficients are "
            "not determined; leave one out, or solve with λ > 0."
        )
    inverse = np.linalg.inv(scaled)
    return np.asarray((inverse + inverse.T) * (0.5 * unit * unit[:, None]))
