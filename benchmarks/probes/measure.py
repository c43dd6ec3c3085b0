"""The parts in turn, each in a process of its own; one that fails is said and the others go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.crew import SETTLE_SECONDS, Conditions, Process, WorkerError
from benchmarks.machine import OtherWork, describe_machine, package_versions
from benchmarks.probes.problem import FULL, QUICK, Probe, write_files
from benchmarks.probes.record import Check, Part, ProbeRecord

Say = Callable[[str], None]

MODULE = "benchmarks.probes.worker"


@dataclass(frozen=True)
class Step:
    """A part to be measured.

    Attributes:
        key: what the worker knows it by.
        label: what a reader calls it.
        judge: what of the worker judges the answer, if anything does.
        tenth: whether it takes a tenth of the rows, in rounds with the others that do.
        share: of the rows that are trained on, where validation and test are cut off.
        weighed: whether its memory is told beside the rows'.
    """

    key: str
    label: str
    judge: str = ""
    tenth: bool = False
    share: float = 1.0
    weighed: bool = True


def steps_of(probe: Probe) -> tuple[Step, ...]:
    """All that is measured, in order."""
    few = len(probe.peers)
    return (
        Step("path", f"onelayer, {probe.points} λ's, each proven", "judge-path"),
        Step("sweep", f"onelayer, a sweep of {len(probe.runs)} runs × {probe.epochs} epochs",
             "judge-sweep"),
        Step("path-of-shares", "onelayer, 1 λ, validation and test cut off the file", share=0.64),
        Step("path-of-tenth", f"onelayer, {probe.points} λ's, each proven", tenth=True),
        Step("few-of-tenth", f"onelayer, {few} λ's, each proven", tenth=True),
        Step("peer", f"scikit-learn LogisticRegression, {few} λ's", "judge-peer", tenth=True,
             weighed=False),
    )  # fmt: skip


def run_probes(
    conditions: Conditions,
    say: Say,
    *,
    quick: bool,
    keep: Callable[[ProbeRecord], None] = lambda record: None,
    probe: Probe | None = None,
) -> ProbeRecord:
    """Measure the whole section.

    Args:
        conditions: the same for every process.
        say: told what is being done.
        quick: the short form.
        keep: told of the record after every part, so that nothing measured is lost.
        probe: another size than these two.

    Returns:
        The record.
    """
    chosen, other_work = probe or (QUICK if quick else FULL), OtherWork()
    folder = conditions.folder / "probes"
    folder.mkdir()
    record = ProbeRecord(
        machine=describe_machine() | package_versions(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        title=f"{chosen.rows:,} × {chosen.features} float16, {chosen.classes} classes".replace(
            ",", " "
        ),
        quick=quick,
        x_bytes=chosen.x_bytes,
    )
    write_files(chosen, folder)
    steps = steps_of(chosen)
    rounds = [(step, 0) for step in steps if not step.tenth]
    rounds += [(step, r) for r in range(chosen.rounds) for step in steps if step.tenth]
    for step, number in rounds:
        record = _one(step, number, record, _Job(chosen, folder, conditions), say)
        keep(record)
    return replace(record, other_work=other_work.cores())


@dataclass(frozen=True)
class _Job:
    probe: Probe
    folder: Path
    conditions: Conditions

    def ask(self, part: str, to: Path) -> dict[str, Any]:
        """Do a part in a process of its own."""
        job = {"contender": part, "probe": self.probe.as_dict(), "folder": str(self.folder),
               "engine": self.conditions.engine}  # fmt: skip
        time.sleep(SETTLE_SECONDS)
        with Process(MODULE, job, self.conditions) as process:
            return process.ask(do="run", part=part, to=str(to))


def _one(step: Step, number: int, record: ProbeRecord, job: _Job, say: Say) -> ProbeRecord:
    """The record with one more part, or one more round of it; a crash is put into it too."""
    answer = job.folder / f"{step.key}.npz"
    if any(step.key == failed for failed, _ in record.failed):
        return record
    try:
        told = job.ask(step.key, answer)
        say(f"  {step.label}: {told['seconds']:.1f} s (round {number + 1})")
        judged = job.ask(step.judge, answer) if step.judge and not number else {}
    except WorkerError as error:
        say(f"  {step.label}: {error}")
        return replace(record, failed=(*record.failed, (step.key, str(error))))
    before = record.find(step.key)
    part = before or _part_of(step, told, judged, job.probe)
    part = replace(part, seconds=(*part.seconds, told["seconds"]))
    checks = [Check(*check) for check in judged.get("checks", ())]
    others = tuple(p for p in record.parts if p.key != step.key)
    return replace(record, parts=(*others, part), checks=(*record.checks, *checks))


def _part_of(step: Step, told: dict[str, Any], judged: dict[str, Any], probe: Probe) -> Part:
    return Part(
        key=step.key,
        label=step.label,
        rows=probe.tenth if step.tenth else round(step.share * probe.rows),
        models=told["models"],
        passes=told["passes"],
        seconds=(),
        peak_bytes=told["peak_bytes"] - probe.x_bytes if step.weighed else None,
        gap=told.get("gap"),
        excess=judged.get("excess"),
        accuracy=told["accuracy"],
    )
