"""Which columns of a table are its features, and which one holds the labels.

Features are all numeric columns but the labels', in order; or the one column of lists, where there
is one. An index, and columns that number the rows, are no features; text among numbers is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from onelayer.data.formats import base
from onelayer.data.identity import check_names, match_columns
from onelayer.data.progress import Log
from onelayer.errors import DataError, shown_names

# Numbers as text, with a decimal point or none, with a decimal comma, and in groups of thousands.
NUMBER, COMMA_NUMBER, GROUPED_NUMBER = (
    r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$",
    r"^\s*[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?\s*$",
    r"^\s*[+-]?[0-9]{1,3}([.,'_ ][0-9]{3})+([.,][0-9]+)?\s*$",
)

# So many numbers or more that ascend, or descend, are names of columns and no row.
ORDERED_NAMES = 8

# A column whose values are 0, 1, 2, … or 1, 2, 3, … in so many rows or more numbers the rows.
NUMBERED_ROWS = 20

# pyarrow ships no types.
Columns = Any
Column = Any
Schema = Any
Batch = Any
Chunks = Callable[[str], Iterable[Any]]  # the values of a column, by its name


def choose_columns(
    schema: Schema, where: str, spec: base.ColumnSpec, log: Log, chunks: Chunks
) -> tuple[list[str], Any]:
    """Names of the features and of the labels; text among numbers is refused."""
    from pyarrow.types import is_integer

    names = schema.names
    check_names(names, where)
    label = base.choose_labels(names, spec, where, "column")
    beside = spec.beside if spec.id is None else {"id": spec.id, **spec.beside}
    for option, name in beside.items():
        matching([name], names, where, option)
    many = label if isinstance(label, tuple) else (label,)
    left_out = (*many, *beside.values(), *spec.in_folders)
    others = [name for name in names if name not in left_out]
    if spec.features is not None:
        places = match_columns(others, spec.features, where, "the model", log)
        found = others if places is None else [others[i] for i in places]
        for name in found:
            if is_text(schema.field(name).type):
                _check_text(chunks(name), f"{where}, column {name!r}")
        return found, label
    taken = others if spec.take is None else matching(spec.take, others, where, "features")
    dropped = matching(spec.drop, others, where, "drop", must=spec.must_drop)
    types = {n: schema.field(n).type for n in taken if n not in dropped}
    index = _index_columns(schema, types, chunks, spec) if spec.take is None else {}
    types = {name: kind for name, kind in types.items() if name not in index}
    lists = [name for name, kind in types.items() if is_list(kind)]
    if len(lists) > 1:
        raise DataError(
            f"{where} has several columns of lists, {', '.join(lists)}; keep the one that holds "
            "the features."
        )
    for name in (name for name, kind in types.items() if is_text(kind) and not lists):
        _check_text(chunks(name), f"{where}, column {name!r}")
    kept = lists or [name for name, kind in types.items() if _is_number(kind)]
    wrong = [f"{n} ({types[n]})" for n in types if n in (spec.take or ()) and n not in kept]
    if wrong:
        raise DataError(f"{where}: features must be numbers, but {', '.join(wrong)} is chosen.")
    if not kept:
        left = ", ".join(f"{n} ({t})" for n, t in types.items())
        only = f", only {left}" if left else " and those that are left out"
        raise DataError(
            f"{where} has no numeric column besides the labels{only}; features must be numbers."
        )
    ignored = [f"{name} ({_called(kind)})" for name, kind in types.items() if name not in kept]
    ignored += [f"{name!r} ({why})" for name, why in index.items()]
    if ignored:
        log(f"{where}: ignored columns that are no features: {', '.join(ignored)}.")
    named = [n for n in kept if re.fullmatch(r"(.*_)?id", n, re.IGNORECASE) and n not in spec.known]
    for name in named if spec.take is None and spec.must_drop else ():
        if is_integer(types[name]) and _all_differ(chunks(name)):
            log(
                f"{where}: {name!r} is used as a feature, and holds another whole number in each "
                "row; if it names the rows, leave it out with drop (--drop)."
            )
    return kept, label


def _all_differ(chunks: Iterable[Column]) -> bool:
    """Whether integers are all different, in rows that are enough to tell."""
    values = np.concatenate([np.asarray(c.to_numpy(zero_copy_only=False)) for c in chunks])
    return NUMBERED_ROWS <= len(values) == len(np.unique(values))


def _called(kind: Any) -> str:
    """A type of columns in words."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return "categories of text" if is_text(kind) else f"categories of {kind.value_type}"
    return str(kind)


def matching(
    patterns: Sequence[str], names: Sequence[str], where: str, option: str, *, must: bool = True
) -> list[str]:
    """The columns of these names, or that match these patterns."""
    for pattern in patterns if must else ():
        if not base.fnmatch_any(names, pattern):
            raise DataError(
                f"{where} has no column {pattern!r} for {option} (--{option}); it has "
                f"{shown_names(names[:12])}{', …' if len(names) > 12 else ''}."
            )
    return [name for name in names if any(base.fnmatch_any([name], p) for p in patterns)]


def _index_columns(
    schema: Schema, types: Mapping[str, Any], chunks: Chunks, spec: base.ColumnSpec
) -> dict[str, str]:
    """The columns of these types that are a data frame's index or number the rows, and which of it.

    It is told by pandas's own metadata, by the name, or by the values, where others are left.
    """
    from pyarrow.types import is_integer

    stored = (schema.pandas_metadata or {}).get("index_columns", ())
    of_integers = r"index|level_0|level_\d+" if "level_0" in schema.names else "index"
    unknown = [name for name in types if name not in spec.known]
    found = {
        name: "index"
        for name in unknown
        if name in stored
        or re.fullmatch(r"__index_level_\d+__|Unnamed: 0(\.\d+)*|", name)
        or (is_integer(types[name]) and re.fullmatch(of_integers, name))
    }
    integers = [name for name in unknown if name not in found and is_integer(types[name])]
    numbering = [n for n in integers if spec.must_drop and _number_the_rows(chunks(n))]
    others = [n for n, kind in types.items() if n not in found and n not in numbering]
    if any(_is_number(types[name]) or is_list(types[name]) for name in others):
        found |= dict.fromkeys(numbering, "numbers the rows")
    return found


def _number_the_rows(chunks: Iterable[Column]) -> bool:
    """Whether integers are 0, 1, 2, … or 1, 2, 3, …; they are read no further than they are."""
    first = rows = 0
    for chunk in chunks:
        values = np.asarray(chunk.to_numpy(zero_copy_only=False))
        if not rows and len(values):
            first = int(values[0]) if values[0] in (0, 1) else -1
        if first < 0 or not np.array_equal(values, np.arange(len(values)) + (first + rows)):
            return False
        rows += len(values)
    return rows >= NUMBERED_ROWS


def note_numbers_as_names(names: Sequence[str], where: str, log: Log) -> None:
    """Tell of columns named as the first row of a file without a header would name them.

    Names that number the columns, or many that ascend or descend, as wavelengths do, are names.
    """
    numbers = [float(name) for name in names if re.fullmatch(NUMBER, name)]
    steps = np.diff(numbers)
    ordered = len(numbers) >= ORDERED_NAMES and ((steps > 0.0).all() or (steps < 0.0).all())
    numbering = len(numbers) > 1 and (steps == 1.0).all()
    if 2 * len(numbers) > len(names) and not (ordered or numbering):
        log(
            f"{where}: the first line names the columns, but most names are numbers, such as "
            f"{next(name for name in names if re.fullmatch(NUMBER, name))}; if it is a row, add a "
            "line of names above it."
        )


def _check_text(chunks: Iterable[Column], where: str) -> None:
    """Refuse text among numbers: a column that one typing error would leave out."""
    import pyarrow as pa
    from pyarrow import compute

    first, start = dict[str, str](), 0  # of each kind of text the first, and its row
    for chunk in chunks:
        texts = values_as(chunk, pa.large_string())
        left, found = compute.is_valid(texts), dict[str, Any]()
        forms = {"number": NUMBER, "comma": COMMA_NUMBER, "grouped": GROUPED_NUMBER, "other": ""}
        for kind, form in forms.items():
            found[kind] = compute.and_(
                left, compute.match_substring_regex(texts, form).fill_null(False)
            )
            left = compute.and_(left, compute.invert(found[kind]))
        for kind, mask in found.items():
            at = compute.index(mask, True).as_py()
            if at >= 0:
                first.setdefault(kind, f"{texts[at].as_py()!r} in row {start + at}")
        start += len(chunk)
    if "other" in first and {"number", "comma"} & set(first):
        held, advice = f"numbers and text, such as {first['other']}", "write a number there"
    elif "comma" in first:
        held, advice = f"decimal commas as text, such as {first['comma']}", "write decimal points"
        held += f", and decimal points, {first['number']}" if "number" in first else ""
    elif "grouped" in first and "other" not in first:
        held, advice = f"numbers in groups, such as {first['grouped']}", "write plain numbers"
    else:
        return
    raise DataError(
        f"{where}: it holds {held}; {advice}, or leave the column out with drop (--drop)."
    )


def values_as(chunk: Column, kind: Any) -> Column:
    """The values of an array, or those that its dictionary stands for, as ones of a type."""
    import pyarrow as pa

    if pa.types.is_dictionary(chunk.type):
        return chunk.dictionary.cast(kind).take(chunk.indices.cast(pa.int64()))
    return chunk.cast(kind)


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def is_list(kind: Any) -> bool:
    """Whether a column of this type has a list of numbers in each row."""
    from pyarrow import types

    kind = stored_as(kind)
    lists = (types.is_fixed_size_list, types.is_list, types.is_large_list)
    return any(is_kind(kind) for is_kind in lists) and _is_number(kind.value_type)


def stored_as(kind: Any) -> Any:
    """The type that a column of tensors of one shape is stored as, lists of one length."""
    return kind.storage_type if str(kind).startswith("extension<arrow.fixed_shape_tensor") else kind


def is_text(kind: Any) -> bool:
    """Whether a column of this type is text, also where it is in a dictionary."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return str(kind) in ("string", "large_string", "string_view")
