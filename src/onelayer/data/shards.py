"""A folder, a pattern or one file as rows that stay in their files."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from onelayer.data.table import Table, Wanted
from onelayer.data.telling import Report
from onelayer.errors import DataError

if TYPE_CHECKING:
    from onelayer.data.sharded import Form, Shard

_KINDS = {
    ".npy": "npy", ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow",
    ".safetensors": "safetensors",
}  # fmt: skip
SUFFIXES = tuple(_KINDS)


def is_pattern(path: Path) -> bool:
    """Whether a path is a pattern of file names, and not one of a file that is there.

    Example:
        >>> is_pattern(Path("shards/*.npy")), is_pattern(Path("shards/1.npy"))
        (True, False)
    """
    return glob.has_magic(str(path)) and not os.path.exists(path)


def holds_shards(folder: Path) -> bool:
    """Whether files of a kind that can stay on disk lie in a folder itself."""
    return bool(_in_folder(folder))


def find_files(pattern: Path) -> list[Path]:
    """The files that match a pattern, in the order of their names as text.

    Args:
        pattern: with *, ? and [] as in a shell, and ** for any folders.

    Returns:
        One file or more; hidden ones do not match.

    Raises:
        DataError: when there is none.

    Example:
        >>> find_files(Path("missing/*.npy"))
        Traceback (most recent call last):
        onelayer.errors.DataError: no file matches missing/*.npy; name a folder or a pattern that \
matches some.
    """
    found = sorted(name for name in glob.glob(str(pattern), recursive=True) if os.path.isfile(name))
    if not found:
        raise DataError(f"no file matches {pattern}; name a folder or a pattern that matches some.")
    return [Path(name) for name in found]


def find_shards(named: Path, label_files: Sequence[Path] = ()) -> list[Path] | None:
    """The files with rows that a folder or a pattern stands for.

    Args:
        named: what the user names.
        label_files: files that hold labels alone, which may lie among them.

    Returns:
        The files in the order of their names as text; None when it is neither a pattern nor a
        folder with such files.

    Raises:
        DataError: when no file matches, or they are of several kinds.
    """
    if is_pattern(named):
        files = find_files(named)
    elif os.path.isdir(named):
        files = _in_folder(named)
    else:
        return None
    labels = {path.resolve() for path in label_files}
    files = [path for path in files if path.resolve() not in labels]
    if not files:
        return None
    kinds = {path: _KINDS.get(path.suffix.lower()) for path in files}
    for path, kind in kinds.items():
        if kind is None:
            raise DataError(
                f"{path} is of no kind that is read one file after another, which are "
                f"{', '.join(SUFFIXES)}; name a pattern that leaves it out."
            )
        if kind != kinds[files[0]]:
            raise DataError(
                f"{named} holds files of several kinds, such as {files[0].name} and {path.name}; "
                "name one kind by a pattern such as '*.npy'."
            )
    return files


def open_shards(files: Sequence[Path], named: Path, wanted: Wanted, tell: Report) -> Table:
    """Open files as rows that stay in them, one file after another.

    Args:
        files: of one kind.
        named: what the user named, for messages.
        wanted: where the labels are.
        tell: told of columns that are left out, once for all files.

    Returns:
        The rows as `StoredRows`, and the labels of all of them if they are in the files.

    Raises:
        DataError: for a file that is damaged, or has other rows than the first; it names the file.
    """
    from onelayer.data.sharded import ShardedRows

    shards: list[Shard] = []
    for path in files:
        shards.append(_open(path, wanted, tell if not shards else lambda line: None))
        _check_alike(shards[-1], shards[0])
    first, where = shards[0].form, str(named)
    X = cast(NDArray[Any], ShardedRows(shards, where))
    found = [shard.labels() for shard in shards]
    labels = None if found[0] is None else np.concatenate([x for x in found if x is not None])
    said = f"{where}, the labels in it" if len(files) > 1 else f"{where}, its labels"
    return Table(X, labels, where, said, first.feature_names, max_value=first.max_value)


def _open(path: Path, wanted: Wanted, tell: Report) -> Shard:
    from onelayer.data.column_shards import open_arrow_shard, open_parquet_shard
    from onelayer.data.flat_shards import open_npy_shard, open_safetensors_shard

    kind = _KINDS[path.suffix.lower()]
    if kind == "npy":
        return open_npy_shard(path, wanted)
    if kind == "safetensors":
        return open_safetensors_shard(path, wanted)
    if kind == "parquet":
        return open_parquet_shard(path, wanted, tell)
    return open_arrow_shard(path, wanted, tell)


def _check_alike(shard: Shard, first: Shard) -> None:
    form, other = shard.form, first.form
    if (form.features, form.dtype) != (other.features, other.dtype):
        raise DataError(
            f"{shard.where} has rows of {_described(form)} where {first.where} has "
            f"{_described(other)}; give every file rows of one width and type."
        )
    for name, expected in zip(form.feature_names or (), other.feature_names or (), strict=True):
        if name != expected:
            raise DataError(
                f"{shard.where} has the column {name!r} where {first.where} has {expected!r}; give "
                "every file the same columns in the same order."
            )


def _described(form: Form) -> str:
    return f"{form.features} {form.dtype} features"


def _in_folder(folder: Path) -> list[Path]:
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror or error}.") from error
    found = [folder / name for name in names if Path(name).suffix.lower() in _KINDS]
    return [path for path in found if path.is_file()]
