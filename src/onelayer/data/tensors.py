"""safetensors files, mapped into memory; the library checks them, we only point into them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
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

    with damage_of(path, "a safetensors file", SafetensorError), safe_open(path, "numpy"):
        pass  # it checks sizes, offsets and overlaps
    tensors = locate_tensors(path)
    label = choose_labels(list(tensors), wanted, str(path), "tensor")
    feature = choose_features(list(tensors), label, str(path), "tensor")
    X = _map(path, tensors[feature], tell)
    labels = None if label is None else np.array(_map(path, tensors[label], tell))
    return features_table(X, labels, str(path), f"the tensor {label!r}")


@dataclass(frozen=True)
class TensorInFile:
    """Where in a safetensors file a tensor is.

    Attributes:
        where: file and tensor, for messages.
        shape: as the file says.
        kind: the format's name of its type.
        offset: its first byte in the file.
    """

    where: str
    shape: tuple[int, ...]
    kind: str
    offset: int

    @property
    def bfloat16(self) -> bool:
        """Whether its numbers are bfloat16."""
        return self.kind == _BFLOAT16

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its type in the file; uint16 for bfloat16.

        Raises:
            DataError: when it is none that is read.
        """
        if self.kind not in _DTYPES and not self.bfloat16:
            raise DataError(f"{self.where} is {self.kind}, which is not read; write it as float32.")
        return np.dtype("<u2" if self.bfloat16 else _DTYPES[self.kind])


def locate_tensors(path: Path) -> dict[str, TensorInFile]:
    """Find the tensors of a safetensors file; nothing of it but the header is read or mapped.

    Args:
        path: the file.

    Returns:
        Each tensor by its name.

    Raises:
        DataError: when the file is truncated or damaged.
    """
    with damage_of(path, "a safetensors file"), path.open("rb") as file:
        end = file.seek(0, io.SEEK_END)
        file.seek(0)
        start = 8 + int.from_bytes(file.read(8), "little")
        if not 8 < start <= end:
            raise ValueError("its header is longer than the file")
        header: dict[str, dict[str, Any]] = json.loads(file.read(start - 8))
        header.pop("__metadata__", None)
        return {name: _located(path, start, end, name, about) for name, about in header.items()}


def _located(path: Path, start: int, end: int, name: str, about: dict[str, Any]) -> TensorInFile:
    first, last = about["data_offsets"]
    shape, where = tuple(about["shape"]), f"{path}: the tensor {name!r}"
    tensor = TensorInFile(where, shape, about["dtype"], start + first)
    known = tensor.bfloat16 or tensor.kind in _DTYPES
    if known and last - first != int(np.prod(shape, dtype=object)) * tensor.dtype.itemsize:
        raise ValueError(f"the bytes of the tensor {name!r} are not those of its shape")
    if not 0 <= first <= last <= end - start:
        raise ValueError(f"it ends before the tensor {name!r} does")
    return tensor


def widened(bfloat16: NDArray[Any]) -> NDArray[np.float32]:
    """Bits of bfloat16 as the float32 numbers that they are, which bfloat16 is the half of."""
    return (bfloat16.astype(np.uint32) << 16).view(np.float32)


def _map(path: Path, tensor: TensorInFile, tell: Report) -> NDArray[Any]:
    dtype, count = tensor.dtype, int(np.prod(tensor.shape, dtype=object))
    if not count:
        return np.empty(tensor.shape, dtype)
    flat: NDArray[Any] = np.memmap(path, dtype, "r", tensor.offset, (count,))
    if tensor.bfloat16:
        tell(f"{tensor.where} is bfloat16 and is converted to float32 once, in memory.")
        flat = widened(flat)
    return flat.reshape(tensor.shape)
