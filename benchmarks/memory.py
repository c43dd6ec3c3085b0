"""Peak memory of this process since a chosen moment."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Let the peak start from what is resident now (Linux); elsewhere the old peak stays."""
    try:
        CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return


def peak_bytes() -> int:
    """Largest resident set since `forget_peak`, or of the whole life where that is all there is."""
    try:
        lines = STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
