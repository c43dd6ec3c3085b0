"""Rows as engines read them: arrays as stored, and what is done to them while they are read.

Shape letters, the same everywhere: N rows, D features, K classes, X (N, D), y (N,).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.dataset import Dataset, Splits, training_rows
from onelayer.data.scaling import Scaling, fit_scaling, held_values
from onelayer.data.sparse import sparse_rows
from onelayer.data.streaming import stored_rows
from onelayer.data.weights import (
    ClassWeight,
    class_weight_by_name,
    of_mean_one,
    times_class_weights,
)
from onelayer.errors import SettingsError, is_number, one_line, plain, require_bool

# Sparse rows of so few entries may become an array.
FEW_ENTRIES = 1 << 18

# Factors of penalties: of each feature, or of some by their names; the others are 1.
PenaltyFactors = Mapping[Any, float] | ArrayLike | None

MAX_FACTOR = 1e100

# The penalty factor that a search takes in the place of 0.
FREE_FACTOR = 2.0**-10

Data = TypeVar("Data", Dataset, Splits, Dataset | Splits)


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as stored, with the affine map that is applied to each feature while it is read."""

    X: NDArray[np.generic]  # (N, D), any real dtype, never copied as a whole; or `StoredRows`,
    # or `SparseRows`, of which a value that is not stored is its offset.
    # Class index of each row, (N,), 0 … K−1; or of many labels a row which it has, (N, K), uint8.
    y: NDArray[Any]
    scale: NDArray[np.float64]  # factor of each feature, (D,)
    offset: NDArray[np.float64]  # what is added after it, (D,)
    # Which rows count, and in which order, (n,); None is all of them. Full passes follow it;
    # `Trainer.epoch` has an order of its own.
    index: NDArray[np.int64] | None = None
    # Weight w ≥ 0 of each row, (N,), of a positive sum; None is one each. Means over rows are
    # Σ w (·) / Σ w, so an integer weight repeats a row.
    weights: NDArray[np.float64] | None = None
    image_width: int = 0  # of one line, which mirroring reverses; 0 where rows are no images
    # Whether models of these rows have a bias; without one b is 0, and its gradient is not taken.
    intercept: bool = True
    # What is added to the scores, (N, K): s = W x + b + o; None is 0.
    score_offsets: NDArray[np.floating] | None = None
    # Factor f ≥ 0 of each feature's penalty, λ Σ f ‖W_:d‖², (D,); None is 1 each. 0 is unpenalised.
    penalty_factors: NDArray[np.float64] | None = None
    # Number of the group of each row, (N,), by which errors are clustered; None where rows have
    # none, or none that tells them apart.
    groups: NDArray[np.int64] | None = None

    @property
    def chosen(self) -> NDArray[np.int64] | slice:
        """What chooses the rows of X that a full pass visits, in its order."""
        return slice(None) if self.index is None else self.index

    @property
    def count(self) -> int:
        """How many rows a full pass visits."""
        return len(self.y if self.index is None else self.index)

    @property
    def products(self) -> int:
        """How many numbers of X a full pass multiplies with the weights of a class."""
        sparse = sparse_rows(self.X)
        if sparse is None:
            return self.count * int(self.X.shape[1])
        return sparse.nnz if self.index is None else int(sparse.counts[self.index].sum())

    @property
    def is_dense(self) -> bool:
        """Whether the rows are an array, or sparse and so few that they may become one."""
        return sparse_rows(self.X) is None or self.count * self.X.shape[1] <= FEW_ENTRIES

    @property
    def labels(self) -> NDArray[Any]:
        """Class index, or labels, of each row that a full pass visits, in its order."""
        return self.y if self.index is None else self.y[self.index]

    @property
    def row_weights(self) -> NDArray[np.float64] | None:
        """Weight of each row that a full pass visits, in its order; None is one each."""
        if self.weights is None or self.index is None:
            return self.weights
        return self.weights[self.index]

    @property
    def row_offsets(self) -> NDArray[np.floating] | None:
        """What is added to the scores of each row that a full pass visits, in its order, (n, K)."""
        if self.score_offsets is None or self.index is None:
            return self.score_offsets
        return self.score_offsets[self.index]

    @property
    def row_groups(self) -> NDArray[np.int64] | None:
        """Group of each row that a full pass visits, in its order; None without two groups."""
        groups = self.groups
        if groups is not None and self.index is not None:
            groups = groups[self.index]
        return None if groups is None or (groups == groups[0]).all() else groups

    @property
    def mass(self) -> float:
        """Σ w over the rows that a full pass visits, their number without weights."""
        weights = self.row_weights
        return float(self.count) if weights is None else float(weights.sum())

    def class_frequencies(self, classes: int) -> NDArray[np.float64]:
        """Fraction of each class in the rows that a full pass visits, shape (K,), by weight."""
        if self.y.ndim == 2:
            weights = np.ones(self.count) if self.row_weights is None else self.row_weights
            return np.asarray(np.einsum("n,nk->k", weights, self.labels) / self.mass)
        counts = np.bincount(self.labels, weights=self.row_weights, minlength=classes)
        return np.asarray(counts / self.mass)

    def cold_probabilities(self, classes: int) -> NDArray[np.float64]:
        """Probabilities of W = 0 and the best bias for it, (K,): the class frequencies.

        Without an intercept those of W = 0: equal ones.
        """
        if self.intercept:
            return self.class_frequencies(classes)
        return np.full(classes, 0.5 if self.y.ndim == 2 else 1.0 / classes)

    @cached_property
    def extreme(self) -> bool:
        """Whether rounding to float32 before scaling would lose bits: far from 0, or scales are."""
        scale = np.abs(held_values(self.scale))
        small_or_large = (scale > 1e15) | ((scale < 1e-15) & (scale > 0.0))
        return bool(small_or_large.any() or (np.abs(held_values(self.offset)) > 1024.0).any())

    def scaled(self, dtype: str = "float64") -> NDArray[np.floating]:
        """The rows that a full pass visits, converted and scaled, as a new array."""
        chosen = self.chosen
        wide = "float64" if self.extreme else dtype
        sparse = sparse_rows(self.X)
        stored = self.X[chosen] if sparse is None else sparse[chosen].toarray()
        rows: NDArray[np.floating] = stored.astype(wide)
        rows *= self.scale.astype(wide)
        rows += self.offset.astype(wide)
        return rows.astype(dtype, copy=False)

    @property
    def has_free(self) -> bool:
        """Whether a feature is not penalised."""
        return self.penalty_factors is not None and not self.penalty_factors.all()

    def in_units(self, units: NDArray[np.float64]) -> Rows:
        """The rows x / u for weights W u, by units u of the features, (D,): the same scores."""
        return replace(self, scale=self.scale / units, offset=self.offset / units)

    def unit_penalties(self) -> tuple[Rows, NDArray[np.float64] | None]:
        """The rows in units in which each factor of a penalty is 1 or 0, and these units.

        λ f W² = λ (W √f)². Weights that are not penalised are searched in smaller units, beside
        whose curvature that of a penalty, which a search may take them to have, is little.
        """
        f = self.penalty_factors
        if f is None:
            return self, None
        units = np.sqrt(np.where(f > 0.0, f, FREE_FACTOR))
        factors = np.sign(f) if self.has_free else None
        return replace(self.in_units(units), penalty_factors=factors), units

    def with_intercept(self, intercept: bool) -> Rows:
        """The same rows, for models with or without a bias."""
        return self if intercept == self.intercept else replace(self, intercept=intercept)

    def squared_lengths(self, dtype: str = "float64") -> NDArray[np.floating]:
        """‖x‖² of each scaled row that a full pass visits, (n,); sparse rows stay sparse."""
        sparse = sparse_rows(self.X)
        if sparse is None:
            rows = self.scaled(dtype)
            return np.asarray(np.einsum("nd,nd->n", rows, rows))
        lengths = np.full(self.count, self.offset @ self.offset)
        chosen = sparse if self.index is None else sparse[self.index]
        for place, values, columns, numbers in chosen.blocks():
            offset = self.offset[columns]
            squares = (values * self.scale[columns] + offset) ** 2 - offset**2
            count = place.stop - place.start
            lengths[place] += np.bincount(numbers - place.start, squares, count)
        return lengths

    @property
    def unlabelled(self) -> Rows:
        """The same rows, all of one class and without offsets: for products with their features."""
        return replace(self, y=np.zeros(len(self.y), np.int64), score_offsets=None)

    def part(self, start: int, stop: int) -> Rows:
        """Rows `start` to `stop` of those that a full pass visits; X is not copied."""
        if self.index is not None:
            return replace(self, index=self.index[start:stop])
        weights = None if self.weights is None else self.weights[start:stop]
        groups = None if self.groups is None else self.groups[start:stop]
        stored: Any = stored_rows(self.X)
        rows = slice(start, stop)
        X = self.X[rows] if stored is None else stored.take(np.arange(len(stored))[rows])
        offsets = None if self.score_offsets is None else self.score_offsets[start:stop]
        part = replace(self, X=X, y=self.y[start:stop], weights=weights)
        return replace(part, groups=groups, score_offsets=offsets)

    def only(self, index: NDArray[np.int64]) -> Rows:
        """These rows alone, in this order; X is not copied."""
        return replace(self, index=index if self.index is None else self.index[index])


def rows_of(dataset: Dataset, scaling: Scaling) -> Rows:
    """A data set as engines read it, scaled while it is read; nothing is copied."""
    width = dataset.image_shape[2] if dataset.image_shape else 0
    groups = None
    if dataset.groups is not None:
        groups = np.unique(dataset.groups, return_inverse=True)[1]
    rows = Rows(dataset.X, dataset.y, scaling.scale, scaling.offset, None, dataset.weights, width)
    return replace(rows, score_offsets=dataset.offsets, groups=groups)


def rows_to_fit(
    data: Data,
    scaling: str,
    class_weight: ClassWeight = None,
    *,
    intercept: bool = True,
    penalty_factors: PenaltyFactors = None,
    without_offsets: str = "",
) -> tuple[Data, Scaling, Rows]:
    """The rows that a cost is the mean over, scaled and weighted; and the data that they are of.

    Offsets are refused where what does `without_offsets` is named.

    The data lack the training rows of weight 0. The scaling is fitted to the others by weight, and
    centres them only for a model with an intercept.
    """
    data = without_weightless(data, class_weight)
    train = training_rows(data)
    if without_offsets:
        train.refuse_offsets(without_offsets)
    weights = weights_to_fit(train, class_weight)
    fitted = fit_scaling(scaling, train.X, train.max_value, weights, centre=intercept)
    factors, rows = factors_of_rows(penalty_factors, train), rows_of(train, fitted)
    rows = replace(rows, weights=weights, intercept=intercept, penalty_factors=factors)
    return data, fitted, rows


def without_weightless(data: Data, class_weight: ClassWeight = None) -> Data:
    """The data without the training rows that weigh nothing, of which all others are copied."""
    train = training_rows(data)
    weights = weights_to_fit(train, class_weight)
    if weights is None or weights.all():
        return data
    kept: Any = train.take(np.flatnonzero(weights))
    found: Data = kept if isinstance(data, Dataset) else replace(data, train=kept)
    return found


def class_weight_setting(class_weight: ClassWeight, dataset: Dataset) -> dict[str, Any]:
    """The class weight as a setting for records, by name; none where there is none."""
    names, kind = dataset.class_names, dataset.label_type
    by_name = class_weight_by_name(class_weight, names, kind)
    return {} if by_name is None else {"class_weight": by_name}


def intercept_setting(intercept: bool) -> dict[str, Any]:
    """Having no intercept as a setting for records; none where there is one."""
    require_bool("intercept", intercept)
    return {} if intercept else {"intercept": False}


def factors_of_features(
    given: PenaltyFactors, D: int, names: Sequence[str] | None, *, many_labels: bool = False
) -> NDArray[np.float64] | None:
    """The factor of each of D features' penalty, (D,); None where all are 1."""
    if given is None:
        return None
    names = tuple(map(str, range(D))) if names is None else names
    if isinstance(given, Mapping):
        factors: NDArray[Any] = np.ones(D, object)
        places = {name: place for place, name in enumerate(names)}
        for name, factor in given.items():
            if str(name) not in places:
                raise SettingsError(
                    f"penalty_factors name the feature {one_line(repr(name))}, which is not there."
                )
            factors[places[str(name)]] = plain(factor)
    else:
        factors = np.asarray(given)
    if factors.shape != (D,) or not all(map(is_number, factors.tolist())):
        raise SettingsError(
            f"penalty_factors must be one number for each of the {D} features, or a dict of some "
            f"features and factors, but {one_line(repr(given))} was given."
        )
    found = factors.astype(np.float64)
    wrong = ~((found >= 0.0) & (found < MAX_FACTOR))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise SettingsError(
            f"penalty_factors must be finite and 0 or above, but feature {names[place]!r} has "
            f"{found[place]:g}."
        )
    if not found.any():
        raise SettingsError(
            "penalty_factors must be above 0 for some features, but all of them are 0; solve with "
            "l2=0 for no penalty."
        )
    if many_labels and not found.all():
        raise SettingsError(
            "penalty_factors of 0 are not built for many labels a row; give a small factor, such "
            "as 1e-4."
        )
    return None if (found == 1.0).all() else found


def factors_of_rows(given: PenaltyFactors, dataset: Dataset) -> NDArray[np.float64] | None:
    """The factor of each feature's penalty, (D,); None where all are 1."""
    of_data = dataset.features, dataset.feature_names
    return factors_of_features(given, *of_data, many_labels=dataset.many_labels)


def rows_setting(rows: Rows, dataset: Dataset) -> dict[str, Any]:
    """Penalty factors that are not 1, by name, and having offsets, as settings for records."""
    found: dict[str, Any] = {} if rows.score_offsets is None else {"offsets": True}
    if rows.penalty_factors is not None:
        names, others = dataset.feature_names, np.flatnonzero(rows.penalty_factors != 1.0)
        by_name = {names[d] if names else str(d): float(rows.penalty_factors[d]) for d in others}
        found["penalty_factors"] = by_name
    return found


def weights_to_fit(dataset: Dataset, class_weight: ClassWeight) -> NDArray[np.float64] | None:
    """The weight of each row in the cost, of mean 1; None where all weigh the same."""
    return of_mean_one(_products(dataset, class_weight))


def weight_sum(dataset: Dataset, class_weight: ClassWeight) -> float:
    """Σ of the weights of rows times those of their classes: N of rows that weigh 1."""
    products = _products(dataset, class_weight)
    return float(dataset.rows) if products is None else float(products.sum())


def _products(dataset: Dataset, class_weight: ClassWeight) -> NDArray[np.float64] | None:
    names = dataset.class_names
    by_name = class_weight_by_name(class_weight, names, dataset.label_type)
    return times_class_weights(dataset.y, dataset.weights, by_name, names)
