"""Columns of the features that the solver for ℓ1 looks at, and its step: coordinate descent.

The step minimises a quadratic whose curvatures are one number a row, with the penalty, at the best
bias for it. Of arrays the columns are copied in float64, and the quadratic's Hessian is held while
it is fresh: it grows by the features that are asked for. Sparse rows are copied by columns once,
and no product of theirs is formed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.data.sparse import SparseRows, sparse_rows
from onelayer.engines import Engine, tiles
from onelayer.engines.native import (
    ArrayColumns,
    PairSearch,
    SparseColumns,
    coordinate_descent,
    default_threads,
)
from onelayer.objective.penalty import Penalty
from onelayer.solver.certificate import TINY

Float64 = NDArray[np.float64]
Indices = NDArray[np.int64]

# Added to the diagonal of a Hessian, relative to it, which is summed in float32. It is taken anew
# where the curvatures of the rows have changed by this part.
RIDGE, STALE = 1e-6, 0.1

# Entries of rows whose columns are copied at a time, and how many rows at least.
BLOCK_ENTRIES, MIN_ROWS = 1 << 18, 16


class Step(NamedTuple):
    """A step of m rows of weights of n features, and what it does to N rows."""

    change: Float64  # of the weights, (m, n)
    shift: Float64  # of the biases, (m,)
    along: Float64  # of the scores, (m, N)


class Columns(ABC):
    """Columns of some features of rows, scaled and centred, each read once.

    Attributes:
        features: which, ascending, (n,).
    """

    features: Indices

    def __init__(self, rows: Rows, engine: Engine, fractions: Float64) -> None:
        self._rows, self._engine, self._fractions = rows, engine, fractions
        self.features = np.zeros(0, np.int64)

    @abstractmethod
    def take(self, features: Indices) -> None:
        """Hold these features, ascending."""

    @abstractmethod
    def forget(self) -> None:
        """Forget what was found at earlier weights, so that steps depend on the next ones alone."""

    @abstractmethod
    def scores(self, W: Float64) -> Float64:
        """Those of weights (m, n) without a bias, (m, N)."""

    @abstractmethod
    def sums(self, R: Float64) -> Float64:
        """Of the columns, times R (m, N): (m, n)."""

    @abstractmethod
    def sums_of_all(self, factors: Float64) -> Float64:
        """Of all features, times factors (N, m), in float64: (m, D)."""

    def pair_search(self, y: Float64, offsets: Float64 | None) -> PairSearch:
        """The kernel's search where there are two classes, of labels y in 0 and 1."""
        of_rows = self._fractions, offsets, self._rows.intercept, default_threads()
        return PairSearch(self._for_pairs(), np.ascontiguousarray(y), *of_rows)

    @abstractmethod
    def pair_sums(self, pair: PairSearch) -> Float64 | None:
        """Sums of all features over the residuals of a search's rows, and of what it found, (m, D).

        None where fewer features take less time.
        """

    @abstractmethod
    def _for_pairs(self) -> ArrayColumns | SparseColumns:
        """The columns as that search takes them."""

    @abstractmethod
    def hold(self, features: Indices) -> None:
        """Read what the search lacks of these features."""

    @abstractmethod
    def dense(self, which: Any) -> Float64:
        """Some of the columns, (n, N)."""

    @abstractmethod
    def step(
        self, k: int, bends: Float64, R: Float64, W: Float64, which: Indices, penalty: Penalty,
        how: tuple[float, int],
    ) -> Step:  # fmt: skip
        """A step from weights W (m, n) of residuals R, times the rows' fractions, of some places.

        `bends` (N,) are the curvatures of the rows; of fresh ones those of last time at k may do.
        """


class Slopes:
    """The loss's slope along each feature when it was last summed, and how far it may be off since.

    Where probabilities move by d, the root of the mean of squares, a slope changes by d times the
    feature's spread at most (Cauchy and Schwarz). What stays within the penalty whatever it is need
    not be summed.

    Attributes:
        values: (D,).
    """

    def __init__(self, values: Float64, spreads: Float64, factors: Float64 | None) -> None:
        self.values, self._factors = values, factors
        self._spreads = np.minimum(spreads, np.finfo(np.float64).max)
        self._gone, self._exact_at = 0.0, np.zeros(len(values))  # distances
        self._room = np.empty((2, len(values)))

    @property
    def are_exact(self) -> bool:
        """Whether all are as of now."""
        return bool((self._exact_at == self._gone).all())

    @property
    def state(self) -> Float64:
        """What to restore with the values."""
        return np.append(self._exact_at, self._gone)

    def restore(self, values: Float64, state: Float64) -> None:
        """Go on from values and a state."""
        self.values[:], self._exact_at, self._gone = values, state[:-1].copy(), float(state[-1])

    def move(self, distance: float) -> None:
        """The probabilities have moved so far, at most."""
        self._gone += distance

    def put(self, which: Any, values: Float64) -> None:
        """Sums of some features, as of now."""
        self.values[which], self._exact_at[which] = values, self._gone

    def steep(self) -> Float64:
        """How steep each was, as it is compared to λ₁, (D,); the next call writes over it."""
        steep = np.abs(self.values, out=self._room[1])
        if self._factors is not None:
            steep /= self._factors
        return steep

    def most(self, further: float = 0.0) -> Float64:
        """How steep each may be now, or after so long a way; the next call writes over it."""
        off, steep = self._room[0], self.steep()
        np.subtract(self._gone + further, self._exact_at, out=off)
        with np.errstate(over="ignore"):
            off *= self._spreads
            steep += off
        return steep


def columns_of(rows: Rows, engine: Engine, fractions: Float64) -> Columns:
    """The columns of rows, none yet."""
    kind = DenseColumns if sparse_rows(rows.X) is None else StoredColumns
    return kind(rows, engine, fractions)


class DenseColumns(Columns):
    """Columns of an array, copied."""

    def __init__(self, rows: Rows, engine: Engine, fractions: Float64) -> None:
        super().__init__(rows, engine, fractions)
        self._values = np.empty((0, rows.count))
        self._hessians: dict[int, Hessian] = {}
        self._stored: ArrayColumns | None = None
        self._held = np.zeros(rows.X.shape[1], np.bool_)

    def _for_pairs(self) -> ArrayColumns:
        rows, wide = self._rows, self._rows.X.dtype == np.float64
        scale, offset = np.ascontiguousarray(rows.scale), np.ascontiguousarray(rows.offset)
        self._stored = ArrayColumns(rows.count, wide, scale, offset)
        return self._stored

    def pair_sums(self, pair: PairSearch) -> Float64:
        factors = [pair.residuals(found=of) for of in (False, True)[: 1 + pair.has_found()]]
        return self.sums_of_all(np.column_stack(factors))

    def hold(self, features: Indices) -> None:
        new = features[~self._held[features]]
        if not len(new):
            return
        assert self._stored is not None  # noqa: S101  # the search that needs it is there
        self._stored.hold(new)
        for place, tile in self._tiles(len(new)):
            self._stored.read(tile.X, tile.index, place.start, new)
        self._held[new] = True

    def take(self, features: Indices) -> None:
        if np.array_equal(features, self.features):
            return
        places = np.searchsorted(self.features, features).clip(max=max(len(self.features) - 1, 0))
        new = self.features[places] != features if len(self.features) else features >= 0
        values = np.empty((len(features), self._rows.count))
        if not new.all():
            np.take(self._values, places, axis=0, out=values, mode="clip")
        values[new] = self._read(features[new])
        self.features, self._values = features, values

    def forget(self) -> None:
        self._hessians.clear()

    def _read(self, features: Indices) -> Float64:
        rows, read = self._rows, np.empty((len(features), self._rows.count))
        scale, offset = rows.scale[features], rows.offset[features]
        for place, tile in self._tiles(len(features)):
            X: Any = tile.X if tile.index is None else tile.X[tile.index]
            read[:, place] = (X[:, features].astype(np.float64) * scale + offset).T
        return read

    def _tiles(self, features: int) -> Iterator[tuple[slice, Rows]]:
        # Of an array in memory nothing else is read.
        X = self._rows.X
        width = features + 1 if isinstance(X, np.ndarray) else X.shape[1]
        return tiles(self._rows, max(MIN_ROWS, BLOCK_ENTRIES // width))

    def scores(self, W: Float64) -> Float64:
        return np.asarray(W @ self._values)

    def sums(self, R: Float64) -> Float64:
        return np.asarray(R @ self._values.T)

    def sums_of_all(self, factors: Float64) -> Float64:
        return np.asarray(self._engine.weighted_sums(self._rows, factors[None])[0])

    def dense(self, which: Any) -> Float64:
        return np.asarray(self._values[which])

    def step(
        self, k: int, bends: Float64, R: Float64, W: Float64, which: Indices, penalty: Penalty,
        how: tuple[float, int],
    ) -> Step:  # fmt: skip
        hessian = self._hessians.setdefault(k, Hessian(self._rows.intercept, self._fractions))
        held = hessian.take(bends, self._values, self.features, which, penalty)
        old, slope = np.ascontiguousarray(W[:, held]), R.sum(axis=1)
        means = hessian.means if self._rows.intercept else np.zeros(len(held))
        penalty = penalty.of_features(held)
        G = self.sums(R)[:, held] + penalty.gradient(old)
        reached, q = old.copy(), np.ascontiguousarray(G - np.outer(slope, means))
        coordinate_descent(hessian.H, each(penalty.limits, len(held)), reached, q, *how)
        change, shift = np.zeros_like(W), np.zeros(len(W))
        change[:, held] = reached - old
        if self._rows.intercept:
            shift = -slope / hessian.sum - change[:, held] @ means
        return Step(change, shift, self.scores(change) + shift[:, None])


class Hessian:
    """The Hessian of a row of weights, with that of λ₂: grown by features while it is fresh.

    The bias is solved for: what is held is that of the best bias for each step.
    """

    def __init__(self, intercept: bool, fractions: Float64) -> None:
        self._intercept, self._fractions = intercept, fractions
        self.bends, self.sum = np.zeros(0), 1.0  # of the rows where it was taken
        self._features = np.zeros(0, np.int64)
        self.H, self.means = np.zeros((0, 0)), np.zeros(0)  # of the columns, by curvature
        self._blocks: list[NDArray[np.float32]] = []  # the columns times √ of the curvatures

    def take(
        self, bends: Float64, C: Float64, features: Indices, which: Indices, penalty: Penalty
    ) -> Indices:
        """Hold some of the columns C (n, N) of features at least; the places of all that are held.

        Columns of features are the same while it is in use.
        """
        wanted, curvatures = features[which], each(penalty.curvatures, len(features))[which]
        if self._is_stale(bends):
            d = self._fractions * bends
            self.bends, self._features, self.sum = bends, wanted, max(float(d.sum()), TINY)
            Z = _scaled(C[which], d)
            self._blocks, self.H = [Z], np.asarray(Z @ Z.T, np.float64)
            self.means = np.asarray(Z @ np.sqrt(d, dtype=np.float32), np.float64) / self.sum
            if self._intercept:
                self.H -= np.outer(self.means, self.means * self.sum)
            self._stiffen(curvatures)
        else:
            new = ~np.isin(wanted, self._features, assume_unique=True)
            if new.any():
                self._grow(C[which[new]])
                self._features = np.concatenate([self._features, wanted[new]])
                self._stiffen(curvatures[new])
        return np.searchsorted(features, self._features)

    def _is_stale(self, bends: Float64) -> bool:
        if len(bends) != len(self.bends):
            return True
        return bool(self._fractions @ np.abs(bends - self.bends) > STALE * self.sum)

    def _grow(self, C: Float64) -> None:
        d = self._fractions * self.bends
        Z = _scaled(C, d)
        means = np.asarray(Z @ np.sqrt(d, dtype=np.float32), np.float64) / self.sum
        across = np.concatenate([Z @ block.T for block in self._blocks], axis=1, dtype=np.float64)
        own = np.asarray(Z @ Z.T, np.float64)
        self._blocks.append(Z)
        if self._intercept:
            across -= np.outer(means * self.sum, self.means)
            own -= np.outer(means * self.sum, means)
        self.H = np.block([[self.H, across.T], [across, own]])
        self.means = np.concatenate([self.means, means])

    def _stiffen(self, curvatures: Float64) -> None:
        """Add the penalty's curvatures, and the ridge, to the last features."""
        diagonal = self.H.reshape(-1)[:: len(self.H) + 1][len(self.H) - len(curvatures) :]
        diagonal += curvatures + RIDGE * diagonal


class StoredColumns(Columns):
    """Columns of sparse rows, which are copied by columns once."""

    def __init__(self, rows: Rows, engine: Engine, fractions: Float64) -> None:
        super().__init__(rows, engine, fractions)
        X: Any = rows.X
        stored = X.values, X.indices, X.indptr, X.shape[1]
        # One number of all features is not contiguous.
        scale, offset = np.ascontiguousarray(rows.scale), np.ascontiguousarray(rows.offset)
        self._stored = SparseColumns(stored, scale, offset, rows.index, default_threads())
        self._all = np.arange(X.shape[1])

    def take(self, features: Indices) -> None:
        self.features = features

    def forget(self) -> None:
        pass

    def scores(self, W: Float64) -> Float64:
        of_stored = self._stored.scores(self.features, np.ascontiguousarray(W)).T
        return np.asarray(of_stored + (W @ self._rows.offset[self.features])[:, None])

    def _for_pairs(self) -> SparseColumns:
        return self._stored

    def pair_sums(self, pair: PairSearch) -> None:
        pass

    def hold(self, features: Indices) -> None:
        pass

    def sums(self, R: Float64) -> Float64:
        return self._sums(self.features, np.ascontiguousarray(R.T))

    def sums_of_all(self, factors: Float64) -> Float64:
        return self._sums(self._all, factors)

    def _sums(self, features: Indices, factors: Float64) -> Float64:
        return self._stored.sums(features, factors, default_threads())

    def dense(self, which: Any) -> Float64:
        X: Any = self._rows.X if self._rows.index is None else self._rows.X[self._rows.index]
        sparse: SparseRows = X.take_columns(self.features[which])
        scale, offset = (of[self.features[which]] for of in (self._rows.scale, self._rows.offset))
        return np.ascontiguousarray((sparse.toarray() * scale + offset).T)

    def step(
        self, k: int, bends: Float64, R: Float64, W: Float64, which: Indices, penalty: Penalty,
        how: tuple[float, int],
    ) -> Step:  # fmt: skip
        features, d, n = self.features[which], self._fractions * bends, len(which)
        penalty = penalty.of_features(which)
        reached, r = np.ascontiguousarray(W[:, which]), np.array(R.T, order="C")
        intercept = self._rows.intercept
        l1, l2 = each(penalty.limits, n), each(penalty.curvatures, n) / 2.0
        self._stored.descend(features, d, l1, l2, intercept, reached, r, *how)
        change = np.zeros_like(W)
        change[:, which] = reached - W[:, which]
        along, shift = self.scores(change), np.zeros(len(W))
        if intercept:
            shift = -(R.sum(axis=1) + along @ d) / max(float(d.sum()), TINY)
        return Step(change, shift, along + shift[:, None])


def each(values: Any, n: int) -> Float64:
    """One number a feature, of that or of a number for all."""
    return np.broadcast_to(np.asarray(values, np.float64), n).copy()


def _scaled(C: Float64, d: Float64) -> NDArray[np.float32]:
    """C diag(d)^½ of columns C (n, N)."""
    out = np.empty(C.shape, np.float32)
    return np.multiply(C, np.sqrt(d), out=out, casting="same_kind")
