"""What a figure depends on besides the contenders: processor, versions, BLAS, other load."""

from __future__ import annotations

import os
import time
from importlib import metadata
from pathlib import Path

import numpy as np

from onelayer.files.provenance import describe_environment

PACKAGES = ("numpy", "torch", "jax", "jaxlib", "scikit-learn", "scikit-learn-intelex")
STAT = Path("/proc/stat")


def describe_machine() -> dict[str, str]:
    """Processor, cores, memory, system, and the BLAS that NumPy was built with."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return describe_environment() | {
        "memory": f"{memory:.0f} GiB",
        "blas": f"{blas['name']} {blas['version']}",
    }


def package_versions() -> dict[str, str]:
    """Versions of the contenders' packages that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class OtherWork:
    """How much of the processor other work took while the benchmarks ran; Linux alone tells."""

    def __init__(self) -> None:
        self._started, self._busy, self._ours = time.perf_counter(), _busy_seconds(), _our_seconds()

    def cores(self) -> float | None:
        """Cores that other work kept busy since the start, on average; steal is counted."""
        now = _busy_seconds()
        if now is None or self._busy is None:
            return None
        others = (now - self._busy) - (_our_seconds() - self._ours)
        return max(others, 0.0) / (time.perf_counter() - self._started)


def _busy_seconds() -> float | None:
    """Time that all cores together were not idle, from the first line of /proc/stat."""
    try:
        fields = STAT.read_text(encoding="ascii").splitlines()[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(float, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _our_seconds() -> float:
    """Processor time of this process and of the workers that have ended."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system
