"""Where a training step's time goes: seconds of each phase, and the share of sgemm.

It needs an extension built with -DONELAYER_PHASE_TIMES=ON; without it only totals are shown. The
sgemm limit is measured again around every round, so that a share compares neighbours in time.
Answers are compared first: a speed of wrong numbers is no speed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness.limits import SGEMM_SIDE
from benchmarks.harness.page import percent, spread_text, table
from benchmarks.harness.problem import Problem
from benchmarks.harness.record import ONELAYER, Part
from benchmarks.harness.rounds import Session, Suite
from benchmarks.peers import contender
from benchmarks.suites import training
from onelayer import _native

TITLES = {"one": "one run", "four": "four settings", "64": "64 runs",
          "wide-float16": "wide, float16 X", "wide-float32": "wide, float32 X"}  # fmt: skip
EPOCHS = {"one": 40, "four": 20, "64": 2, "wide-float16": 1, "wide-float32": 1}


class Desk(training.Desk):
    """Trains, and tells the seconds of each phase where they are counted."""

    def train(self) -> dict[str, Any]:
        _native.phase_times()
        told = super().train()
        return {**told, "phases": _native.phase_times()}


def problems() -> list[Problem]:
    """The problems of the training suites, of random rows, with the epochs of a round."""
    known = training.problems("random", quick=False)
    return [replace(known[name], epochs=epochs) for name, epochs in EPOCHS.items()]


def measure(session: Session) -> Part:
    part = session.part(instruction_set=_native.instruction_set())
    for problem in problems():
        entry = training.Entry(contender(ONELAYER), problem, SGEMM_SIDE, Desk)
        rounds = 1 if session.quick else 5
        part = training.measure_entries(session, part, [entry], rounds)
    return part


def render(part: Part, _: Path) -> list[str]:
    head = ("case", "seconds: median (min–max)", "n", "GFLOP/s", "of sgemm", "phases")
    rows = []
    for m in part.measures:
        spent = {k.partition(" ")[2]: sum(v) for k, v in m.series.items() if k.startswith("phase")}
        total = sum(spent.values())
        shares = ", ".join(f"{name} {100 * s / total:.1f} %" for name, s in spent.items() if total)
        rows.append([TITLES[m.work], m.refused] if m.refused else [
            TITLES[m.work], spread_text(m.seconds), str(len(m.seconds)),
            f"{m.facts['flops'] / (m.median or 1) / 1e9:.1f}",
            percent(m.share("sgemm", "flops")), shares,
        ])  # fmt: skip
    about = f"{part.facts['instruction_set']}, {part.threads} threads."
    return ["## Phases of a step", about, table(head, rows)]


SUITE = Suite("phases", "where a step's time goes (an extension with phase times)", measure,
              render, in_whole=False)  # fmt: skip
