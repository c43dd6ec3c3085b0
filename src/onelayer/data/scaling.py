"""Per-feature affine scaling, applied while rows are read and never to a copy of X.

    x' = x · scale + offset        scale (D,), offset (D,)

"none" leaves the stored values, "unit" divides by the largest value that a feature can have (255
for bytes), "standardize" gives every feature mean 0 and variance 1 over the training rows. For a
model without an intercept it gives variance 1 and does not centre: W times an offset is a bias. Nor
does it centre sparse rows, so that what is not stored stays 0; there the bias takes up the means.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from onelayer.data.progress import Log
from onelayer.data.sparse import SparseRows, sparse_rows
from onelayer.data.streaming import iter_tiles, stored_rows
from onelayer.errors import SettingsError, printable
from onelayer.files.records import MAY_LACK

ScalingName = Literal["none", "unit", "standardize"]
SCALINGS = ("auto", *get_args(ScalingName))

# Rows that are converted to float64 at a time, so that statistics of a large X need a few MB.
BLOCK_ROWS = 1024

# Rows whose extremes are found as if they were one: NumPy takes a call for each.
SIDE_BY_SIDE = 16

# Rows by which the size of unscaled features is judged.
SOME_ROWS = 1000

# Squares of larger features, summed, may overflow float32; those of ever smaller ones vanish.
MAX_SIZE = 1e15

EPS = float(np.finfo(np.float64).eps)

# A feature is constant if its values differ by no more than this, relative to the largest: what
# computing one number in several ways makes.
EQUAL = 64 * EPS

# The same of values that are held in float32: what the norms of unit vectors, or the sums of
# probabilities, differ from 1 by.
EQUAL_FLOAT32 = 4 * float(np.finfo(np.float32).eps)

# Numbers of so few bytes, such as pixels, are exact in float32 and of no extreme size.
EXACT_BYTES = 2

# Rows are judged to lie elsewhere by so many entries at most: a value is outside the range of its
# feature beyond this part of the range's width, and small below this part of the largest.
RANGE_ENTRIES, RANGE_MARGIN, SMALL_PART = 1 << 15, 0.1, 0.1

# The same of sparse rows, whose columns have few values: beyond so many times the largest one.
SPARSE_MARGIN, SPARSE_PART = 2.0, 0.01


@dataclass(frozen=True, eq=False)
class Scaling:
    """The affine map x' = x · scale + offset of every feature, (D,) and (D,), and its rule.

    `low` and `high` (D,) are the least and the largest value of each feature, as stored, in the
    rows that it was fitted to; None where there were no rows. Of sparse rows they have the values'
    type, and scale and offset are `uniform` where they are of one value.
    """

    name: ScalingName
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    low: NDArray[np.floating] | None = field(default=None, metadata=MAY_LACK)
    high: NDArray[np.floating] | None = field(default=None, metadata=MAY_LACK)

    def apply(self, X: NDArray[np.generic], dtype: type = np.float64) -> NDArray[np.floating]:
        """X · scale + offset of a block of rows, (B, D), as a new array in float32 or float64.

        Example:
            >>> fit_scaling("unit", np.array([[0, 255]], np.uint8), 255.0).apply(
            ...     np.array([[51, 255]], np.uint8))
            array([[0.2, 1. ]])
        """
        scaled: NDArray[np.floating] = X.astype(dtype)
        scaled *= self.scale.astype(dtype)
        if self.offset.any():
            scaled += self.offset.astype(dtype)
        return scaled


def uniform(value: float, features: int) -> NDArray[np.float64]:
    """An array (D,) of one value, in the memory of one; it cannot be written to."""
    return np.broadcast_to(np.float64(value), features)


def held_values(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What memory holds of an array (D,): its values, or one where it is `uniform`.

    Example:
        >>> held_values(uniform(2.0, 1_000_000))
        array([2.])
    """
    return values[:1] if values.strides == (0,) else values


def of_features(values: NDArray[np.float64], places: NDArray[np.integer]) -> NDArray[np.float64]:
    """The values of some features, by their places."""
    some = held_values(values)
    return values[places] if some is values else np.broadcast_to(some[0], len(places))


def fit_scaling(
    name: str,
    X: NDArray[np.generic],
    max_value: float = 1.0,
    weights: NDArray[np.float64] | None = None,
    *,
    centre: bool = True,
) -> Scaling:
    """Fit the scaling of that name to the training rows X (N, D); "auto" becomes another.

    `max_value` > 0, the largest that a feature can have, is for "unit" and "auto", the weights (N,)
    of the rows for "standardize", which only centres a feature that is constant up to rounding, and
    unless `centre` none. The range of the features is found on the way; without a pass over rows in
    files, in some from all over them.
    """
    resolved = resolve_scaling(name, X, max_value)
    if (sparse := sparse_rows(X)) is not None:
        return _fit_sparse(resolved, sparse, max_value, weights)
    if resolved != "standardize":
        scale = np.full(X.shape[1], 1.0 if resolved == "none" else 1.0 / max_value)
        every = _Span(X.shape[1])
        span = every if weights is None else _Span(X.shape[1])
        stored = stored_rows(X)
        some = None if stored is None else stored.spread(SOME_ROWS)
        for place, B in _blocks(X) if some is None else [(some, X[some])]:
            every.add(B, None)
            if weights is not None:
                span.add(B, weights[place])
        _check_size(resolved, every.low, every.high, scale)
        return Scaling(resolved, scale, np.zeros(X.shape[1]), span.low, span.high)
    span = _Span(X.shape[1])
    mean, deviation = _mean_and_deviation(X, weights, span)
    _warn_of_rounded(X.dtype, deviation, span)
    if X.dtype.kind == "f" and X.dtype.itemsize > 2:
        lost = np.flatnonzero((deviation > 0.0) & (deviation < np.finfo(str(X.dtype)).tiny))
        if len(lost):
            raise SettingsError(
                f"feature {lost[0]} varies by {deviation[lost[0]]:.3g}, less than {X.dtype} can "
                "hold in full; multiply it by a power of 10."
            )
    scale = 1.0 / np.where(deviation > 0.0, np.maximum(deviation, np.finfo(np.float64).tiny), 1.0)
    offset = -mean * scale if centre else np.zeros_like(scale)
    return Scaling("standardize", scale, offset, span.low, span.high)


def _fit_sparse(
    name: ScalingName, X: SparseRows, max_value: float, weights: NDArray[np.float64] | None
) -> Scaling:
    """The scaling of sparse rows, which moves no feature."""
    if weights is not None and not weights.all():
        X, weights = X.take(weights > 0.0), weights[weights > 0.0]
    low, high = X.column_ranges
    scale = uniform(1.0 / max_value if name == "unit" else 1.0, X.shape[1])
    if name == "standardize":
        mass = len(X) if weights is None else weights.sum()
        with np.errstate(over="ignore", invalid="ignore"):
            mean = X.column_sums(weights) / mass
            deviation = np.sqrt(X.column_squares(mean, weights) / mass)
        constant = _are_one_number(low, high, X.dtype)
        scale = 1.0 / np.where(constant | (deviation == 0.0), 1.0, deviation)
    _check_size(name, low, high, scale if name == "standardize" else scale[:1])
    return Scaling(name, scale, uniform(0.0, X.shape[1]), low, high)


def resolve_scaling(name: str, X: NDArray[np.generic], max_value: float = 1.0) -> ScalingName:
    """What "auto" is: "unit" where the range is known, as of bytes, else "standardize".

    Of sparse rows it is "none": divided by its deviation, a word of a single text would count most.
    """
    check_scaling(name)
    if name == "auto" and sparse_rows(X) is not None:
        return "none"
    if name == "auto":
        return "unit" if X.dtype == np.uint8 or max_value != 1.0 else "standardize"
    return cast(ScalingName, name)


def check_scaling(name: str) -> None:
    """Raise `SettingsError` unless `name` is one of `SCALINGS`."""
    if name not in SCALINGS:
        known = ", ".join(SCALINGS)
        raise SettingsError(f"scaling must be one of {known}, but {name!r} was given.")


def warn_of_lost_digits(
    scaling: Scaling, X: NDArray[np.generic], names: Sequence[str] | None
) -> None:
    """Warn of features whose values float32 cannot tell apart, judged by some of the rows."""
    if X.dtype.itemsize <= EXACT_BYTES or sparse_rows(X) is not None:  # most of which are 0
        return
    scaled = scaling.apply(_some_rows(X))
    low, high = scaled.min(axis=0), scaled.max(axis=0)
    steps = (high - low) / np.spacing(np.maximum(-low, high).astype(np.float32))
    # A feature's values must extend over so many numbers of float32.
    if len(lost := np.flatnonzero((high > low) & (steps < 64))):
        first, standard = lost[0], scaling.name == "standardize"
        remedy = "look for outliers in it" if standard else "use scaling='standardize'"
        warnings.warn(
            f"float32 cannot tell apart the values of {len(lost)} "
            f"feature{'s' * (len(lost) != 1)}, such as {names[first] if names else first} "
            f"({low[first]:.9g} to {high[first]:.9g}); {remedy} or use dtype='float64'.",
            stacklevel=4,
        )


def note_other_range(
    scaling: Scaling, X: NDArray[Any], names: Sequence[str] | None, log: Log
) -> None:
    """Say where most values of some rows, or all of a column, are outside the range fitted to.

    Also where most values are far smaller.
    """
    low, high = scaling.low, scaling.high
    if low is None or high is None or not len(X):
        return
    count = min(SOME_ROWS, max(16, RANGE_ENTRIES // len(low)))
    if sparse_rows(X) is None and _are_in_range(_some_rows(X, count), low, high):
        return
    some, columns, values = _nonzero(X, count)
    tells = (low[columns] < high[columns]) & np.isfinite(values)  # others are refused later
    columns, values = columns[tells], values[tells]
    largest, small = np.maximum(np.abs(low), np.abs(high)), SMALL_PART
    margin = RANGE_MARGIN * (high - low)[columns]
    if sparse_rows(X) is not None:  # few rows say what the range of a column is
        margin, small = SPARSE_MARGIN * largest[columns], SPARSE_PART
    outside = (values < low[columns] - margin) | (values > high[columns] + margin)
    known, reached = len(values), np.zeros(len(low))
    np.maximum.at(reached, columns, np.abs(values))
    seen = np.flatnonzero(np.bincount(columns, minlength=len(low)))
    if known >= 4 and np.count_nonzero(outside) > known / 2:
        at = int(np.argmax(np.bincount(columns[outside])))
    elif known >= 16 and np.median(reached[seen] / largest[seen]) <= small:
        at = int(seen[np.argmax(largest[seen])])
    elif len(some) >= 4 and sparse_rows(X) is None:
        # One column in other units: all of its rows are further off than its range is wide.
        width = (high - low)[columns]
        beyond = (values < low[columns] - width) | (values > high[columns] + width)
        wholly = np.bincount(columns[beyond], minlength=len(low)) == len(some)
        if not wholly.any():
            return
        at = int(np.argmax(wholly))
    else:
        return
    feature = f"{names[at]!r}" if names else f"{at}"
    told = some[:, at] if sparse_rows(some) is None else some.take_columns([at]).toarray()
    told = told[np.isfinite(told)]
    log(
        f"the rows are not in the range of the training rows: feature {printable(feature)} is "
        f"{told.min():.4g} to {told.max():.4g}, but was {low[at]:.4g} to "
        f"{high[at]:.4g}; give rows in the units that the model was trained on."
    )


def _are_in_range(
    some: NDArray[np.generic], low: NDArray[np.floating], high: NDArray[np.floating]
) -> bool:
    """Whether rows are where `note_other_range` says nothing, by the extremes of each column."""
    least, most = (np.asarray(of, np.float64) for of in _extremes(some))
    tells, margin = low < high, RANGE_MARGIN * (high - low)
    inside = (least >= low - margin) & (most <= high + margin)
    if not inside[tells].all():
        return False
    reached = np.maximum(np.abs(least), np.abs(most))
    seen = tells & (reached > 0.0)
    parts = reached[seen] / np.maximum(np.abs(low), np.abs(high))[seen]
    return not len(parts) or bool(np.median(parts) > SMALL_PART)


def _check_size(
    name: str,
    low: NDArray[np.floating],
    high: NDArray[np.floating],
    scale: NDArray[np.float64],
) -> None:
    """Refuse features whose squares may overflow or vanish, by the largest of them, scaled.

    Where all scales are one, (1,), no array (D,) is made.
    """
    if len(scale) == 1:
        largest = max(-float(low.min()), float(high.max()), 0.0) * float(scale[0])
    else:
        largest = float((np.maximum(-low, high) * scale).max(initial=0.0))
    if largest > MAX_SIZE or 0.0 < largest < 1.0 / MAX_SIZE:
        at = int(np.argmax(np.maximum(-low, high) * scale))
        raise SettingsError(
            f"with scaling={name!r} the largest feature is {largest:.3g} (feature {at}), too far "
            "from 1 to compute with; use scaling='standardize'."
        )


def _are_one_number(
    low: NDArray[Any], high: NDArray[Any], dtype: np.dtype[Any]
) -> NDArray[np.bool_]:
    """Whether features are constant up to rounding, by their least and largest values."""
    equal = EQUAL_FLOAT32 if dtype == np.float32 else EQUAL
    return np.asarray(high / 2 - low / 2 <= equal / 2 * np.maximum(np.abs(low), np.abs(high)))


def _warn_of_rounded(dtype: np.dtype[Any], deviation: NDArray[np.float64], span: _Span) -> None:
    """Warn of features that float32 holds too few values of to be told from a constant."""
    rounded = np.flatnonzero((deviation == 0.0) & (span.low < span.high))
    if dtype == np.float32 and len(rounded):
        at, several = rounded[0], len(rounded) > 1
        words = "s of float32 differ" if several else " of float32 differs"
        warnings.warn(
            f"{len(rounded)} feature{words} by no more than rounding, such as {at} "
            f"({span.low[at]:.9g} to {span.high[at]:.9g}), and count{'' if several else 's'} as "
            "constant; where the differences mean something, give float64, or subtract their mean "
            "before rounding.",
            stacklevel=4,
        )


def _nonzero(X: Any, count: int) -> tuple[Any, NDArray[Any], NDArray[np.float64]]:
    """Some rows, and the column and value of each number in them that is not 0."""
    if sparse_rows(X) is not None:
        some = _some_rows(X)
        found = some.to_scipy()  # type: ignore[attr-defined]
        return some, np.asarray(found.indices), np.asarray(found.data, np.float64)
    some = np.asarray(_some_rows(X, count), np.float64)
    places: tuple[NDArray[Any], ...] = np.nonzero(some)
    return some, places[1], some[places]


def _some_rows(X: NDArray[np.generic], count: int = SOME_ROWS) -> NDArray[np.generic]:
    """About so many rows, from all over X."""
    stored = stored_rows(X)
    return X[:: -(-len(X) // count)] if stored is None else stored[stored.spread(count)]


class _Span:
    """Lowest and highest value of each feature in the rows that were added, of a weight above 0."""

    def __init__(self, features: int) -> None:
        self.low, self.high = np.full(features, np.inf), np.full(features, -np.inf)

    def add(self, B: NDArray[np.generic], weights: NDArray[np.float64] | None) -> None:
        """Count these rows."""
        counted = B if weights is None else B[weights > 0.0]
        if len(counted):
            low, high = _extremes(counted)
            np.minimum(self.low, low, out=self.low)
            np.maximum(self.high, high, out=self.high)


def _extremes(B: NDArray[np.generic]) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """The lowest and the highest value of each column; of many rows several are compared as one."""
    whole = len(B) // SIDE_BY_SIDE * SIDE_BY_SIDE
    if whole > SIDE_BY_SIDE and B.flags.c_contiguous:
        ends = _extremes_of(B[:whole].reshape(-1, SIDE_BY_SIDE * B.shape[1]))
        B = np.concatenate([*(end.reshape(SIDE_BY_SIDE, -1) for end in ends), B[whole:]])
    return _extremes_of(B)


def _extremes_of(B: NDArray[np.generic]) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """The same of a few rows, or of long ones.

    NumPy compares float16 one by one, and integers many at a time: bits of positive numbers are in
    order as signed integers, those of negative ones in the opposite order as unsigned integers.
    """
    if B.dtype != np.float16:
        return B.min(axis=0), B.max(axis=0)
    signed, unsigned = B.view(np.int16), B.view(np.uint16)
    high, low = signed.max(axis=0), unsigned.max(axis=0).view(np.int16)
    if (high < 0).any():  # a column of negative numbers alone
        high = np.where(high < 0, unsigned.min(axis=0).view(np.int16), high)
    if (low >= 0).any():
        low = np.where(low >= 0, signed.min(axis=0), low)
    return low.view(np.float16), high.view(np.float16)


def _mean_and_deviation(
    X: NDArray[np.generic], weights: NDArray[np.float64] | None, span: _Span
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each feature; a deviation of 0 where it is constant up to rounding."""
    mean, variance = _moments(X, weights, span=span)
    deviation = np.sqrt(variance)
    with np.errstate(invalid="ignore"):
        # Variances below this, and those that overflow, are taken again of values brought near 1.
        clear = (variance > 1e-280) & (variance < np.inf)
        rounding = max(X.shape[0] * EPS, EQUAL_FLOAT32 if X.dtype == np.float32 else EQUAL)
        suspect = np.flatnonzero(~(clear & (deviation > rounding * np.abs(mean))))
    if len(suspect):
        low, high = span.low[suspect], span.high[suspect]
        largest = np.maximum(np.abs(low), np.abs(high))
        constant = _are_one_number(low, high, X.dtype)
        exponent = np.frexp(largest)[1]
        of_some, variances = _moments(X, weights, suspect, exponent)
        mean[suspect] = np.where(constant, low, np.ldexp(of_some, exponent))
        deviation[suspect] = np.where(constant, 0.0, np.ldexp(np.sqrt(variances), exponent))
    return mean, deviation


def _moments(
    X: NDArray[np.generic],
    weights: NDArray[np.float64] | None,
    columns: NDArray[np.integer] | slice = slice(None),
    exponent: NDArray[np.integer] | None = None,
    span: _Span | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of columns, times 2 to the −exponent, in two passes; one fills `span`."""

    def blocks(span: _Span | None = None) -> Iterator[tuple[slice, NDArray[np.generic]]]:
        for place, B in _blocks(X):
            if span is not None:
                span.add(B, None if weights is None else weights[place])
            yield (
                place,
                B if exponent is None else np.ldexp(B[:, columns].astype(np.float64), -exponent),
            )

    with np.errstate(over="ignore", invalid="ignore"):
        if weights is None:
            mean = sum(B.sum(axis=0, dtype=np.float64) for _, B in blocks(span)) / X.shape[0]
            squares = sum(((B - mean) ** 2).sum(axis=0) for _, B in blocks()) / X.shape[0]
        else:
            # Not by matrix products, whose order of sums is the machine's.
            part = (weights / weights.sum())[:, None]
            mean = sum((part[place] * B).sum(axis=0) for place, B in blocks(span))
            squares = sum((part[place] * (B - mean) ** 2).sum(axis=0) for place, B in blocks())
    return np.asarray(mean), np.asarray(squares)


def _blocks(X: NDArray[np.generic]) -> Iterator[tuple[slice, NDArray[np.generic]]]:
    """The rows in blocks of BLOCK_ROWS; those in files are read ahead, many blocks at a time."""
    stored = stored_rows(X)
    each = BLOCK_ROWS if stored is None else min(BLOCK_ROWS, stored.tile_rows)
    tiles = iter_tiles(stored, batch=each) if stored is not None else ()
    for first, piece in [(0, X)] if stored is None else ((t.start, rows) for t, rows in tiles):
        for start in range(0, len(piece), each):
            block = piece[start : start + each]
            yield slice(first + start, first + start + len(block)), block
