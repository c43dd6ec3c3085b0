"""What comes into an estimator: rows as they are stored, labels of any type, weights.

Rows of uint8, float16, float32 and float64 are read in place by the engine; nothing here copies
them. Other number types and data frames become one array first, and features that do not lie side
by side (Fortran order) are copied once, as rows.

Which arguments each solver takes: one that it would ignore is refused.

An argument counts as given when it differs from its default, since scikit-learn's clones and
searches set every argument.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from onelayer.data.rows import Rows
from onelayer.data.scaling import Scaling, ScalingName, fit_scaling
from onelayer.errors import SettingsError, require_number, require_whole
from onelayer.training.run import AUTO

Float64 = NDArray[np.float64]

# The first is what all other types become.
STORED_TYPES = [np.float64, np.float32, np.float16, np.uint8]

LARGEST_BYTE = 255.0

_BLOCK_BYTES = 1 << 20

_AS_STORED = {"dtype": STORED_TYPES, "ensure_all_finite": False}


@dataclass(frozen=True, eq=False)
class Labelled:
    """Checked rows with the number of each row's class.

    Attributes:
        X: features as stored, shape (N, D).
        codes: class of each row, shape (N,), 0 … K − 1; 0 where a row does not count.
        classes: the K labels, sorted.
        weights: of the rows, shape (N,), class weights in them; None is one each.
        members: rows that count, ascending; None is all of them.
    """

    X: NDArray[np.generic]
    codes: NDArray[np.int64]
    classes: NDArray[Any]
    weights: Float64 | None
    members: NDArray[np.int64] | None

    def rows(self, scaling: Scaling) -> Rows:
        """The rows as engines read them."""
        return Rows(self.X, self.codes, scaling.scale, scaling.offset, self.members, self.weights)

    def scaling(self, name: str, members: NDArray[np.int64] | None = None) -> Scaling:
        """The scaling of that name, fitted on the rows that count, or on these of them alone."""
        if name == "unit" and self.X.dtype != np.uint8:
            raise SettingsError(
                f"scaling='unit' divides by the largest value a feature can have, which is known "
                f"for uint8 only, but X is {self.X.dtype}; take 'standardize' or 'none'."
            )
        weights, chosen = self.weights, self.members if members is None else members
        if chosen is not None:
            weights = np.zeros(len(self.X))
            weights[chosen] = 1.0 if self.weights is None else self.weights[chosen]
        return fit_scaling(name, self.X, LARGEST_BYTE, weights)


def check_rows(estimator: Any, X: Any) -> NDArray[np.generic]:
    """Check rows to predict, as scikit-learn does but without its copy.

    Args:
        estimator: fitted; the rows must have its features.
        X: rows, shape (N, D).

    Returns:
        X as stored.

    Raises:
        ValueError: for rows that are not what they should be.
        TypeError: for a sparse matrix.
    """
    return _readable(validate_data(estimator, X, reset=False, **_AS_STORED))


def check_labelled(
    estimator: Any, X: Any, y: Any, *, reset: bool = True
) -> tuple[NDArray[np.generic], NDArray[Any]]:
    """Check rows and labels to learn from.

    Args:
        estimator: learns n_features_in_ and feature_names_in_, or is held to them.
        X: rows, shape (N, D).
        y: labels, shape (N,).
        reset: whether to learn them.

    Returns:
        X as stored, and y as an array.

    Raises:
        ValueError: for rows or labels that are not what they should be.
        TypeError: for a sparse matrix.
    """
    X, y = validate_data(estimator, X, y, reset=reset, **_AS_STORED)
    check_classification_targets(y)
    return _readable(X), y


def label_rows(
    X: NDArray[np.generic], y: NDArray[Any], sample_weight: Any, class_weight: Any
) -> Labelled:
    """Number the classes and gather the weights: w = sample_weight · class_weight.

    A row of weight 0 is as good as absent, so a class that has no others is not learned.

    Args:
        X: checked rows.
        y: checked labels.
        sample_weight: None, a number, or one for each row, ≥ 0.
        class_weight: None, "balanced" (Σ w / (K Σ w of the class)) or a dict {label: weight}.

    Returns:
        The labelled rows.

    Raises:
        ValueError: where fewer than two classes are left, or for weights that cannot be.
    """
    weights = members = None
    if sample_weight is not None:
        weights = check_weights(sample_weight, len(X))
        if not weights.all():
            members = np.flatnonzero(weights)
    classes, found = np.unique(y if members is None else y[members], return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            "a classifier needs rows of at least 2 classes, but the rows with a positive weight "
            f"hold {len(classes)} class; give rows of another class."
        )
    codes = np.zeros(len(y), np.int64)
    codes[slice(None) if members is None else members] = found
    of_class = class_weights(class_weight, classes, codes, _where_counted(weights, len(y)))
    if of_class is not None:
        weights = of_class[codes] * (1.0 if weights is None else weights)
    return Labelled(X, codes, classes, weights, members)


def label_part(
    X: NDArray[np.generic],
    y: NDArray[Any],
    classes: NDArray[Any],
    sample_weight: Any,
    class_weight: Any,
) -> Labelled:
    """Number the classes of a part of the rows, which need not hold all of them.

    Args:
        X: checked rows.
        y: checked labels.
        classes: all labels, sorted.
        sample_weight: None, a number, or one for each row, ≥ 0.
        class_weight: None or a dict {label: weight}.

    Returns:
        The labelled rows.

    Raises:
        ValueError: for a label that is no class, or weights that cannot be.
    """
    known = np.isin(y, classes)
    if not known.all():
        stranger = y[int(np.argmin(known))]
        raise ValueError(
            f"every label must be among the classes of the first call, but {stranger} is not."
        )
    codes = np.searchsorted(classes, y).astype(np.int64)
    weights = None if sample_weight is None else check_weights(sample_weight, len(X))
    of_class = class_weights(class_weight, classes, codes, _where_counted(weights, len(y)))
    if of_class is not None:
        weights = of_class[codes] * (1.0 if weights is None else weights)
    return Labelled(X, codes, classes, weights, None)


def check_weights(sample_weight: Any, rows: int) -> Float64:
    """The weights of rows as float64.

    Args:
        sample_weight: a number, or one for each row, finite and ≥ 0.
        rows: N.

    Returns:
        Weights, shape (N,).

    Raises:
        ValueError: for weights that cannot be.

    Example:
        >>> check_weights([1, 2], rows=2)
        array([1., 2.])
    """
    weights = np.asarray(sample_weight, np.float64)
    if weights.ndim == 0:
        weights = np.full(rows, float(weights))
    if weights.shape != (rows,):
        raise ValueError(
            f"sample_weight must hold one number for each of the {rows} rows, but its shape is "
            f"{weights.shape}."
        )
    wrong = ~(np.isfinite(weights) & (weights >= 0.0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"sample_weight must be finite and 0 or above, but row {row} has {weights[row]}."
        )
    if not weights.any():
        raise ValueError("sample_weight must be above 0 for some rows, but all of it is zero.")
    return weights


def class_weights(
    class_weight: Any, classes: NDArray[Any], codes: NDArray[np.int64], weights: Float64
) -> Float64 | None:
    """The weight of each class, shape (K,), or None where all weigh 1.

    Args:
        class_weight: None, "balanced" or a dict.
        classes: the K labels.
        codes: class of each row.
        weights: sample weights, shape (N,).

    Returns:
        Weights, "balanced" by Σ w / (K Σ w of the class).

    Raises:
        ValueError: for anything else, a label that is no class, or a weight that is not > 0.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str) and class_weight == "balanced":
        of_class = np.bincount(codes, weights=weights, minlength=len(classes))
        return np.asarray(weights.sum() / (len(classes) * of_class))
    if not isinstance(class_weight, dict):
        raise SettingsError(
            "class_weight must be None, 'balanced' or a dict of labels and weights, but "
            f"{class_weight!r} was given."
        )
    of_class = compute_class_weight(class_weight, classes=classes, y=classes)
    if not (np.isfinite(of_class).all() and (of_class > 0.0).all()):
        raise SettingsError(
            f"the weights in class_weight must be finite and above 0, but {class_weight!r} was "
            "given; leave a class out by leaving out its rows."
        )
    return np.asarray(of_class, np.float64)


def _where_counted(weights: Float64 | None, rows: int) -> Float64:
    return np.ones(rows) if weights is None else weights


def _readable(X: NDArray[np.generic]) -> NDArray[np.generic]:
    """Finite rows whose features lie side by side."""
    _require_finite(X)
    side_by_side = X.shape[1] == 1 or X.strides[1] == X.itemsize
    return X if side_by_side else np.ascontiguousarray(X)


def _require_finite(X: NDArray[np.generic]) -> None:
    """Refuse a NaN or an infinity, block by block: a mask of all of X would be half a copy."""
    if X.dtype.kind != "f":
        return
    step = max(1, _BLOCK_BYTES // (X.shape[1] * X.itemsize))
    for start in range(0, len(X), step):
        finite = np.isfinite(X[start : start + step])
        if not finite.all():
            row, column = np.unravel_index(int(np.argmin(finite)), finite.shape)
            kind = "NaN" if np.isnan(X[start + row, column]) else "infinity"
            raise ValueError(
                f"Input X contains {kind} at row {start + row}, column {column}, but every feature "
                "must be a finite number; drop the row or fill the value."
            )


SOLVERS = ("optimum", "minibatch")

DTYPES = ("auto", "float32", "float64")

_TAKEN_BY = {
    "optimum": ("tol", "max_passes"),
    "minibatch": ("learning_rate", "batch_size", "epochs", "dtype", "early_stopping"),
}


def check_options(estimator: Any) -> dict[str, Any]:
    """Check every argument of a SoftmaxClassifier, each in one sentence.

    Args:
        estimator: the classifier.

    Returns:
        Its arguments as plain Python values: NumPy's numbers become Python's.

    Raises:
        SettingsError: for a value outside its range, or one that the solver would ignore.
    """
    options = {name: _plain(value) for name, value in estimator.get_params(deep=False).items()}
    _one_of("solver", options["solver"], SOLVERS)
    _one_of("dtype", options["dtype"], DTYPES)
    _check_shared(options)
    require_number("tol", options["tol"], "a finite number above 0", above=0)
    require_whole("max_passes", options["max_passes"], 1)
    if options["learning_rate"] != AUTO:
        expected = 'a finite number above 0 or "auto"'
        require_number("learning_rate", options["learning_rate"], expected, above=0)
    for name in ("batch_size", "epochs", "n_iter_no_change"):
        require_whole(name, options[name], 1)
    fraction = options["validation_fraction"]
    require_number("validation_fraction", fraction, "a number between 0 and 1", above=0)
    if fraction >= 1.0:
        raise SettingsError(
            f"validation_fraction must be a number between 0 and 1, but {fraction!r} was given."
        )
    _refuse_ignored(estimator, options)
    return options


def check_path_options(estimator: Any) -> dict[str, Any]:
    """Check the arguments that SoftmaxClassifierCV shares with SoftmaxClassifier.

    Args:
        estimator: the classifier.

    Returns:
        Its arguments as plain Python values.

    Raises:
        SettingsError: for a value outside its range.
    """
    options = {name: _plain(value) for name, value in estimator.get_params(deep=False).items()}
    _check_shared(options)
    require_number("tol", options["tol"], "a finite number above 0", above=0)
    require_whole("max_passes", options["max_passes"], 1)
    return options


def _check_shared(options: Mapping[str, Any]) -> None:
    if "l2" in options:
        require_number("l2 (λ)", options["l2"], "a finite number, 0 or above", least=0)
    _one_of("scaling", options["scaling"], get_args(ScalingName))
    if not isinstance(options.get("warm_start", False), bool):
        given = options["warm_start"]
        raise SettingsError(f"warm_start must be True or False, but {given!r} was given.")
    if not isinstance(options.get("early_stopping", False), bool):
        given = options["early_stopping"]
        raise SettingsError(f"early_stopping must be True or False, but {given!r} was given.")
    if options["threads"] is not None:
        require_whole("threads", options["threads"], 1)


def _refuse_ignored(estimator: Any, options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(type(estimator)).parameters
    ignored = [(s, name) for s, names in _TAKEN_BY.items() for name in names]
    unused = {
        name: f"solver={options['solver']!r}" for s, name in ignored if s != options["solver"]
    }
    if not options["early_stopping"]:
        unused["validation_fraction"] = "early_stopping=False"
    for name, setting in unused.items():
        default = parameters[name].default
        if options[name] != default:
            raise SettingsError(
                f"{name}={options[name]!r} would be ignored with {setting}; "
                f"leave it at {default!r}."
            )


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if not (isinstance(value, str) and value in choices):
        words = " or ".join(map(repr, choices))
        raise SettingsError(f"{name} must be {words}, but {value!r} was given.")


def _plain(value: Any) -> Any:
    """NumPy's numbers, as searches over np.logspace hand them, become Python's."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value
