"""What solving a λ path leaves behind: one record that holds everything its page needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onelayer.command import Command
from onelayer.optimum import Path
from onelayer.result import DataCard


@dataclass(frozen=True, eq=False)
class PathRecord:
    """A λ path, on which data it was solved, and how it was made.

    Attributes:
        path: the optima, their scores and the choice among them.
        data: which data it was.
        environment: engine, library versions, processor, threads.
        command: the command line that made it; None when it was made from Python.

    Example:
        >>> from onelayer.data import load
        >>> from onelayer.optimum import solve_path
        >>> card = DataCard("digits", "scikit-learn", tuple("0123456789"), (1, 8, 8), 1, 1, 1)
        >>> PathRecord(solve_path(load("digits"), [0.1]), card).path.best.l2
        0.1
    """

    path: Path
    data: DataCard
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Command | None = None
