"""Where a training step's time goes: seconds of each phase, and the share of sgemm.

It needs an extension built with -DONELAYER_PHASE_TIMES=ON; without it only totals are shown. The
sgemm limit is measured again around every round, so that a share compares neighbours in time. One
step's answer is asserted first: a speed of wrong numbers is no speed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.page import percent, spread_text, table
from benchmarks.harness.processes import Process
from benchmarks.harness.record import DISAGREES, ONELAYER, Measure, Part
from benchmarks.harness.rounds import Entrant, Sample, Session, Suite, time_in_turn
from benchmarks.harness.worker import timed
from onelayer import _native

ROUNDS, TOLERANCE = 5, 1e-6


class Case(NamedTuple):
    """A problem's letters, how X is stored, and how many epochs make a round."""

    N: int
    D: int
    K: int
    R: int
    B: int
    stored: str
    epochs: int


CASES: Mapping[str, Case] = {
    "one run": Case(10_000, 3072, 10, 1, 100, "uint8", 40),
    "four settings": Case(10_000, 3072, 10, 4, 100, "uint8", 20),
    "64 runs": Case(10_000, 3072, 10, 64, 100, "uint8", 2),
    "wide, float16 X": Case(20_000, 1024, 1000, 1, 1024, "float16", 1),
    "wide, float32 X": Case(20_000, 1024, 1000, 1, 1024, "float32", 1),
}


class Desk:
    """Trains one case by the extension's own function, with random rows."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._case = case = Case(*job["case"])
        rng = np.random.default_rng(0)
        X = rng.integers(0, 256, (case.N, case.D), dtype=np.uint8)
        whole = case.stored == "uint8"
        self._arguments: dict[str, Any] = {
            "X": X if whole else (X / 255).astype(case.stored),
            "y": rng.integers(0, case.K, case.N),
            "order": None,
            "batch_size": case.B,
            "W": (0.01 * rng.standard_normal((case.R, case.K, case.D))).astype(np.float32),
            "b": np.zeros((case.R, case.K), np.float32),
            "learning_rate": np.full((-(-case.N // case.B), case.R), 0.01),
            "l2": np.full(case.R, 0.01),
            "scale": np.full(case.D, 1 / 255 if whole else 1.0),
            "offset": np.zeros(case.D),
            "threads": job["threads"],
        }

    def check(self) -> dict[str, Any]:
        """How far one step of the first run is from NumPy's float64 step."""
        a, size = self._arguments, self._case.B
        X, y, V = a["X"][:size], a["y"][:size], a["W"][0].astype(np.float64)
        F = X * a["scale"]
        S = F @ V.T
        P = np.exp(S - S.max(axis=1, keepdims=True))
        P /= P.sum(axis=1, keepdims=True)
        P[np.arange(size), y] -= 1
        wanted = (1 - 2 * 0.01 * 0.01) * V - 0.01 * P.T @ F / size
        _native.train_epoch(**a | {"X": X, "y": y, "learning_rate": a["learning_rate"][:1]})
        return {"distance": float(np.abs(a["W"][0] - wanted).max())}

    def train(self) -> dict[str, Any]:
        """Train a round of epochs: seconds, and seconds of each phase where they are counted."""
        _native.phase_times()
        _, figures = timed(self._epochs)
        return {**figures, "phases": _native.phase_times()}

    def _epochs(self) -> None:
        for _ in range(self._case.epochs):
            _native.train_epoch(**self._arguments)


def measure(session: Session) -> Part:
    """Every case in a process of its own."""
    part = session.part(instruction_set=_native.instruction_set())
    for name, case in CASES.items():
        desk = "benchmarks.suites.phases:Desk"
        with Process(name, desk, {"case": case}, session.conditions) as worker:
            off = worker.ask("check")["distance"]
            refused = "" if off <= TOLERANCE else f"{DISAGREES}: a step is {off:.1e} off"
            worker.ask("train")
            flops = 4.0 * case.N * case.D * case.K * case.R * case.epochs
            found = Measure(name, ONELAYER, "onelayer", refused=refused, facts={"flops": flops})
            entrant = Entrant(found, partial(_once, worker))
            rounds = 1 if session.quick else ROUNDS
            part = part.with_(time_in_turn([entrant], rounds, session.log))
    return part


def _once(worker: Process) -> Sample:
    before = worker.limit("sgemm")
    told = worker.ask("train")
    phases = {f"phase {name}": (seconds,) for name, seconds in told["phases"].items()}
    series = {"sgemm": (before, worker.limit("sgemm")), **phases}
    return Sample(told["seconds"], series=series)


def render(part: Part, _: Path) -> list[str]:
    """One line a case."""
    head = ("case", "seconds: median (min–max)", "n", "GFLOP/s", "of sgemm", "phases")
    rows = []
    for m in part.measures:
        spent = {k.partition(" ")[2]: sum(v) for k, v in m.series.items() if k.startswith("phase")}
        total = sum(spent.values())
        shares = ", ".join(f"{name} {100 * s / total:.1f} %" for name, s in spent.items() if total)
        rows.append([m.work, m.refused] if m.refused else [
            m.work, spread_text(m.seconds), str(len(m.seconds)),
            f"{m.facts['flops'] / (m.median or 1) / 1e9:.1f}",
            percent(m.share("sgemm", "flops")), shares,
        ])  # fmt: skip
    about = f"{part.facts['instruction_set']}, {part.threads} threads."
    return ["## Phases of a step", about, table(head, rows)]


SUITE = Suite("phases", "where a step's time goes (an extension with phase times)", measure,
              render, in_whole=False)  # fmt: skip
