"""The command that made a run: what `onelayer rerun` gives again.

What a figure depends on besides the settings: versions, processor, cores.
"""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Command:
    """A command line as it was in force: typed, from a settings file, and defaults.

    Attributes:
        name: of the command, "train".
        options: values by the option's name without its dashes. Options that were not set are left
            out, and so is the run's folder.
        onelayer: version that ran it.
    """

    name: str
    options: Mapping[str, Any]
    onelayer: str

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


def write_command(command: Command | None) -> dict[str, Any] | None:
    """A command as plain values, fit for JSON; `read_command` gives it back."""
    return None if command is None else asdict(command)


def read_command(values: Mapping[str, Any] | None) -> Command | None:
    """The command of plain values.

    Example:
        >>> command = Command("train", {"epochs": "3"}, "0.1.0")
        >>> read_command(write_command(command)) == command
        True
        >>> read_command(None) is None
        True
    """
    return None if values is None else Command(**values)


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
