"""What was measured on the embeddings, as plain frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Part:
    """One thing that was done, in a process of its own.

    Attributes:
        key: which.
        label: what a reader calls it.
        rows: training rows.
        models: how many λ's or runs.
        passes: over the rows, or iterations, of all models together.
        seconds: from the files to the answer, one a round.
        peak_bytes: the process's largest resident memory, interpreter and libraries included, less
            the bytes of the training features in their file; None where it is not comparable.
        gap: largest proven gap / J; None where nothing is proven.
        excess: largest relative excess over J*, which is known to 1e-5, by the oracle; None where
            a gap tells it.
        accuracy: on the validation rows, of the best model.
    """

    key: str
    label: str
    rows: int
    models: int
    passes: int
    seconds: tuple[float, ...]
    peak_bytes: float | None = None
    gap: float | None = None
    excess: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class Check:
    """One comparison with the oracle: what was compared, how far off, how far is allowed."""

    what: str
    distance: float
    allowed: float

    @property
    def agrees(self) -> bool:
        """Whether it is within; a NaN is not."""
        return self.distance <= self.allowed


@dataclass(frozen=True)
class ProbeRecord:
    """The section's part of the record, with conditions of its own: it can be renewed alone.

    Attributes:
        machine: processor, system, versions.
        started: when, ISO 8601.
        title: what the rows are.
        quick: whether it was the short form.
        x_bytes: of the training features as stored.
        parts: what was done.
        checks: the comparisons with the oracle.
        failed: parts that did not end, each with the reason.
        other_work: cores that other work kept busy meanwhile, on average; None if unknown.
    """

    machine: Mapping[str, str]
    started: str
    title: str
    quick: bool
    x_bytes: float
    parts: tuple[Part, ...] = ()
    checks: tuple[Check, ...] = ()
    failed: tuple[tuple[str, str], ...] = field(default=())
    other_work: float | None = None

    def find(self, key: str) -> Part | None:
        """What was measured of a part, if it was."""
        return next((part for part in self.parts if part.key == key), None)

    @property
    def disagreeing(self) -> list[Check]:
        """Comparisons that did not come out."""
        return [check for check in self.checks if not check.agrees]


def from_json(values: Mapping[str, Any]) -> ProbeRecord:
    """The record that went to JSON as plain dictionaries and lists."""
    return ProbeRecord(
        **{
            **values,
            "parts": tuple(
                Part(**{**part, "seconds": tuple(part["seconds"])}) for part in values["parts"]
            ),
            "checks": tuple(Check(**check) for check in values["checks"]),
            "failed": tuple((part, reason) for part, reason in values["failed"]),
        }
    )
