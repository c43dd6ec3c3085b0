"""PyTorch's .pt and .pth files of a tensor, or of a dict of tensors; no code in them is run."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from onelayer.data.formats import base
from onelayer.data.formats.arrays import ArraysFile, HeldArray, Located
from onelayer.errors import DataError


class PytorchFile(ArraysFile):
    """A file of `torch.save`, mapped unless it is of the format before PyTorch 1.6."""

    kind, what = "PyTorch file", "tensor"

    @classmethod
    def arrays(cls, path: Path) -> Located:
        held = _load(path)
        if not isinstance(held, Mapping):
            if not _is_array(held):
                raise DataError(
                    f"{path} holds {_kinds([held])}; save a tensor, or a dict of tensors such as X "
                    "and y."
                )
            return {"": partial(_array, path, "", held)}
        kept = {str(name): value for name, value in held.items() if _is_array(value)}
        if not kept:
            raise DataError(f"{path} holds no tensors, but {_kinds(held.values())}.")
        return {name: partial(_array, path, name, value) for name, value in kept.items()}


def _load(path: Path) -> Any:
    torch = base.require_package("torch", f"{path} is a PyTorch file", "onelayer[torch]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mapped = zipfile.is_zipfile(path)
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError as error:
            if (other := re.search("GLOBAL ([\\w.]+)", str(error))) is None:
                raise
            raise DataError(
                f"{path} holds Python objects other than tensors ({other[1]}), which could run "
                "code and are refused; nothing was run. Save a tensor, or a dict of tensors."
            ) from error


def _is_array(value: Any) -> bool:
    # Text labels are a list: tensors hold numbers alone.
    flat = isinstance(value, list | tuple) and all(isinstance(one, str | int) for one in value)
    return base.is_array(value) or (flat and len(value) > 0)


def _array(path: Path, name: str, value: Any) -> HeldArray:
    where = f"{path}: the tensor {name!r}" if name else str(path)
    mapped = base.is_array(value) and zipfile.is_zipfile(path)
    value = value if base.is_array(value) else np.array(value)
    return HeldArray(path, where, tuple(value.shape), value.dtype, value, mapped)


def _kinds(values: Any) -> str:
    return ", ".join(sorted({type(value).__name__ for value in values})) or "nothing"
