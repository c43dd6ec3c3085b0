"""A model as the state dict of a torch.nn.Linear of rows as stored, in memory or as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import SettingsError
from onelayer.export.raw import raw_weights, required
from onelayer.model import Model
from onelayer.sealed_file import safetensors_bytes
from onelayer.whole_file import staged_file

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = ("float32", "float64")


def to_torch(model: Model, dtype: str = "float32") -> dict[str, Tensor]:
    """Make the state dict of a torch.nn.Linear(D, K) that takes rows as stored, as floats.

    Args:
        model: any.
        dtype: float32, as Linear has it by default, or float64.

    Returns:
        weight (K, D) and bias (K,), with the scaling in them.

    Raises:
        ExportError: when torch is not installed.
        SettingsError: for another dtype.
    """
    torch = required("torch", "onelayer[torch]")
    return {name: torch.from_numpy(array) for name, array in _state(model, dtype).items()}


def export_state_dict(model: Model, path: Path | str, dtype: str = "float32") -> None:
    """Write that state dict as safetensors; torch is not needed.

    `linear.load_state_dict(safetensors.torch.load_file(path))` reads it. The header has the class
    names, as JSON.

    Args:
        model: any.
        path: where; a file that is there is replaced.
        dtype: float32 or float64.

    Raises:
        SettingsError: for another dtype.
        SaveError: when the file cannot be written.
    """
    names = json.dumps(model.class_names, ensure_ascii=False)
    content = safetensors_bytes(_state(model, dtype), {"format": "pt", "class_names": names})
    with staged_file(Path(path)) as staging:
        staging.write_bytes(content)


def _state(model: Model, dtype: str) -> dict[str, NDArray[np.floating]]:
    if dtype not in DTYPES:
        raise SettingsError(f"dtype must be {' or '.join(DTYPES)}, but {dtype!r} was given.")
    raw = raw_weights(model)
    return {"weight": raw.W.astype(dtype), "bias": raw.b.astype(dtype)}
