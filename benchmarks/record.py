"""What was measured, as plain frozen records that go to JSON and come back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.optimum.record import OptimumRecord
from benchmarks.optimum.record import from_json as optimum_from_json
from benchmarks.probes.record import ProbeRecord
from benchmarks.probes.record import from_json as probes_from_json


@dataclass(frozen=True)
class Measured:
    """One contender on one problem.

    Attributes:
        contender, label, problem, runs: who trained what; runs is R.
        flops: 4 N D K R epochs.
        bytes_touched: least bytes across the memory bus, by the model in `Problem`.
        peak_bytes: how far memory rose above what was resident when the data were loaded.
        about: versions and choices.
        compile_seconds: compiling before the timed part, if any.
        agrees: whether the weights were the oracle's; if not, there are no times.
        compared_runs: how many of the runs were compared at their end.
        distance, allowed: largest |w − w_oracle| and its tolerance; None for another algorithm.
        seconds: one time for each round.
        sgemm_gflops, copy_gbytes: the machine's limits right before and after each time.
    """

    contender: str
    label: str
    problem: str
    runs: int
    flops: float
    bytes_touched: float
    peak_bytes: float
    about: Mapping[str, str] = field(default_factory=dict)
    compile_seconds: float | None = None
    agrees: bool = True
    compared_runs: int = 0
    distance: float | None = None
    allowed: float | None = None
    seconds: tuple[float, ...] = ()
    sgemm_gflops: tuple[float, ...] = ()
    copy_gbytes: tuple[float, ...] = ()


@dataclass(frozen=True)
class Absent:
    """A contender that is not installed, and how it is."""

    contender: str
    label: str
    pip: str


@dataclass(frozen=True)
class Point:
    """One point of a chart: the times of one contender at one value of R, D, K or N."""

    axis: str
    value: int
    measured: Measured


@dataclass(frozen=True)
class CommandRuns:
    """Whole runs of a command: wall seconds and the process's peak memory, one a run."""

    command: str
    seconds: tuple[float, ...]
    peak_bytes: tuple[float, ...]


@dataclass(frozen=True)
class Record:
    """One session of benchmarks.

    Attributes:
        machine: processor, system, versions.
        started: when, ISO 8601.
        data: what the rows of the report's setting were.
        engine: onelayer's engine.
        threads: of every contender.
        quick: whether it was the short form.
        measured: times of the sections.
        absent: who is not installed.
        points: the sweeps.
        reproduce: the command, or None where it was not run.
        other_work: cores that other work kept busy meanwhile, on average; None if unknown.
        optimum: the search for the optimum, or None where it was not run.
        probes: the linear probe on embeddings, or None where it was not run.
    """

    machine: Mapping[str, str]
    started: str
    data: str
    engine: str
    threads: int
    quick: bool
    measured: tuple[Measured, ...] = ()
    absent: tuple[Absent, ...] = ()
    points: tuple[Point, ...] = ()
    reproduce: CommandRuns | None = None
    other_work: float | None = None
    optimum: OptimumRecord | None = None
    probes: ProbeRecord | None = None

    def find(self, contender: str, problem: str) -> Measured | None:
        """What was measured of one contender on one problem, if it was."""
        for found in self.measured:
            if (found.contender, found.problem) == (contender, problem):
                return found
        return None

    @property
    def disagreeing(self) -> list[Measured]:
        """Everything whose answer was not the oracle's."""
        everything = [*self.measured, *(point.measured for point in self.points)]
        return [found for found in everything if not found.agrees]


def write_record(record: Record, path: Path) -> None:
    """Write the record as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n"
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def read_record(path: Path) -> Record:
    """Read the record that `write_record` wrote."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    command, optimum, probes = values["reproduce"], values.get("optimum"), values.get("probes")
    return Record(
        **{
            **values,
            "measured": tuple(_measured(m) for m in values["measured"]),
            "absent": tuple(Absent(**a) for a in values["absent"]),
            "points": tuple(
                Point(p["axis"], p["value"], _measured(p["measured"])) for p in values["points"]
            ),
            "reproduce": CommandRuns(**_with_tuples(command)) if command else None,
            "optimum": optimum_from_json(optimum) if optimum else None,
            "probes": probes_from_json(probes) if probes else None,
        }
    )


def _measured(values: Mapping[str, Any]) -> Measured:
    return Measured(**_with_tuples(values))


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
