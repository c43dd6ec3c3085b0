"""Which arguments each solver takes: one that it would ignore is refused.

An argument counts as given when it differs from its default, since scikit-learn's clones and
searches set every argument.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, get_args

import numpy as np

from onelayer.errors import SettingsError
from onelayer.plan import AUTO
from onelayer.ranges import require_number, require_whole
from onelayer.scaling import ScalingName

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
