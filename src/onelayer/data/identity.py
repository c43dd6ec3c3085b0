"""Which column is which: features are met by their names, never by their places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.progress import Log
from onelayer.data.sparse import sparse_rows
from onelayer.data.streaming import ChosenColumns, stored_rows
from onelayer.errors import DataError, printable, shown_names

# Columns that a message names at most.
_MOST_NAMED = 8


def match_columns(
    names: Sequence[str] | None, expected: Sequence[str] | None, where: str, whose: str, log: Log
) -> list[int] | None:
    """The place among `names` of each expected column; None where all are in their places.

    Others are left out with a message; without names, or with only numbers, places count.
    """
    if names is None or expected is None or tuple(names) == tuple(expected):
        return None
    check_names(names, where)
    check_names(expected, whose)
    places = {name: place for place, name in enumerate(names)}
    missing = [name for name in expected if name not in places]
    if len(missing) == len(names) == len(expected) and (_numbered(names) or _numbered(expected)):
        return None
    if missing:
        raise DataError(
            f"{where}: {whose}'s {len(expected)} features must be columns, but {len(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing: {_listed(missing)}; add or rename "
            "them."
        )
    known = set(expected)
    if extra := [name for name in names if name not in known]:
        log(f"{where}: left out columns that are no features of {whose}: {_listed(extra)}.")
    return [places[name] for name in expected]


def match_parts(
    names: Sequence[str] | None, expected: Sequence[str] | None, where: str, whose: str, log: Log
) -> list[int] | None:
    """As `match_columns`, for parts of one data set: all have names of columns, or none has."""
    if (names is None) != (expected is None):
        without, with_names = (where, whose) if names is None else (whose, where)
        raise DataError(
            f"{without} has no names of columns, but {with_names} has; give all parts as tables, "
            "or all as arrays."
        )
    return match_columns(names, expected, where, whose, log)


def take_columns(X: NDArray[Any], places: Sequence[int] | None) -> NDArray[Any]:
    """These columns of the rows, in this order: copied, or read so from files; None: all of X."""
    if places is None:
        return X
    stored, sparse = stored_rows(X), sparse_rows(X)
    if sparse is not None:
        return sparse.take_columns(places)  # type: ignore[return-value]
    return np.take(X, places, axis=1) if stored is None else ChosenColumns(stored, places)  # type: ignore[return-value]


def column_names(X: Any) -> tuple[str, ...] | None:
    """The names of a data frame's columns; None of an array."""
    names = getattr(X, "column_names", getattr(X, "columns", None))
    return None if names is None else tuple(map(str, names))


def check_names(names: Sequence[str], where: str) -> None:
    """Raise `DataError` where two columns have one name."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{where} has two columns {twice[0]!r}; give each column its own name.")


def _numbered(names: Sequence[str]) -> bool:
    """Whether columns have only numbers, as those of a data frame that was made from an array."""
    return all(name == str(place) for place, name in enumerate(names))


def _listed(names: Sequence[str]) -> str:
    return printable(shown_names(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else ""))
