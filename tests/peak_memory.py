"""How much memory a call takes beyond what is there before it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest

FORGET_PEAK = Path("/proc/self/clear_refs")


def peak_growth(call: Callable[[], object]) -> int:
    """Bytes by which the process's largest size grows during a call."""
    if not FORGET_PEAK.exists():
        pytest.skip("only Linux tells the peak")
    # What was freed and is still resident would be taken again without any growth.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    FORGET_PEAK.write_text("5", encoding="ascii")  # the peak is what there is now
    before = _peak()
    call()
    return _peak() - before


def _peak() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
