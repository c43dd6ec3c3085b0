"""The same rows in every kind of file that a user's own data can lie in."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray
from safetensors.numpy import save_file

Array = NDArray[Any]


def installed(package: str) -> bool:
    """Whether an optional package is there; where CI runs, it must be."""
    return "CI" in os.environ or find_spec(package) is not None


Write = Callable[[Path, Array, Array], dict[str, Any]]
"""Writes rows and labels under a path without suffix; returns `load`'s arguments for them."""


def columns(X: Array, labels: Array) -> Any:
    named = {f"x{i}": np.ascontiguousarray(X[:, i]) for i in range(X.shape[1])}
    return pa.table(named | {"label": pa.array(labels.tolist())})


def lists(X: Array, labels: Array) -> Any:
    flat = pa.array(np.ascontiguousarray(X).ravel())
    rows = pa.FixedSizeListArray.from_arrays(flat, X.shape[1])
    return pa.table({"embedding": rows, "label": pa.array(labels.tolist())})


def write_parquet(path: Path, table: Any, **options: Any) -> Path:
    pa.parquet.write_table(table, path.with_suffix(".parquet"), **options)
    return path.with_suffix(".parquet")


def write_arrow(
    path: Path, table: Any, chunk: int | None = None, new: Callable[..., Any] = pa.ipc.new_file
) -> Path:
    file = pa.OSFile(str(path.with_suffix(".arrow")), "wb")
    with file, new(file, table.schema) as to:
        to.write_table(table, max_chunksize=chunk)
    return path.with_suffix(".arrow")


def write_safetensors(path: Path, X: Array, labels: Array) -> Path:
    save_file({"X": np.ascontiguousarray(X), "y": labels}, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def _npy(path: Path, X: Array, labels: Array) -> dict[str, Any]:
    np.save(path.with_suffix(".npy"), X)
    np.save(path.with_suffix(".y.npy"), labels)
    return {"file": path.with_suffix(".npy"), "labels": path.with_suffix(".y.npy")}


def _npy_with_text(path: Path, X: Array, labels: Array) -> dict[str, Any]:
    np.save(path.with_suffix(".npy"), X)
    words = [str(label).lower() if labels.dtype == bool else str(label) for label in labels]
    path.with_suffix(".txt").write_text("\n".join(words), encoding="utf-8")
    return {"file": path.with_suffix(".npy"), "labels": path.with_suffix(".txt")}


def _npz(path: Path, X: Array, labels: Array) -> dict[str, Any]:
    np.savez(path.with_suffix(".npz"), X=X, y=labels)
    return {"file": path.with_suffix(".npz")}


def _npz_compressed(path: Path, X: Array, labels: Array) -> dict[str, Any]:
    np.savez_compressed(path.with_suffix(".npz"), anything=X, target=labels)
    return {"file": path.with_suffix(".npz")}


def _parquet(table: Callable[[Array, Array], Any]) -> Write:
    def write(path: Path, X: Array, labels: Array) -> dict[str, Any]:
        return {"file": write_parquet(path, table(X, labels), write_page_checksum=True)}

    return write


def _arrow(table: Callable[[Array, Array], Any], new: Callable[..., Any]) -> Write:
    def write(path: Path, X: Array, labels: Array) -> dict[str, Any]:
        return {"file": write_arrow(path, table(X, labels), chunk=7, new=new)}

    return write


def _csv(path: Path, X: Array, labels: Array) -> dict[str, Any]:
    pa.csv.write_csv(columns(X, labels), path.with_suffix(".csv"))
    return {"file": path.with_suffix(".csv")}


def _safetensors(path: Path, X: Array, labels: Array) -> dict[str, Any]:
    save_file({"features": np.ascontiguousarray(X)}, path.with_suffix(".safetensors"))
    np.save(path.with_suffix(".y.npy"), labels)
    return {"file": path.with_suffix(".safetensors"), "labels": path.with_suffix(".y.npy")}


def tensors(X: Array, labels: Array) -> Any:
    rows = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(X)[:, None])
    return pa.table({"embedding": rows, "label": pa.array(labels.tolist())})


def _pytorch(path: Path, X: Array, labels: Array) -> dict[str, Any]:
    import torch

    made = {"X": torch.from_numpy(np.ascontiguousarray(X)), "y": labels.tolist()}
    torch.save(made, path.with_suffix(".pt"))
    return {"file": path.with_suffix(".pt")}


WRITERS: dict[str, Write] = {
    "npy": _npy,
    "npy with text": _npy_with_text,
    "npz": _npz,
    "npz compressed": _npz_compressed,
    "parquet columns": _parquet(columns),
    "parquet lists": _parquet(lists),
    "arrow columns": _arrow(columns, pa.ipc.new_file),
    "arrow lists": _arrow(lists, pa.ipc.new_file),
    "arrow stream": _arrow(lists, pa.ipc.new_stream),
    "csv": _csv,
    "safetensors": _safetensors,
    "parquet tensors": _parquet(tensors),
    "pytorch": _pytorch,
}


def small_rows(dtype: str = "float32", rows: int = 12) -> tuple[Array, Array]:
    """Rows that differ, with two classes in turn."""
    X = (np.arange(rows * 3).reshape(rows, 3) % 251 + 1).astype(dtype)
    return X, np.array(["cat", "dog"])[np.arange(rows) % 2]
