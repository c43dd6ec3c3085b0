"""safetensors files, mapped into memory; the library checks them, we only point into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.damage import damage_of
from onelayer.data.npy import choose_features, features_table
from onelayer.data.table import Table, Wanted, choose_labels
from onelayer.data.telling import Report
from onelayer.errors import DataError

_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
_BFLOAT16 = "BF16"


def read_safetensors(path: Path, wanted: Wanted, tell: Report) -> Table:
    """Read a safetensors file: one tensor of features, and one of labels if they are in it.

    Args:
        path: the file; it is mapped, not read.
        wanted: where the labels are.
        tell: told when bfloat16 is converted, which makes a copy.

    Returns:
        The rows.

    Raises:
        DataError: when it is damaged, or it is not clear which tensor is which.
    """
    from safetensors import SafetensorError, safe_open

    with damage_of(path, "a safetensors file", SafetensorError):
        with safe_open(path, framework="numpy"):  # it checks sizes, offsets and overlaps
            pass
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            tensors: dict[str, dict[str, Any]] = json.loads(file.read(size))
    tensors.pop("__metadata__", None)
    label = choose_labels(list(tensors), wanted, str(path), "tensor")
    feature = choose_features(list(tensors), label, str(path), "tensor")
    X = _map(path, 8 + size, feature, tensors[feature], tell)
    labels = None if label is None else np.array(_map(path, 8 + size, label, tensors[label], tell))
    return features_table(X, labels, str(path), f"the tensor {label!r}")


def _map(path: Path, start: int, name: str, about: dict[str, Any], tell: Report) -> NDArray[Any]:
    shape, kind = tuple(about["shape"]), about["dtype"]
    if kind not in _DTYPES and kind != _BFLOAT16:
        raise DataError(
            f"{path}: the tensor {name!r} is {kind}, which is not read; write it as float32."
        )
    dtype = np.dtype("<u2" if kind == _BFLOAT16 else _DTYPES[kind])
    count = int(np.prod(shape, dtype=object))
    if not count:
        return np.empty(shape, dtype)
    flat: NDArray[Any] = np.memmap(path, dtype, "r", start + about["data_offsets"][0], (count,))
    if kind == _BFLOAT16:
        tell(
            f"{path}: the tensor {name!r} is bfloat16 and is converted to float32 once, in memory."
        )
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.reshape(shape)
