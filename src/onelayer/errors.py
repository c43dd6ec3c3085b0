"""The errors that onelayer raises on purpose, and the checks of settings that raise them.

A message is one sentence: what is wrong, where, and what to do about it. The command line prints it
and ends with exit code 1. Anything else that escapes is a bug.
"""

from __future__ import annotations

import math
from numbers import Integral, Real


class OnelayerError(Exception):
    """Base of all errors that onelayer raises on purpose."""


class DataError(OnelayerError):
    """Rows, labels or a data file are not valid."""


class SourceError(DataError):
    """No source could provide the data set."""


class SettingsError(OnelayerError, ValueError):
    """A setting has an unknown name or a value outside its range."""


class SaveError(OnelayerError):
    """A result, model or export could not be written or read back."""


class LearningRateWarning(UserWarning):
    """A learning rate exceeds the guaranteed-stable limit on the training rows."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written or is damaged; training continues."""


def is_number(value: object, kind: type = Real) -> bool:
    """Whether a value is a number of Python or NumPy, and no boolean.

    Example:
        >>> is_number(1.0), is_number(True), is_number(2.5, Integral)
        (True, False, False)
    """
    return isinstance(value, kind) and not isinstance(value, bool)


def require_number(
    name: str,
    value: object,
    expected: str,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Raise `SettingsError` unless `value` is a finite number with above < value < below, ≥ least.

    Example:
        >>> require_number("l2 (λ)", 0.1, "a finite number, 0 or above", least=0)
    """
    number = float(value) if is_number(value, Real) else math.nan  # type: ignore[arg-type]
    if not (math.isfinite(number) and number > above and least <= number < below):
        raise SettingsError(f"{name} must be {expected}, but {value!r} was given.")


def require_whole(name: str, value: object, least: int) -> None:
    """Raise `SettingsError` unless `value` is an integer ≥ `least`.

    Example:
        >>> require_whole("seeds", 8, 1)
    """
    if not is_number(value, Integral) or value < least:  # type: ignore[operator]
        raise SettingsError(
            f"{name} must be a whole number, {least} or above, but {value!r} was given."
        )
