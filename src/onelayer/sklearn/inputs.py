"""Inputs of the estimators: rows as stored, labels of any type, weights, arguments.

The engine reads rows of uint8, float16, float32 and float64 in place; nothing here copies them.
Other number types and data frames become one array first, and features that are not contiguous in
memory (Fortran order) are copied once. Sparse arrays and matrices of SciPy become `SparseRows`: CSR
of float32 and float64 is read in place, other formats are converted once.

An argument that the solver would ignore is refused. It counts as given when it differs from its
default, since scikit-learn's clones and searches set every argument.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from onelayer.data.formats.base import to_array
from onelayer.data.rows import Rows
from onelayer.data.scaling import Scaling, check_scaling, fit_scaling
from onelayer.data.sparse import SparseRows, is_sparse
from onelayer.data.streaming import first_not_finite
from onelayer.data.weights import check_weights, near_one
from onelayer.errors import (
    DataError,
    SettingsError,
    plain,
    require_bool,
    require_choice,
    require_number,
    require_whole,
)

Float64 = NDArray[np.float64]

# The first is what all other types become.
STORED_TYPES = [np.float64, np.float32, np.float16, np.uint8]

SOLVERS = ("optimum", "minibatch")
DTYPES = ("auto", "float32", "float64")

USED_BY = {
    "optimum": ("tol", "max_passes", "penalty_factors"),
    "minibatch": ("learning_rate", "batch_size", "epochs", "dtype", "early_stopping"),
}

_AS_STORED = {"dtype": STORED_TYPES, "accept_sparse": "csr", "ensure_all_finite": False}


@dataclass(frozen=True, eq=False)
class Labelled:
    """Checked rows with the number of each row's class."""

    X: NDArray[np.generic]  # features as stored, (N, D)
    codes: NDArray[np.int64]  # class of each row, 0 … K − 1
    classes: NDArray[Any]  # the K labels, sorted
    weights: Float64 | None  # row weights times class weights, (N,); None is one each
    own_weights: Float64 | None  # row weights alone, likewise
    members: NDArray[np.int64] | None  # rows of positive weight, ascending; None is all rows
    intercept: bool = True

    def rows(self, scaling: Scaling) -> Rows:
        """The rows as engines read them."""
        rows = Rows(self.X, self.codes, scaling.scale, scaling.offset, self.members, self.weights)
        return rows.with_intercept(self.intercept)

    def scaling(self, name: str, members: NDArray[np.int64] | None = None) -> Scaling:
        """The scaling of that name, fitted to the rows of positive weight, or to these of them."""
        if name == "unit" and self.X.dtype != np.uint8:
            raise SettingsError(
                f"scaling='unit' divides by the largest value a feature can have, which is known "
                f"for uint8 only, but X is {self.X.dtype}; take 'standardize' or 'none'."
            )
        weights, chosen = self.weights, self.members if members is None else members
        if chosen is not None:
            weights = np.zeros(len(self.X))
            weights[chosen] = 1.0 if self.weights is None else self.weights[chosen]
        max_value = 255.0 if self.X.dtype == np.uint8 else 1.0
        return fit_scaling(name, self.X, max_value, weights, centre=self.intercept)


def check_rows(estimator: Any, X: Any) -> NDArray[np.generic]:
    """Check rows to predict as scikit-learn does, but without its copy."""
    return _readable(validate_data(estimator, as_given(X), reset=False, **_AS_STORED))


def check_labelled(
    estimator: Any, X: Any, y: Any, *, reset: bool = True
) -> tuple[NDArray[np.generic], NDArray[Any]]:
    """Check rows and labels to learn from; `reset` learns n_features_in_ and feature_names_in_."""
    y = to_array(y, "y") if hasattr(y, "detach") or np.ma.is_masked(y) else y
    X, y = validate_data(estimator, as_given(X), y, reset=reset, **_AS_STORED)
    check_classification_targets(y)
    return _readable(X), y


def label_rows(
    X: NDArray[np.generic],
    y: NDArray[Any],
    sample_weight: Any,
    class_weight: Any,
    classes: NDArray[Any] | None = None,
    *,
    intercept: bool = True,
) -> Labelled:
    """Number the classes of rows and gather the weights.

    A row of weight 0 counts as absent, but its class is one of the classes, as in scikit-learn.
    """
    weights = check_sample_weight(sample_weight, len(X))
    members, whole = None, classes is None
    if classes is None:
        weights = None if weights is None else near_one(weights)
        classes = np.unique(y)
        if len(classes) < 2:
            raise ValueError(
                f"a classifier needs rows of at least 2 classes, but y holds 1 class, "
                f"{classes[0]}; give rows of another class."
            )
    elif not (known := np.isin(y, classes)).all():
        raise ValueError(
            "every label must be among the classes of the first call, but "
            f"{y[int(np.argmin(known))]} is not."
        )
    codes = np.searchsorted(classes, y).astype(np.int64)
    own, weights = weights, times_class_weights(weights, class_weight, classes, codes)
    if whole and weights is not None:
        weights = near_one(weights)
        members = None if weights.all() else np.flatnonzero(weights)
    return Labelled(X, codes, classes, weights, own, members, intercept)


def check_sample_weight(sample_weight: Any, rows: int) -> Float64 | None:
    """The weights of the rows, (N,), of which a single one is that of each; None is one each."""
    if sample_weight is None:
        return None
    given = to_array(sample_weight, "sample_weight")
    given = given if given.ndim else np.full(rows, given)
    return check_weights(given, rows, "sample_weight", ValueError)


def times_class_weights(
    weights: Float64 | None,
    class_weight: Any,
    classes: NDArray[Any],
    codes: NDArray[np.int64],
) -> Float64 | None:
    """Row weights times the weights of their classes; "balanced" is Σ w / (K Σ w of the class).

    A class that weighs 0 is a class without rows.
    """
    if class_weight is None:
        return weights
    if isinstance(class_weight, str) and class_weight == "balanced":
        counted = np.ones(len(codes)) if weights is None else weights
        totals = np.bincount(codes, weights=counted, minlength=len(classes))
        present = totals > 0.0
        of_class = np.zeros(len(classes))
        of_class[present] = counted.sum() / (len(classes) * totals[present])
    elif not isinstance(class_weight, dict):
        raise SettingsError(
            "class_weight must be None, 'balanced' or a dict of labels and weights, but "
            f"{class_weight!r} was given."
        )
    else:
        of_class = compute_class_weight(class_weight, classes=classes, y=classes)
        if not (np.isfinite(of_class).all() and (of_class >= 0.0).all()):
            raise SettingsError(
                f"the weights in class_weight must be finite and 0 or above, but {class_weight!r} "
                "was given; 0 leaves the rows of a class out."
            )
    found = np.asarray(of_class[codes] * (1.0 if weights is None else weights), np.float64)
    if not found.any():
        raise SettingsError(
            "the weights of rows times those of classes are all 0; give some class with rows a "
            "weight above 0."
        )
    return found


def as_given(X: Any) -> Any:
    """X for scikit-learn's check, which alone would drop a mask and take times for numbers."""
    if hasattr(X, "detach") or np.ma.is_masked(X) or _is_bfloat16(X):
        return to_array(X, "X")
    names = [name for name in getattr(X, "columns", ()) if isinstance(name, str)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"X has two columns {twice!r}; give each column its own name.")
    if isinstance(X, SparseRows):  # those of a `Dataset`
        return X.to_scipy()
    if is_sparse(X):
        return X
    for name, kind in _column_types(X):  # Arrow and polars hold times as numbers
        if _TIMES.match(kind):
            raise ValueError(
                f"X, column {name!r}, holds times, {kind}; give numbers, such as days since the "
                "first of them."
            )
    try:
        first = np.asarray(X[:1])
    except Exception:  # its own check says what is wrong
        return X
    values = first.flat if first.dtype == object else ()
    if first.dtype.kind in "mM" or any(isinstance(v, date | timedelta) for v in values):
        raise ValueError("X holds times; give numbers, such as days since the first of them.")
    if first.dtype.names is not None:
        raise ValueError(
            f"X has named fields, {', '.join(first.dtype.names)}; give an array (N, D) of numbers, "
            "or a data frame."
        )
    return X


# What the types of columns of times are called: timestamp[us], Datetime(…), datetime64[ns, UTC].
_TIMES = re.compile("date|time|duration|period", re.IGNORECASE)


def _column_types(X: Any) -> list[tuple[Any, str]]:
    """The name and the type of each column of a data frame; nothing of an array."""
    schema: Any = getattr(X, "schema", None)
    if hasattr(schema, "types"):  # of pyarrow
        return [(name, str(kind)) for name, kind in zip(schema.names, schema.types, strict=True)]
    if not hasattr(X, "columns") or not hasattr(X, "dtypes"):
        return []
    return [(name, str(kind)) for name, kind in zip(X.columns, X.dtypes, strict=True)]


def _is_bfloat16(X: Any) -> bool:
    return getattr(getattr(X, "dtype", None), "name", "") == "bfloat16"


def _readable(X: Any) -> NDArray[np.generic]:
    """Finite rows with contiguous features."""
    if is_sparse(X):
        try:
            return SparseRows.of(X)  # type: ignore[return-value]
        except DataError as error:
            raise ValueError(f"Input {error}") from error
    place = first_not_finite(X)
    if place is not None:
        kind = "NaN" if np.isnan(X[place]) else "infinity"
        raise ValueError(
            f"Input X contains {kind} at row {place[0]}, column {place[1]}, but every feature must "
            "be a finite number; drop the row or fill the value."
        )
    contiguous = X.shape[1] == 1 or X.strides[1] == X.itemsize
    # A field of packed records lies between the places that numbers of its type have in memory.
    aligned = X.flags.aligned and X.strides[0] % X.itemsize == 0
    return X if contiguous and aligned else np.require(X, requirements=["C", "A"])


def with_column(X: SparseRows, column: NDArray[Any]) -> Any:
    """Sparse rows with one more column, (N, 1), behind the others, copied."""
    return SparseRows.of(hstack([X.to_scipy(), csr_array(column)], "csr"))


def check_options(estimator: Any) -> dict[str, Any]:
    """The arguments of a SoftmaxClassifier as plain values, checked where `Run` does not."""
    options = check_shared_options(estimator)
    require_choice("solver", options["solver"], SOLVERS)
    require_choice("dtype", options["dtype"], DTYPES)
    for name in ("warm_start", "early_stopping"):
        require_bool(name, options[name])
    require_number("l2 (λ)", options["l2"], "a finite number, 0 or above", least=0)
    require_whole("n_iter_no_change", options["n_iter_no_change"], 1)
    fraction, expected = options["validation_fraction"], "a number between 0 and 1"
    require_number("validation_fraction", fraction, expected, above=0, below=1)
    _refuse_ignored(estimator, options)
    return options


def check_shared_options(estimator: Any) -> dict[str, Any]:
    """The arguments of either classifier as plain Python values, those of both checked."""
    options = {name: plain(value) for name, value in estimator.get_params(deep=False).items()}
    require_number("tol", options["tol"], "a finite number above 0", above=0)
    require_whole("max_passes", options["max_passes"], 1)
    check_scaling(options["scaling"])
    require_bool("fit_intercept", options["fit_intercept"])
    if options["threads"] is not None:
        require_whole("threads", options["threads"], 1)
    return options


@cache
def _defaults(estimator: type) -> dict[str, Any]:
    """The default of each argument; Python takes 30 µs to find them."""
    return {name: of.default for name, of in inspect.signature(estimator).parameters.items()}


def _refuse_ignored(estimator: Any, options: Mapping[str, Any]) -> None:
    defaults = _defaults(estimator.__class__)
    [other] = set(USED_BY) - {options["solver"]}
    ignored = dict.fromkeys(USED_BY[other], f"solver={options['solver']!r}")
    if not options["early_stopping"]:
        ignored["validation_fraction"] = "early_stopping=False"
    for name, setting in ignored.items():
        default = defaults[name]
        if options[name] != default:
            raise SettingsError(
                f"{name}={options[name]!r} would be ignored with {setting}; "
                f"leave it at {default!r}."
            )
