"""The command that made a run: what `onelayer rerun` gives again.

What a figure depends on besides the settings: versions, processor, cores.
"""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Command:
    """A command line as it was in force: typed, from a settings file, and defaults."""

    name: str  # "train"
    options: Mapping[str, Any]  # those that were set but the run's folder, without their dashes
    onelayer: str  # the version that ran it

    @property
    def line(self) -> str:
        """The command as it can be typed.

        Example:
            >>> Command("train", {"learning-rate": "0.1,auto", "shuffle": False}, "0.1.0").line
            'onelayer train --learning-rate 0.1,auto --no-shuffle'
        """
        words = ["onelayer", self.name]
        for name, value in self.options.items():
            if isinstance(value, bool):
                words.append(f"--{name}" if value else f"--no-{name}")
            else:
                words += [f"--{name}", str(value)]
        return shlex.join(words)


def describe_environment() -> dict[str, str]:
    """What this process runs on: versions, the system, the processor, and the cores it may use."""
    # Fewer cores than the machine's under taskset or in a container.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return _installation() | {"cores": str(cores or 1)}


@cache
def _installation() -> dict[str, str]:
    """What stays the same as long as a process lives."""
    from importlib.metadata import version  # its own imports take 30 ms

    return {
        "onelayer": version("onelayer"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
    }


def _processor() -> str:
    """The processor's name: Linux says it in /proc, other systems through the platform module."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
