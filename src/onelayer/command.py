"""The command that made a run: what `onelayer rerun` gives again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

# Of these options the one that says no is another than leaving it out.
PAIRED = ("stream",)


@dataclass(frozen=True)
class Command:
    """A command line as it was in force: typed, from a settings file, and defaults.

    Attributes:
        name: of the command, "fit".
        options: values by the option's name without its dashes; what was not set is left out, and
            so is where the run was saved, which the run's folder tells.
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
    """A command as plain values, fit for JSON; `read_command` gives it back."""
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
