"""The errors onelayer raises on purpose: each message is one sentence a user can act on.

A message says what was expected, what was got, where, and what to do about it. The command line
prints it and ends with exit code 1; anything else that escapes is a bug.

Numbers outside their range are refused, in a sentence that names the setting.
"""

from __future__ import annotations

import math


class OnelayerError(Exception):
    """Base of all errors that onelayer raises on purpose."""


class DataError(OnelayerError):
    """Rows, labels or files that are not what they should be."""


class SourceError(DataError):
    """A data set could not be had from any of its sources."""


class SettingsError(OnelayerError, ValueError):
    """A setting of a run or a command outside its range, or of an unknown name."""


class StepLengthWarning(UserWarning):
    """A learning rate above what is guaranteed to be stable on the training rows."""


class CheckpointWarning(UserWarning):
    """A checkpoint that could not be written or is damaged; training goes on all the same."""


class SaveError(OnelayerError):
    """A result could not be written or read back."""


class ExportError(OnelayerError):
    """A model could not be handed to another tool."""


def require_number(
    name: str,
    value: object,
    expected: str,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Refuse what is no finite number in the range, in a sentence that names the setting.

    Args:
        name: of the setting.
        value: what was given.
        expected: what it must be, in words.
        above: the number must be greater.
        least: the number must be that or greater.
        below: the number must be smaller.

    Raises:
        SettingsError: when it is not.

    Example:
        >>> require_number("l2 (λ)", 0.1, "a finite number, 0 or above", least=0)
    """
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not (good and value > above and least <= value < below):  # type: ignore[operator]
        raise SettingsError(f"{name} must be {expected}, but {value!r} was given.")


def require_whole(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number of at least `least`, in a sentence that names the setting.

    Args:
        name: of the setting.
        value: what was given.
        least: the smallest it may be.

    Raises:
        SettingsError: when it is not.

    Example:
        >>> require_whole("seeds", 8, 1)
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SettingsError(
            f"{name} must be a whole number, {least} or above, but {value!r} was given."
        )
