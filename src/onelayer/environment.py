"""What a figure depends on besides the settings: versions, processor, cores."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe_environment() -> dict[str, str]:
    """Describe what this process runs on.

    Returns:
        Versions of onelayer and Python, the system, the processor's name and the number of cores
        that this process may use.

    Example:
        >>> sorted(describe_environment())
        ['cores', 'onelayer', 'processor', 'python', 'system']
    """
    from importlib.metadata import version  # its own imports take 30 ms

    return {
        "onelayer": version("onelayer"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(_cores()),
    }


def _processor() -> str:
    """The processor's name: Linux says it in /proc, other systems through the platform module."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> int:
    """Cores this process may use; fewer than the machine's under taskset or in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
