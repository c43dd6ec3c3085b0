"""What made a run: its command, for `onelayer rerun`, and the versions and machine it ran on."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Options whose --no- form differs from leaving them out.
PAIRED = ("stream",)


@dataclass(frozen=True)
class Command:
    """A command line with all options in force: typed, from a settings file, and defaults.

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
            >>> Command("fit", {"learning-rate": ["0.1", "auto"], "epochs": 3}, "0.1.0").line
            'onelayer fit --learning-rate 0.1 --learning-rate auto --epochs 3'
        """
        words = ["onelayer", self.name]
        for name, value in self.options.items():
            if isinstance(value, bool):
                words += [f"--{name}"] if value else [f"--no-{name}"] * (name in PAIRED)
                continue
            for one in value if isinstance(value, list) else [value]:
                words += [f"--{name}", str(one)]
        return shlex.join(words)


def write_command(command: Command | None) -> dict[str, Any] | None:
    """A command as plain values for JSON, which `read_command` reads."""
    return None if command is None else asdict(command)


def read_command(values: Mapping[str, Any] | None) -> Command | None:
    """The command of plain values.

    Example:
        >>> command = Command("fit", {"epochs": 3}, "0.1.0")
        >>> read_command(write_command(command)) == command
        True
        >>> read_command(None) is None
        True
    """
    return None if values is None else Command(**values)


def describe_environment() -> dict[str, str]:
    """Versions of onelayer and Python, system, processor, and cores that this process may use.

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
