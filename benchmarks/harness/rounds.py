"""Rounds of timing in turn, among those whose answers agree.

The order moves on by one each round, so that nobody always follows the same neighbour.
"""

from __future__ import annotations

import math
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness.page import Target
from benchmarks.harness.processes import SETTLE_SECONDS, Conditions, WorkerError
from benchmarks.harness.record import CRASHED, Measure, OtherWork, Part, describe_machine

MIN_ROUNDS = 3
Log = Callable[[str], None]


def _nothing(_: object) -> None:
    pass


@dataclass(frozen=True)
class Session:
    """What a suite is given."""

    conditions: Conditions
    options: Namespace = field(default_factory=lambda: Namespace(quick=True))
    source: str = "random"  # of the report's rows, where there is no "cifar10"
    log: Log = _nothing  # callback of one-line messages
    keep: Callable[[Part], None] = _nothing  # called with the part so far, so that it is not lost
    patience: float = math.inf  # seconds for the rounds of one piece of work
    work: OtherWork = field(default_factory=OtherWork)

    @property
    def quick(self) -> bool:
        return bool(self.options.quick)

    def part(self, **facts: Any) -> Part:
        c, now = self.conditions, datetime.now(UTC).isoformat(timespec="seconds")
        return Part(now, describe_machine(c.threads), c.threads, c.engine, self.quick, facts)


@dataclass(frozen=True)
class Sample:
    """One timed round; its series are added to the measure's, its facts renew them."""

    seconds: float
    refused: str = ""  # why the answer does not agree
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entrant:
    """A contender whose answer was compared; a refused one stays without times."""

    measure: Measure  # who and what, without times
    once: Callable[[], Sample] = lambda: Sample(0.0)
    max_rounds: int = 100  # fewer than the others have for one that takes long


def time_in_turn(
    entrants: Sequence[Entrant], rounds: int, log: Log = _nothing,
    keep: Callable[[list[Measure]], None] = _nothing, settle: float = SETTLE_SECONDS,
    patience: float = math.inf,
) -> list[Measure]:  # fmt: skip
    """Time every entrant round by round; who disagrees or crashes once has no times.

    There are `settle` seconds of rest before each turn; after `patience` seconds no round begins,
    MIN_ROUNDS excepted. `keep` is called with all measures so far after every turn.
    """
    found = [entrant.measure for entrant in entrants]
    taking = [i for i, measure in enumerate(found) if not measure.refused]
    started = time.perf_counter()
    for number in range(rounds):
        if number >= MIN_ROUNDS and time.perf_counter() - started > patience:
            break
        for turn in range(len(taking)):
            i = taking[(turn + number) % len(taking)]
            if number >= entrants[i].max_rounds or found[i].refused:
                continue
            time.sleep(settle)
            found[i] = _one_more(found[i], entrants[i])
            last = found[i].refused or f"{found[i].seconds[-1]:.3g} s"
            log(f"  round {number + 1} of {rounds}: {found[i].label}: {last}")
            keep(found)
    return found


def _one_more(found: Measure, entrant: Entrant) -> Measure:
    try:
        sample = entrant.once()
    except WorkerError as error:
        return replace(found, seconds=(), refused=f"{CRASHED}: {error}")
    if sample.refused:
        return replace(found, seconds=(), refused=sample.refused)
    series = {name: (*found.series.get(name, ()), *more) for name, more in sample.series.items()}
    seconds, facts = (*found.seconds, sample.seconds), {**found.facts, **sample.facts}
    return replace(found, seconds=seconds, series={**found.series, **series}, facts=facts)


@dataclass(frozen=True)
class Suite:
    """A group of measures, by one name on the command line and in the record."""

    name: str
    title: str  # for the reader of --help
    measure: Callable[[Session], Part]
    render: Callable[[Part, Path], list[str]]  # Markdown, its pictures into the folder
    targets: tuple[Target, ...] = ()
    in_whole: bool = True  # whether a whole run contains it, and a quick one
    in_quick: bool = True
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # argparse's, by flag
