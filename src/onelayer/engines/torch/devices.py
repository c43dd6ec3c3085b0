"""Which device does the arithmetic, and how much it can hold."""

from __future__ import annotations

import re
from typing import Any

import torch

from onelayer.errors import SettingsError

DEVICES = "auto, cpu, cuda, cuda:N or mps"

# Converted rows that are on the device at one time. On the CPU they should stay in its cache; on a
# GPU a large tile costs nothing, and a set that fits whole is converted once for all epochs.
TILE_BYTES = {"cpu": 4 << 20, "mps": 256 << 20, "cuda": 512 << 20}
# Of the memory that is free when rows arrive, this much may be theirs; the rest is for weights,
# tiles and what else runs there.
STORED_SHARE = 0.7


def find_device(name: str, local_rank: int = 0) -> Any:
    """Find the device of that name.

    Args:
        name: "auto" (a GPU where there is one, else the CPU), "cpu", "cuda", "cuda:N" or "mps".
        local_rank: number of this process on its machine: "auto" and "cuda" give each process a
            GPU of its own.

    Returns:
        The torch.device.

    Raises:
        SettingsError: for another name, or a device that is not there; it says what to do.
    """
    if name == "auto":
        return _best(local_rank)
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]+)?", name):
        raise SettingsError(f"device must be {DEVICES}, but {name!r} was given.")
    kind, _, number = name.partition(":")
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


def _best(local_rank: int) -> Any:
    if torch.cuda.is_available():
        return torch.device("cuda", _checked_gpu(local_rank, "auto"))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


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
