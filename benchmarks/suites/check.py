"""Ratios to peers beside those that a record keeps: `python -m benchmarks --check`.

On a shared machine, so all have one thread and are timed by the processor's seconds. A ratio is
taken pair by pair within rounds in which contenders take turns, and its median counts: drift hits
both alike. One that is below its bound is measured once more in more rounds before it fails. Higher
is better in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.harness.page import spread_text
from benchmarks.harness.problem import Problem, Setting, data_folder, l2_path, make_data, read_data
from benchmarks.harness.processes import Process
from benchmarks.harness.record import DISAGREES, ONELAYER, Measure, Part, Record
from benchmarks.harness.rounds import Entrant, Sample, Session, time_in_turn
from benchmarks.harness.worker import timed
from benchmarks.peers import GOAL, LBFGS32, contender, solver, start
from benchmarks.suites.optimum import Judge, run_paths
from benchmarks.suites.training import THE_FOUR, Entry, measure_entries
from onelayer import _native

ALLOWED_LOSS = 0.15
# What an unknown processor must keep of the lowest ratio that is kept of any.
UNKNOWN_KEEPS = 0.5
ROUNDS, MORE_ROUNDS = 9, 21
# Seconds for the rounds of one piece of work, so that a slow machine ends in time as well.
PATIENCE = 15.0
SIDE = 2048
SGEMM = "sgemm"

# Few rows and many epochs: pages that a peer touches first would count otherwise.
ONE = Problem("one run", rows=2000, epochs=20)
FOUR = Problem("four settings", rows=2000, epochs=10, settings=THE_FOUR)
MANY = Problem("64 runs", rows=4000, epochs=1,
               settings=tuple(Setting(seed=i) for i in range(64)))  # fmt: skip
EIGHT = Problem("eight runs", rows=2000, epochs=8,
                settings=tuple(Setting(0.001, seed=i) for i in range(8)))  # fmt: skip
WIDE = Problem("wide", rows=8192, features=1024, classes=1000, batch_size=1024, epochs=1,
               dtype="float32")  # fmt: skip
HALF = replace(WIDE, name="wide, float16", dtype="float16")
SOLVED = Problem("solved", 4000, source="picture", settings=(Setting(l2=0.01),))
PATH = Problem("all", 2000, 512, source="picture",
               settings=tuple(Setting(l2=l2) for l2 in l2_path(8, 1, 1e-3)))  # fmt: skip
PEER_ITERATIONS = 20


@dataclass(frozen=True)
class Ratio:
    """A peer's time / onelayer's on some work, or onelayer's share of sgemm."""

    name: str
    work: str
    peer: str
    ours: str = ONELAYER

    def values(self, measures: Sequence[Measure]) -> tuple[float, ...]:
        """The ratio in every round; none where an answer was refused."""
        found = {m.who: m for m in measures if m.work == self.work}
        ours = found[self.ours]
        if self.peer == SGEMM and ours.seconds:
            limits = np.reshape(ours.series[SGEMM], (-1, 2)).mean(axis=1)
            return tuple((ours.facts["flops"] / np.array(ours.seconds) / 1e9 / limits).tolist())
        peers = found[self.peer].seconds if self.peer in found else ()
        return tuple(p / o for p, o in zip(peers, ours.seconds, strict=False))


def _train(
    problem: Problem, peers: Sequence[str], side: int, session: Session, rounds: int
) -> list[Measure]:
    entries = [Entry(contender(ONELAYER), problem, side)]
    entries += [Entry(contender(peer), problem) for peer in peers]
    return list(measure_entries(session, session.part(), entries, rounds).measures)


def _solve(session: Session, rounds: int) -> list[Measure]:
    """The proven optimum beside a number of iterations of scikit-learn that come less near."""
    (l2,), entrants = SOLVED.l2s.tolist(), list[Entrant]()
    judge = Judge(SOLVED, read_data(data_folder(SOLVED, session.conditions.folder)))
    optimum = judge.reference(l2)["optimum"]
    with ExitStack() as stack:
        for key, iterations in ((ONELAYER, None), (LBFGS32, PEER_ITERATIONS)):
            who = solver(key)
            process = stack.enter_context(start(who, SOLVED, session))

            def once(process: Process = process, iterations: int | None = iterations) -> Sample:
                told = process.ask("run", l2=l2, iterations=iterations)
                off = judge.excess(told["answer"].W, told["answer"].b, l2, optimum)
                refused = "" if iterations or off <= GOAL else f"{DISAGREES}: {off:.1e} off"
                return Sample(told["seconds"], refused)

            once()
            entrants.append(Entrant(Measure(SOLVED.name, key, who.label), once))
        return time_in_turn(entrants, rounds, session.log, patience=session.patience)


class Desk:
    """Trains by the public interface and by estimators, and the same by a peer."""

    def __init__(self, do: str, threads: int) -> None:
        self._work: Callable[[], Any] = getattr(self, do)(threads)
        self._work()

    def run(self) -> dict[str, Any]:
        """One training: seconds, and what the answers are compared by."""
        answer, figures = timed(self._work)
        return {**figures, "answer": np.asarray(answer, np.float64)}

    def train_ours(self, threads: int) -> Callable[[], Any]:
        from onelayer import Run, train
        from onelayer.data import Dataset, Splits

        X, y = make_data(EIGHT)
        rows = Dataset(X, y, tuple("abcdefghij"), max_value=255.0, name="check")
        splits = Splits(rows, rows.take(slice(0, 500)), rows.take(slice(0, 500)), "check", "")
        runs = [Run(s.learning_rate, s.l2, s.seed, EIGHT.batch_size, EIGHT.epochs, shuffle=False)
                for s in EIGHT.settings]  # fmt: skip
        return lambda: train(splits, runs, scaling="unit", certify=False).W

    def train_peer(self, threads: int) -> Callable[[], Any]:
        prepared = contender("numpy").prepare(EIGHT, make_data(EIGHT), threads)
        return lambda: prepared.run().W

    def fit_ours(self, threads: int) -> Callable[[], Any]:
        from onelayer import SoftmaxClassifier

        X, y = self._digits()
        model = SoftmaxClassifier(1 / (2 * len(y)), tol=1e-4, threads=threads)
        return lambda: model.fit(X, y).predict_proba(X)

    def fit_peer(self, threads: int) -> Callable[[], Any]:
        from sklearn.linear_model import LogisticRegression

        X, y = self._digits()
        return lambda: LogisticRegression(max_iter=1000).fit(X, y).predict_proba(X)

    def _digits(self) -> tuple[Any, Any]:
        from sklearn.datasets import load_digits

        X, y = load_digits(return_X_y=True)
        return X / 16.0, y


def _by_interface(what: str, tolerance: float, session: Session, rounds: int) -> list[Measure]:
    """The public interface beside a peer; the first answers are compared."""
    c, entrants, answers = session.conditions, list[Entrant](), list[Any]()
    with ExitStack() as stack:
        for who, do in ((ONELAYER, f"{what}_ours"), ("peer", f"{what}_peer")):
            process = stack.enter_context(Process(what, Desk, do, c.threads, conditions=c))
            answers.append(process.ask("run")["answer"])
            off = float(np.abs(answers[0] - answers[-1]).max())
            refused = "" if off <= tolerance else f"{DISAGREES}: answers differ by {off:.1e}"

            def once(process: Process = process) -> Sample:
                return Sample(process.ask("run")["seconds"])

            entrants.append(Entrant(Measure(what, who, f"{what} {who}", refused=refused), once))
        return time_in_turn(entrants, rounds, session.log, patience=session.patience)


Group = tuple[Callable[[Session, int], list[Measure]], tuple[Ratio, ...]]
GROUPS: tuple[Group, ...] = (
    (partial(_train, ONE, ("numpy", "torch-once"), 0),
     (Ratio("one run: NumPy / onelayer", ONE.name, "numpy"),
      Ratio("one run: PyTorch by hand / onelayer", ONE.name, "torch-once"))),
    (partial(_train, FOUR, ("numpy",), 0),
     (Ratio("four settings: NumPy / onelayer", FOUR.name, "numpy"),)),
    (partial(_train, MANY, (), SIDE), (Ratio("64 runs: share of sgemm", MANY.name, SGEMM),)),
    (partial(_train, HALF, (), SIDE), (Ratio("wide, float16: share of sgemm", HALF.name, SGEMM),)),
    (partial(_train, WIDE, ("numpy",), 0),
     (Ratio("wide, float32: NumPy / onelayer", WIDE.name, "numpy"),)),
    (_solve, (Ratio(f"optimum: {PEER_ITERATIONS} iterations of scikit-learn / onelayer's proof",
                    SOLVED.name, LBFGS32),)),
    (lambda session, rounds: run_paths(PATH, rounds, session),
     (Ratio("path of 8 λ's: a default scikit-learn fit / onelayer", PATH.name, "sklearn-default",
            "onelayer-path"),)),
    (partial(_by_interface, "train", 1e-4),
     (Ratio("train, 8 runs: NumPy / onelayer", "train", "peer"),)),
    (partial(_by_interface, "fit", 0.05),
     (Ratio("SoftmaxClassifier on digits: scikit-learn / onelayer", "fit", "peer"),)),
)  # fmt: skip


def kind_of_processor(threads: int) -> str:
    """Whose ratios are alike: the processor's model, the instructions in use, and threads."""
    lines = Path("/proc/cpuinfo")
    known: dict[str, str] = {}
    if lines.exists():
        for line in lines.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            known.setdefault(key.strip(), value.strip())
    model = " ".join(known.get(key, "?") for key in ("model name", "cpu family", "model"))
    return f"{model}, {_native.instruction_set()}, {threads} threads"


def bound_of(name: str, kind: str, kept: Record) -> float | None:
    """The least that a ratio may be; None where nothing is kept of it."""
    known = {k: part.find(ONELAYER, name) for k, part in kept.items()}
    medians = {k: median(m.series["ratio"]) for k, m in known.items() if m is not None}
    if kind in medians:
        return (1 - ALLOWED_LOSS) * medians[kind]
    return UNKNOWN_KEEPS * min(medians.values()) if medians else None


def check(
    session: Session, kept: Record, groups: Sequence[Group] = GROUPS
) -> tuple[Part, list[str]]:
    """Measure every ratio, and say which ones are lost.

    Returns:
        This processor's ratios; one line for each that is below its bound.
    """
    kind, part, losses = kind_of_processor(session.conditions.threads), session.part(), []
    fixed = replace(session.conditions, processor_time=True)
    session = replace(session, conditions=fixed, patience=PATIENCE)
    if kept and kind not in kept:
        session.log(f"No record of {kind}: half of the lowest ratio of any processor is asked for.")
    for measure, ratios in groups:
        found = _measured(measure, ratios, session, ROUNDS)
        if any(_lost(m, kind, kept) for m in found):
            session.log("  below its bound: once more, in more rounds")
            found = _measured(measure, ratios, session, MORE_ROUNDS)
        losses += [line for m in found if (line := _lost(m, kind, kept))]
        for m in found:
            session.log(f"{m.work}: {spread_text(m.series['ratio'], 2)}")
        part = part.with_(found)
    return session.loaded(part), losses


def _measured(
    measure: Callable[[Session, int], list[Measure]], ratios: Sequence[Ratio], session: Session,
    rounds: int,
) -> list[Measure]:  # fmt: skip
    measures = measure(session, rounds)
    wrong = "; ".join(f"{m.label}: {m.refused}" for m in measures if m.refused)
    return [Measure(r.name, ONELAYER, r.name, refused=wrong,
                    series={"ratio": r.values(measures)}) for r in ratios]  # fmt: skip


def _lost(found: Measure, kind: str, kept: Record) -> str:
    """What is wrong with a ratio, in one line, or nothing."""
    ratios = found.series["ratio"]
    if found.refused or not ratios:
        return f"{found.work}: {found.refused or 'not measured'}"
    bound = bound_of(found.work, kind, kept)
    if bound is None or median(ratios) >= bound:
        return ""
    measured = f"{spread_text(ratios, 2)}, n = {len(ratios)}"
    return f"{found.work}: {measured}, where at least {bound:.2f} is asked for"
