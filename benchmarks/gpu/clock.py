"""Seconds of work on a device, and the matrix products that it reaches in the same process."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, TypeVar

import torch

Answer = TypeVar("Answer")

SIDES = {"cuda": 8192, "mps": 4096, "cpu": 1024}
PRODUCTS = 10
BYTES = 2.0**20


def settle(device: Any) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def timed(work: Callable[[], Answer], device: Any) -> tuple[float, Answer]:
    """Wall seconds of one call, the device's part included, and what it returned."""
    settle(device)
    started = time.perf_counter()
    answer = work()
    settle(device)
    return time.perf_counter() - started, answer


def matmul_limit(device: Any, *, tf32: bool) -> float:
    """FLOP/s of square float32 products, median of ten: 2·side³ operations each.

    Args:
        device: a torch.device.
        tf32: whether factors are rounded to tf32; means nothing on the CPU.
    """
    side = SIDES[device.type]
    A, B = (torch.randn(side, side, device=device) for _ in range(2))
    C = torch.empty(side, side, device=device)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        torch.mm(A, B, out=C)
        seconds = [timed(lambda: torch.mm(A, B, out=C), device)[0] for _ in range(PRODUCTS)]
    finally:
        torch.set_float32_matmul_precision(before)
    return 2.0 * side**3 / median(seconds)


def peak_megabytes(device: Any) -> float | None:
    """Most memory that tensors had on the device since the last call; None where it is not told."""
    if device.type != "cuda":
        return None
    peak = float(torch.cuda.max_memory_allocated(device)) / BYTES
    torch.cuda.reset_peak_memory_stats(device)
    return peak
