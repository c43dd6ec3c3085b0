"""What was measured on the way to the optimum, as plain frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CRASHED = "crashed"


@dataclass(frozen=True)
class Least:
    """J* of one λ, the proven bound on its relative error.

    Attributes:
        task, l2: of what.
        cost: J*, by the float64 oracle.
        gap: proven, relative.
    """

    task: str
    l2: float
    cost: float
    gap: float


@dataclass(frozen=True)
class Solved:
    """One contender on one λ.

    Attributes:
        contender, label, task, l2: who sought what.
        about: versions and choices.
        refused: why it did not take part, or nothing; a crash, if it begins with CRASHED.
        steps: iterations, seconds and relative excess along one watched solution.
        budget: the fewest iterations that reached the goal; None where none did.
        cut: whether the watched solution was ended by its time, and not by the solver itself.
        excess: of the timed answers, the worst.
        gap: relative gap that the timed calls proved; None where the contender proves nothing.
        seconds: plain calls, one a round.
        reached: within them, when the iterate was there, where the contender tells.
        x_bytes: X as the contender wants it.
        peak_bytes: how far memory rose above what was resident before the first call.
    """

    contender: str
    label: str
    task: str
    l2: float
    about: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""
    steps: tuple[tuple[int, float, float], ...] = ()
    budget: int | None = None
    cut: bool = False
    excess: float | None = None
    gap: float | None = None
    seconds: tuple[float, ...] = ()
    reached: tuple[float, ...] = ()
    x_bytes: float = 0.0
    peak_bytes: float = 0.0


@dataclass(frozen=True)
class PathRuns:
    """All rows: onelayer's path, or a default fit.

    Attributes:
        contender, label, about: who.
        l2s: how many λ's.
        seconds: one a round.
        passes: iterations of each λ.
        gap: the largest relative gap that is left; None where nothing is proven.
        x_bytes, peak_bytes: as in `Solved`.
    """

    contender: str
    label: str
    about: Mapping[str, str]
    l2s: int
    seconds: tuple[float, ...]
    passes: tuple[int, ...]
    gap: float | None
    x_bytes: float
    peak_bytes: float


@dataclass(frozen=True)
class OptimumRecord:
    """The section's part of the record, with conditions of its own: it can be renewed alone.

    Attributes:
        machine: processor, system, versions.
        started: when, ISO 8601.
        titles: of the tasks, by name.
        quick: whether it was the short form.
        other_work: cores that other work kept busy meanwhile, on average; None if unknown.
        least: J* of each λ.
        solved: contenders on single λ's.
        paths: all rows.
        path_crash: what ended them, if something did.
        absent: label and pip's name of who is not installed.
    """

    machine: Mapping[str, str]
    started: str
    titles: Mapping[str, str]
    quick: bool
    other_work: float | None = None
    least: tuple[Least, ...] = ()
    solved: tuple[Solved, ...] = ()
    paths: tuple[PathRuns, ...] = ()
    path_crash: str = ""
    absent: tuple[tuple[str, str], ...] = ()

    def find(self, contender: str, task: str, l2: float) -> Solved | None:
        """What was measured of one contender on one λ, if it was."""
        for found in self.solved:
            if (found.contender, found.task, found.l2) == (contender, task, l2):
                return found
        return None

    @property
    def crashed(self) -> list[str]:
        """Whose process ended before it answered, and on what."""
        found = [f"{s.label} on {self.titles[s.task]}, λ = {s.l2:g}: {s.refused}"
                 for s in self.solved if s.refused.startswith(CRASHED)]  # fmt: skip
        return [*found, self.path_crash] if self.path_crash else found

    def path(self, contender: str) -> PathRuns | None:
        """What was measured of one contender on all rows, if it was."""
        return next((p for p in self.paths if p.contender == contender), None)


def from_json(values: Mapping[str, Any]) -> OptimumRecord:
    """The record that went to JSON as plain dictionaries and lists."""
    return OptimumRecord(
        **{
            **values,
            "least": tuple(Least(**v) for v in values["least"]),
            "solved": tuple(Solved(**_with_tuples(v)) for v in values["solved"]),
            "paths": tuple(PathRuns(**_with_tuples(v)) for v in values["paths"]),
            "absent": tuple((label, pip) for label, pip in values["absent"]),
        }
    )


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Lists become tuples, those inside them too."""

    def tupled(value: Any) -> Any:
        return tuple(tupled(v) for v in value) if isinstance(value, list) else value

    return {key: tupled(value) for key, value in values.items()}
