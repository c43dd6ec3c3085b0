"""Ratios to peers beside those that a record keeps: `python -m benchmarks --check`.

On a shared machine, so all have one thread and are timed by the processor's seconds. A ratio is
taken pair by pair within rounds in which contenders take turns, and its median counts: drift hits
both alike. One that is below its bound is measured once more in more rounds before it fails. Higher
is better in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from benchmarks.harness.page import spread_text
from benchmarks.harness.problem import Problem, Setting, data_folder, l2_path, read_data
from benchmarks.harness.processes import Process
from benchmarks.harness.record import (
    DISAGREES,
    ONELAYER,
    Measure,
    Part,
    Record,
    kind_of_processor,
)
from benchmarks.harness.rounds import Entrant, Sample, Session
from benchmarks.peers import GOAL, SOLVERS, Contender, contender, time_contenders
from benchmarks.suites.optimum import Judge, run_paths
from benchmarks.suites.training import THE_FOUR, Entry, measure_entries

ALLOWED_LOSS = 0.15
# What an unknown processor must keep of the lowest ratio that is kept of any.
UNKNOWN_KEEPS = 0.5
ROUNDS, MORE_ROUNDS = 9, 21
# Seconds for the rounds of one piece of work, so that a slow machine ends in time as well.
PATIENCE = 15.0
SGEMM, SIDE = "sgemm", 2048

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
PEER, PEER_ITERATIONS = "sklearn-lbfgs-float32", 20
DIGITS = Problem("digits", 1797, 64, source="digits", settings=(Setting(l2=1 / (2 * 1797)),))


def ratios(measures: Sequence[Measure], peer: str) -> tuple[float, ...]:
    """A peer's time / onelayer's in every round, or onelayer's share of sgemm."""
    ours = next(m for m in measures if m.who.startswith(ONELAYER))
    if peer == SGEMM and ours.seconds:
        limits = np.reshape(ours.series[SGEMM], (-1, 2)).mean(axis=1)
        return tuple((ours.facts["flops"] / np.array(ours.seconds) / 1e9 / limits).tolist())
    rounds = [zip(m.seconds, ours.seconds, strict=False) for m in measures if m.who == peer]
    return tuple(p / o for pairs in rounds for p, o in pairs)


Measuring = Callable[[Session, int], list[Measure]]  # in so many rounds
OURS = contender(ONELAYER)


def _training(problem: Problem, *peers: str, ours: Contender = OURS, side: int = 0) -> Measuring:
    """Trainings whose weights are those of the oracle; with a side, beside sgemm of it."""
    entries = [Entry(ours, problem, side), *(Entry(contender(peer), problem) for peer in peers)]
    return lambda session, rounds: list(
        measure_entries(session, session.part(), entries, rounds).measures
    )


def _in_turn(
    problem: Problem, jobs: Sequence[tuple[Contender, dict[str, Any]]],
    refusal: Callable[[dict[str, Any]], str], session: Session, rounds: int,
) -> list[Measure]:  # fmt: skip
    """Contenders with what each is asked; why onelayer's last answer is refused, if it is."""
    answers: dict[str, Any] = {}

    def prepare(values: dict[str, Any], process: Process, found: Measure) -> Entrant:
        def once() -> Sample:
            told = process.ask("run", **values)
            answers[found.who] = told["answer"]
            return Sample(told["seconds"], refusal(answers) if found.who == ONELAYER else "")

        once()
        return Entrant(found, once)

    asked = [(who, problem, partial(prepare, values)) for who, values in jobs]
    return time_contenders(asked, session, rounds)


def _solve(session: Session, rounds: int) -> list[Measure]:
    """The proven optimum beside a number of iterations of scikit-learn that come less near."""
    (l2,) = SOLVED.l2s.tolist()
    judge = Judge(SOLVED, read_data(data_folder(SOLVED, session.conditions.folder)), l2)

    def refusal(answers: dict[str, Any]) -> str:
        off = judge.excess(answers[ONELAYER])
        return "" if off <= GOAL else f"{DISAGREES}: {off:.1e} off"

    jobs = [(contender(key, SOLVERS), {"l2": l2, "iterations": iterations})
            for key, iterations in ((PEER, PEER_ITERATIONS), (ONELAYER, None))]  # fmt: skip
    return _in_turn(SOLVED, jobs, refusal, session, rounds)


def _probabilities(answers: dict[str, Any]) -> str:
    off = float(np.abs(answers[ONELAYER] - answers["peer"]).max())
    return "" if off <= 0.05 else f"{DISAGREES}: probabilities differ by {off:.1e}"


TRAIN = replace(OURS, prepares="ours:prepare_train")
ESTIMATORS = (replace(contender("sklearn-lbfgs", SOLVERS), key="peer",
                      prepares="scikit_learn:prepare_classifier"),
              replace(OURS, prepares="ours:prepare_classifier"))  # fmt: skip
Group = tuple[Measuring, dict[str, str]]  # with the peer of each ratio, by its name
GROUPS: tuple[Group, ...] = (
    (_training(ONE, "numpy", "torch-once"),
     {"one run: NumPy / onelayer": "numpy",
      "one run: PyTorch by hand / onelayer": "torch-once"}),
    (_training(FOUR, "numpy"), {"four settings: NumPy / onelayer": "numpy"}),
    (_training(MANY, side=SIDE), {"64 runs: share of sgemm": SGEMM}),
    (_training(HALF, side=SIDE), {"wide, float16: share of sgemm": SGEMM}),
    (_training(WIDE, "numpy"), {"wide, float32: NumPy / onelayer": "numpy"}),
    (_solve, {f"optimum: {PEER_ITERATIONS} iterations of scikit-learn / onelayer's proof": PEER}),
    (partial(run_paths, PATH),
     {"path of 8 λ's: a default scikit-learn fit / onelayer": "sklearn-default"}),
    (_training(EIGHT, "numpy", ours=TRAIN), {"train, 8 runs: NumPy / onelayer": "numpy"}),
    (partial(_in_turn, DIGITS, [(who, {}) for who in ESTIMATORS], _probabilities),
     {"SoftmaxClassifier on digits: scikit-learn / onelayer": "peer"}),
)  # fmt: skip


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
    """This processor's ratios, and a line for each that is below its bound."""
    kind, part, losses = kind_of_processor(session.conditions.threads), session.part(), []
    fixed = replace(session.conditions, processor_time=True)
    session = replace(session, conditions=fixed, patience=PATIENCE)
    if kept and kind not in kept:
        session.log(f"No record of {kind}: half of the lowest ratio of any processor is asked for.")
    for measure, peers in groups:
        found = _measured(measure, peers, session, ROUNDS)
        if any(_lost(m, kind, kept) for m in found):
            session.log("  below its bound: once more, in more rounds")
            found = _measured(measure, peers, session, MORE_ROUNDS)
        losses += [line for m in found if (line := _lost(m, kind, kept))]
        for m in found:
            session.log(f"{m.work}: {spread_text(m.series['ratio'])}")
        part = part.with_(found)
    return replace(part, other_work=session.work.cores()), losses


def _measured(
    measure: Measuring, peers: dict[str, str], session: Session, rounds: int
) -> list[Measure]:
    measures = measure(session, rounds)
    wrong = "; ".join(f"{m.label}: {m.refused}" for m in measures if m.refused)
    return [Measure(name, ONELAYER, name, refused=wrong, series={"ratio": ratios(measures, peer)})
            for name, peer in peers.items()]  # fmt: skip


def _lost(found: Measure, kind: str, kept: Record) -> str:
    """What is wrong with a ratio, in one line, or nothing."""
    values = found.series["ratio"]
    if found.refused or not values:
        return f"{found.work}: {found.refused or 'not measured'}"
    bound = bound_of(found.work, kind, kept)
    if bound is None or median(values) >= bound:
        return ""
    measured = f"{spread_text(values)}, n = {len(values)}"
    return f"{found.work}: {measured}, where at least {bound:.2f} is asked for"
