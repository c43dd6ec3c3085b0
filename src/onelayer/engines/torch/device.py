"""The device that does the arithmetic, what it can hold, and what its products round factors to.

    float32     24 bits of significand, the type's own
    tf32        11 bits: the tensor cores of NVIDIA's GPUs since Ampere
    bf16        8 bits: half the bytes as well

Sums are float32 always, and float64 arithmetic is never rounded. The CPU has no such units: there
factors are rounded likewise and multiplied in float32, no faster, to show what a GPU would give.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.errors import SettingsError

# Converted rows that are on the device at one time. On the CPU they should stay in its cache; on a
# GPU a large tile costs nothing, and a set that fits whole is converted once for all epochs.
TILE_BYTES = {"cpu": 4 << 20, "mps": 256 << 20, "cuda": 512 << 20}

# Of the memory that is free when rows arrive, this much may be theirs; the rest is for weights,
# tiles and what else runs there.
STORED_SHARE = 0.7


def on_device(array: NDArray[Any], device: Any, dtype: Any | None = None) -> Any:
    """A copy of a small array on the device."""
    tensor = torch.from_numpy(np.array(array, order="C"))
    return (tensor if dtype is None else tensor.to(dtype)).to(device)


def wide(device: Any) -> Any:
    """The type that sums over rows are kept in; Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def find_device(name: str, local_rank: int = 0) -> Any:
    """The torch.device of a name; "auto" is a GPU if there is one, else the CPU.

    With "auto" and "cuda" each process of a machine gets a GPU of its own, by its local rank. A
    SettingsError says what to do where the device is not there.
    """
    kind, _, number = name.partition(":")
    if kind == "auto":
        apples = torch.backends.mps.is_available()
        kind = "cuda" if torch.cuda.is_available() else "mps" if apples else "cpu"
    if kind == "cuda":
        return torch.device("cuda", _checked_gpu(int(number) if number else local_rank, name))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise SettingsError(
            "device mps needs a Mac with Apple silicon and PyTorch's macOS build, which this "
            "machine does not have; take --device auto."
        )
    return torch.device(kind)


def tile_bytes(device: Any) -> int:
    """Bytes of converted rows that this device works on at one time."""
    return TILE_BYTES[device.type]


def storable_bytes(device: Any) -> float:
    """Bytes of stored rows that this device can take now, beside what is on it."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return STORED_SHARE * float(free)
    if device.type == "mps":
        free = torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
        return STORED_SHARE * float(free)
    return float("inf")


def describe_device(device: Any) -> str:
    """The device and its maker's name for it."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def _checked_gpu(number: int, name: str) -> int:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number < count:
        return number
    if count:
        raise SettingsError(
            f"device {name!r} calls for GPU {number}, but PyTorch sees {count}, numbered from 0; "
            "name one of these, start fewer processes on this machine, or set CUDA_VISIBLE_DEVICES."
        )
    build = "" if torch.version.cuda else " is built without CUDA and"
    raise SettingsError(
        f"device {name!r} calls for an NVIDIA GPU, but PyTorch {torch.__version__}{build} sees "
        "none; install a CUDA build (https://pytorch.org/get-started) and a driver, or take "
        "--device cpu."
    )


PRECISIONS = ("float32", "tf32", "bf16")

# A float32 has 13 bits more than a tf32; half of the last bit that stays rounds to nearest.
_DROPPED = 13


class Products:
    """Matrix products of one device at one precision."""

    def __init__(self, precision: str, device: Any) -> None:
        if precision not in PRECISIONS:
            raise SettingsError(
                f"precision must be one of {', '.join(PRECISIONS)}, but {precision!r} was given."
            )
        if precision != "float32" and device.type == "mps":
            raise SettingsError(
                f"precision {precision} needs an NVIDIA GPU (or the CPU, to see its cost), but the "
                "device is mps; leave --precision out."
            )
        if (
            precision == "bf16"
            and device.type == "cuda"
            and not hasattr(torch.ops.aten.mm, "dtype")
        ):
            raise SettingsError(
                f"precision bf16 needs PyTorch 2.8 or newer, but this is {torch.__version__}: "
                "pip install --upgrade torch, or take --precision tf32."
            )
        self.precision, self._device = precision, device

    def factor_type(self, dtype: Any) -> Any:
        """The type in which factors are kept, for arithmetic of that type."""
        halved = self._rounds(dtype) and self.precision == "bf16" and self._device.type == "cuda"
        return torch.bfloat16 if halved else dtype

    def fuses(self, dtype: Any) -> bool:
        """Whether a product can be added to a sum of the arithmetic type as it is made."""
        return bool(self.factor_type(dtype) == dtype)

    def factor(self, A: Any) -> Any:
        """A matrix as a factor: itself, or rounded."""
        if not self._rounds(A.dtype):
            return A
        if self.precision == "bf16":
            rounded = A.to(torch.bfloat16)
            return rounded if self._device.type == "cuda" else rounded.to(A.dtype)
        return A if self._device.type == "cuda" else _rounded_to_tf32(A)

    def multiply(self, A: Any, B: Any) -> Any:
        """A B of two factors, in the arithmetic type."""
        if A.dtype == torch.bfloat16:
            return torch.mm(A, B, out_dtype=torch.float32)
        return torch.mm(A, B)

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Within the block CUDA rounds to tf32 where that was chosen, and nowhere else."""
        if self._device.type != "cuda":
            yield
            return
        settings = torch.backends.cuda.matmul
        name, value = _tf32_switch(settings, wanted=self.precision == "tf32")
        before = getattr(settings, name)
        setattr(settings, name, value)
        try:
            yield
        finally:
            setattr(settings, name, before)

    def _rounds(self, dtype: Any) -> bool:
        return self.precision != "float32" and bool(dtype == torch.float32)


def _tf32_switch(settings: Any, *, wanted: bool) -> tuple[str, Any]:
    """PyTorch 2.9 gave the switch another name and refuses to mix the two."""
    if hasattr(settings, "fp32_precision"):
        return "fp32_precision", "tf32" if wanted else "ieee"
    return "allow_tf32", wanted


def _rounded_to_tf32(A: Any) -> Any:
    """float32 rounded to the nearest with 11 bits of significand; infinities and NaN stay."""
    bits = A.view(torch.int32)
    rounded = (bits + (1 << (_DROPPED - 1))) & ~((1 << _DROPPED) - 1)
    return torch.where(torch.isfinite(A), rounded.view(torch.float32), A)
