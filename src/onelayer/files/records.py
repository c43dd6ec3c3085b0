"""Records: dataclasses as one JSON document and its arrays, and back.

A document from a file is held against the types of its record before any value of it is used: the
`DataError` begins with "it" or "its" and names the first place that does not fit.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import DataError, OnelayerError, is_number, one_line, plain, writable

T = TypeVar("T")
Arrays = dict[str, NDArray[Any]]

# A field is None in cases that whoever reads it knows, such as the certificate of a model without
# one. Type checkers take it for Any, so that users need not ask.
if TYPE_CHECKING:
    MaybeNone: TypeAlias = Any
else:
    MaybeNone = None

# Metadata of a field that older files lack: it then has its default.
MAY_LACK = {"may_lack": True}

NON_FINITE = ("inf", "-inf", "nan")


def to_plain(value: Any, arrays: Arrays | None = None, place: str = "") -> Any:
    """A record as values fit for JSON; its arrays go to `arrays`, and their names stay behind.

    An array is called by its place, as in "history.train_loss"; one that is met again keeps its
    name. Numbers that JSON lacks are the texts "inf", "-inf" and "nan"; bytes of a file's name that
    are no UTF-8 are escaped.
    """
    if isinstance(value, np.ndarray):
        assert arrays is not None  # noqa: S101  # this record has arrays
        known = (name for name, array in arrays.items() if array is value)
        name = next(known, place)
        arrays[name] = value
        return name
    value = plain(value)
    if is_dataclass(value):
        value = {item.name: getattr(value, item.name) for item in fields(value) if item.init}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {
            writable(str(key)): to_plain(one, arrays, _join(place, key))
            for key, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [to_plain(one, arrays, _join(place, i)) for i, one in enumerate(value)]
    if isinstance(value, str):
        return writable(value)
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def write_json(value: Any, indent: int | None = None) -> str:
    """Plain values as JSON, on one line unless it is indented."""
    separators = (",", ":") if indent is None else None
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators
    )


def read_json(text: str | bytes) -> Any:
    """The values of a JSON document."""
    try:
        return json.loads(text)
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except ValueError as error:
        reason = str(error)
    except RecursionError:
        reason = "it is nested too deeply"
    raise DataError(f"it is not valid JSON ({one_line(reason)}).")


def from_plain(
    kind: type[T], value: Any, arrays: Mapping[str, NDArray[Any]] | None = None, place: str = ""
) -> T:
    """The record of a type that plain values and arrays describe, as `to_plain` gave them."""
    read: T = _read(kind, value, arrays or {}, place)
    return read


def check_sizes(sizes: Iterable[tuple[str, Any, Any]]) -> None:
    """Raise `DataError` for the first size, by name, that is found to be another than expected."""
    for name, found, expected in sizes:
        if found != expected:
            raise DataError(
                f"its {name} should be {reprlib.repr(expected)}, but it is {reprlib.repr(found)}."
            )


def _join(place: str, name: object) -> str:
    return f"{place}.{name}" if place else str(name)


def _misfit(place: str, expected: str, value: Any) -> DataError:
    where = f"its {place}" if place else "it"
    return DataError(f"{where} should be {expected}, but it is {reprlib.repr(value)}.")


def _read(kind: Any, value: Any, arrays: Mapping[str, NDArray[Any]], place: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if alias := getattr(origin, "__value__", None):  # NDArray is one since NumPy 2.5
        return _read(alias[inner], value, arrays, place)
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        return _read_one_of(inner, value, arrays, place)
    if origin is Literal:
        if not any(type(value) is type(word) and value == word for word in inner):
            raise _misfit(place, " or ".join(map(repr, inner)), value)
        return value
    if kind in _SCALARS:
        expected, fits = _SCALARS[kind]
        if not fits(value):
            raise _misfit(place, expected, value)
        return kind(value)
    if origin is np.ndarray:
        return _read_array(get_args(inner[1])[0], value, arrays, place)
    if origin in (tuple, list):
        return _read_list(origin, inner, value, arrays, place)
    if is_dataclass(kind) or hasattr(kind, "_fields"):
        return _read_fields(kind, value, arrays, place)
    if not isinstance(value, dict):  # what is left are mappings
        raise _misfit(place, "an object", value)
    if inner[0] is int and not all(key.isdecimal() and len(key) < 10 for key in value):
        raise _misfit(place, "an object whose names are whole numbers", value)
    return {
        inner[0](key): _read(inner[1], one, arrays, _join(place, key)) for key, one in value.items()
    }


_HALF_PAIR = re.compile("[\ud800-\udfff]")
_SCALARS: dict[Any, tuple[str, Any]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    # Half a surrogate pair cannot be written.
    str: ("a text", lambda v: isinstance(v, str) and not _HALF_PAIR.search(v)),
    int: ("a whole number", lambda v: is_number(v, int) and -(1 << 63) <= v < 1 << 63),
    float: ("a number", lambda v: (is_number(v) and abs(v) < 10**308) or v in NON_FINITE),
    type(None): ("null", lambda value: value is None),
}


def _read_one_of(
    kinds: tuple[Any, ...], value: Any, arrays: Mapping[str, NDArray[Any]], place: str
) -> Any:
    if value is None and type(None) in kinds:
        return None
    refused = ""  # not the error itself: its traceback would hold what callers hold
    for kind in kinds:
        try:
            return _read(kind, value, arrays, place)
        except DataError as error:
            refused = refused or str(error)
    raise DataError(refused)


def _read_array(
    scalar: Any, value: Any, arrays: Mapping[str, NDArray[Any]], place: str
) -> NDArray[Any]:
    array = arrays.get(value) if isinstance(value, str) else None
    if array is None:
        raise _misfit(place, "the name of an array in the file", value)
    if scalar is not Any and not np.issubdtype(array.dtype, scalar):
        raise _misfit(place, f"an array of {scalar.__name__}", array.dtype.name)
    return array


def _read_list(
    kind: Any, inner: tuple[Any, ...], value: Any, arrays: Mapping[str, NDArray[Any]], place: str
) -> Any:
    if not isinstance(value, list):
        raise _misfit(place, "a list", value)
    endless = kind is list or inner[-1] is Ellipsis
    kinds = inner[:1] * len(value) if endless else inner
    if len(kinds) != len(value):
        raise _misfit(place, f"a list of {len(kinds)}", value)
    every = zip(kinds, value, strict=True)
    return kind(_read(one, item, arrays, _join(place, i)) for i, (one, item) in enumerate(every))


def _read_fields(kind: Any, value: Any, arrays: Mapping[str, NDArray[Any]], place: str) -> Any:
    if not isinstance(value, dict):
        raise _misfit(place, "an object", value)
    types = _fields_of(kind)
    for name in value.keys() - types.keys():
        raise DataError(f"its {_join(place, reprlib.repr(name))} is unknown to this onelayer.")
    named = fields(kind) if is_dataclass(kind) else ()
    may_lack = {item.name for item in named if item.metadata.get("may_lack")}
    for name in types.keys() - value.keys() - may_lack:
        raise DataError(f"its {_join(place, name)} is missing.")
    values = {
        name: _read(types[name], one, arrays, _join(place, name)) for name, one in value.items()
    }
    try:
        return kind(**values)
    except OnelayerError as error:
        raise DataError(f"its {place or 'content'} cannot be used: {error}") from error


@cache
def _fields_of(kind: Any) -> dict[str, Any]:
    """The types of a record's fields, which are written."""
    types = get_type_hints(kind)
    if not is_dataclass(kind):
        return types
    return {item.name: types[item.name] for item in fields(kind) if item.init}
