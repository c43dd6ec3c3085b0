"""The errors that onelayer raises on purpose; how settings are read and checked, and words shown.

A message is one sentence: what is wrong, where, and what to do about it. The command line prints it
and ends with exit code 1. Anything else that escapes is a bug.
"""

from __future__ import annotations

import errno
import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from functools import wraps
from inspect import signature
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class OnelayerError(Exception):
    """Base of all errors that onelayer raises on purpose.

    Example:
        >>> import onelayer as ol
        >>> try:
        ...     ol.load("absent.npy")
        ... except ol.OnelayerError as error:
        ...     type(error).__name__
        'DataError'
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class DataError(OnelayerError):
    """Rows, labels or a data file are not valid.

    Example:
        >>> import onelayer as ol
        >>> ol.split([[1.0], [float("nan")], [2.0]], [0, 1, 0])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        onelayer.errors.DataError: ...
    """


class SourceError(DataError):
    """No source could provide the data set.

    Example:
        >>> import onelayer as ol
        >>> issubclass(ol.SourceError, ol.DataError)
        True
    """

    def __str__(self) -> str:
        return Exception.__str__(self)


class SettingsError(OnelayerError, ValueError):
    """A setting has an unknown name or a value outside its range.

    Example:
        >>> import onelayer as ol
        >>> ol.Run(learning_rate=-0.1)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        onelayer.errors.SettingsError: learning_rate ...
    """


class SaveError(OnelayerError):
    """A result, model or export could not be written or read back.

    Example:
        >>> import onelayer as ol
        >>> ol.Result.load("absent")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        onelayer.errors.SaveError: absent ...
    """


class LearningRateWarning(UserWarning):
    """A learning rate exceeds the guaranteed-stable limit on the training rows.

    Example:
        >>> import warnings
        >>> import onelayer as ol
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     result = ol.train(ol.load("digits"), [ol.Run(learning_rate=5.0, epochs=1)])
        >>> caught[0].category.__name__
        'LearningRateWarning'
    """


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written or is damaged; training continues.

    Example:
        >>> import warnings
        >>> import onelayer as ol
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("error", ol.CheckpointWarning)  # stop training instead
    """


# Arrays hold whole numbers below this.
MAX_WHOLE = 1 << 63


def one_line(words: object) -> str:
    """Foreign words, of a library or a file, on one line of at most 200 letters."""
    text = " ".join(str(words).split())
    return text if len(text) <= 200 else f"{text[:199]}…"


# Control characters, which a terminal obeys; those that end or reorder a line; and what neither
# UTF-8 nor XML can hold, which ends the process that draws it.
UNPRINTABLE = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    r"""Text that any terminal, page and chart shows, on one line: names hold other characters."""
    return UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)


def writable(text: str) -> str:
    """The text with what no file can hold escaped: halves of surrogate pairs, in names of files."""
    return text.encode("utf-8", "backslashreplace").decode()


def shown_names(names: Iterable[str]) -> str:
    """Names for a message, quoted where a reader would not see where they begin and end.

    Example:
        >>> shown_names(["x", " y", "a,b"])
        "x, ' y', 'a,b'"
    """
    clear = re.compile(r"[^\s,]([^,]*[^\s,])?")
    return ", ".join(name if clear.fullmatch(name) else repr(name) for name in names)


def require_bool(name: str, value: Any) -> None:
    """Raise `SettingsError` unless the value is True or False."""
    if not isinstance(value, bool):
        raise SettingsError(f"{name} must be True or False, but {value!r} was given.")


def plain(value: Any) -> Any:
    """A number of NumPy, a fraction, or an array of no dimensions as Python's; others as they are.

    Example:
        >>> from fractions import Fraction
        >>> plain(Fraction(1, 2)), plain(True), plain("auto")
        (0.5, True, 'auto')
    """
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    if isinstance(value, bool | int | float) or not isinstance(value, Real):
        return value
    return float(value)  # a long double's item is one itself


def make_plain(record: Any) -> None:
    """Store the numbers in a frozen dataclass as Python's."""
    for item in fields(record):
        object.__setattr__(record, item.name, plain(getattr(record, item.name)))


def as_values(value: Any) -> list[Any]:
    """The values of a list, tuple, range, set, array, series or generator; else the one."""
    value = plain(value)
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        return [value]
    return [plain(one) for one in value]


def is_number(value: object, kind: type = Real) -> bool:
    """Whether a value is a number of Python or NumPy, and no boolean."""
    return isinstance(value, kind) and not isinstance(value, bool)


def home_path(named: str | os.PathLike[str]) -> Path:
    """A path whose "~" is the user's home, as shells read it: a file "~.csv" is one called so."""
    return Path(os.path.expanduser(named))


def refusal_words(error: OSError, instead: str) -> str:
    """Why the system did not write, and what to do: only a full disk needs space.

    Example:
        >>> refusal_words(OSError(errno.EACCES, "Permission denied"), "choose another folder")
        'Permission denied; choose another folder'
    """
    is_full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))
    return f"{error.strerror or error}; {'free some space or ' if is_full else ''}{instead}"


def require_file(path: Path) -> None:
    """Raise `OSError` unless a path is a file: opening a pipe waits, and a device has no end."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(mode):
        kind = "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
        why = f"it is no file but a {kind}; write what it gives into a file first"
        raise OSError(errno.ENXIO, why, str(path))
    if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def require_number(
    name: str,
    value: object,
    expected: str,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Raise `SettingsError` unless a value is a finite number, above < value < below, ≥ least."""
    number = float(value) if is_number(value, Real) else math.nan  # type: ignore[arg-type]
    if not (math.isfinite(number) and number > above and least <= number < below):
        raise SettingsError(f"{name} must be {expected}, but {one_line(repr(value))} was given.")


def unknown_name(kind: str, name: str, known: Sequence[str]) -> SettingsError:
    """The error for a name that there is not, with the nearest one that there is."""
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the {kind}s are {', '.join(known)}."
    return SettingsError(f"unknown {kind} {one_line(name)!r}; {hint}")


def known_options(function: Callable[P, T]) -> Callable[P, T]:
    """Answer an option that a function lacks with a `SettingsError` that names the nearest one."""
    known = [name for name in signature(function).parameters if name != "self"]

    @wraps(function)
    def checked(*values: P.args, **options: P.kwargs) -> T:
        for name in options:
            if name not in known:
                raise unknown_name("option", name, known)
        return function(*values, **options)

    return checked


def known_fields(record: type[T]) -> type[T]:
    """The same for the fields that a dataclass is made of."""
    record.__init__ = known_options(record.__init__)  # type: ignore[method-assign]
    return record


def require_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise `SettingsError` unless `value` is one of these words."""
    if not (isinstance(value, str) and value in choices):
        raise SettingsError(f"{name} must be {' or '.join(choices)}, but {value!r} was given.")


def require_whole(name: str, value: object, least: int) -> None:
    """Raise `SettingsError` unless `value` is an integer ≥ `least`."""
    if not is_number(value, Integral) or not least <= value < MAX_WHOLE:  # type: ignore[operator]
        too_large = is_number(value, Integral) and value >= MAX_WHOLE  # type: ignore[operator]
        bound = f"below {MAX_WHOLE:,}" if too_large else f"{least} or above"
        given = one_line(repr(value))
        raise SettingsError(f"{name} must be a whole number, {bound}, but {given} was given.")
