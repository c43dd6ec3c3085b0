"""What a proof costs: solves beside their passes, small and wide problems, certificates.

Peers are timed at the excess that onelayer proves; on small problems they end as they do by
default. Sections by --sections; the answers are held to J*, which onelayer proves more sharply.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.harness import page
from benchmarks.harness.page import SECONDS, Columns, Target, fact
from benchmarks.harness.problem import Problem, Setting, data_folder, read_data
from benchmarks.harness.processes import Process, timed
from benchmarks.harness.record import ONELAYER, Measure, Part, Record, find, median_ratio
from benchmarks.harness.rounds import Entrant, Sample, Session, Suite
from benchmarks.peers import SOLVERS, Contender, contender, ours, time_contenders
from benchmarks.suites import optimum
from onelayer import certify, solve, train
from onelayer.engines import Weights, make_engine

RUNS = 32  # whose certificates are made together
PATIENCE = 60.0  # seconds of one call while iterations are tried
LEAST_GAP = 1e-5  # relative, from which on a certificate should cost a float32 pass


@dataclass(frozen=True)
class Task:
    """A problem with one λ, solved to a relative gap; and the least ratio that is asked for."""

    problem: Problem
    tol: float
    asked: float


def task(
    name: str, N: int, D: int, K: int, l2: float, tol: float, asked: float, **more: Any
) -> Task:
    """λ = 0 stands for scikit-learn's C = 1, of two classes on the difference of their weights."""
    settings = (Setting(l2=l2 or 1 / ((2 if K > 2 else 1) * N)),)
    known: dict[str, Any] = {"source": "classes", "dtype": "float32", "settings": settings} | more
    return Task(Problem(name, N, D, K, **known), tol, asked)


MANY = task("4000 × 256, K = 1000", 4000, 256, 1000, 1e-4, 1e-3, 8)
SHARES = (
    task("8000 × 256, K = 1000", 8000, 256, 1000, 1e-4, 1e-3, 15),
    task("200 000 × 768, K = 100", 200_000, 768, 100, 1e-3, 1e-3, 15, dtype="float16"),
    task("CIFAR-10", 10_000, 3072, 10, 1e-3, 1e-6, 15, source="cifar10", dtype="uint8"),
)
SEVERAL = task(f"CIFAR-10, {RUNS} runs", 10_000, 3072, 10, 1e-3, 0, 3, source="cifar10",
               dtype="uint8")  # fmt: skip
SMALL = (
    task("digits", 1797, 64, 10, 0.0, 1e-8, 1.5, source="digits", dtype="uint8"),
    task("breast cancer", 569, 30, 2, 0.0, 1e-8, 1.5, source="breast_cancer"),
    task("2000 × 256, K = 2", 2000, 256, 2, 0.0, 1e-8, 1.5),
    task("irises", 150, 4, 3, 0.0, 1e-8, 1.5, source="iris"),
)
WIDE = tuple(
    task(f"{N} × {D}, K = {K}", N, D, K, 0.0, 1e-5, 2)  # lbfgs gives up before 1e-6
    for N, D, K in ((50, 100_000, 2), (72, 7129, 2), (500, 20_000, 5), (336, 3348, 3),
                    (1600, 4096, 100))
)  # fmt: skip
BESIDE = tuple(contender(k, SOLVERS) for k in (ONELAYER, "sklearn-lbfgs", "sklearn-lbfgs-float32"))
DEFAULT = (BESIDE[0], replace(BESIDE[1], label="scikit-learn, default",
                              options={"tol": 1e-4, "most": 100}))  # fmt: skip


class Desk(peers.Desk):
    """Solves and certifies in a process of its own, beside the kernel's passes."""

    def __init__(self, who: Contender, problem: Problem, folder: Path, threads: int) -> None:
        warnings.simplefilter("ignore")  # of learning rates, which nobody looks at
        data = read_data(folder)
        self._problem, self._data, self._l2 = problem, data, float(problem.l2s[0])
        self._rows, self._dataset = ours.rows_of(problem, data), ours.dataset_of(problem, data)

    def _pass_seconds(self, W: Any, b: Any) -> float:
        """One gradient of float32 weights over all rows, the median of three."""
        weights = Weights(W.astype(np.float32), b.astype(np.float32))
        work = partial(make_engine().gradient, self._rows, weights)
        return median(timed(work)[1]["seconds"] for _ in range(3))

    def solve(self, tol: float) -> dict[str, Any]:
        """The share of a solve that is no pass, and a certificate of its model in passes."""
        model, told = timed(partial(solve, self._dataset, self._l2, tol=tol, scaling="unit"))
        one = self._pass_seconds(model.W[None], model.b[None])
        left, gap = 100 * (1 - model.passes * one / told["seconds"]), model.require_certificate()
        facts = {"passes": model.passes, "gap": gap.gap / gap.cost}
        work = partial(certify, data=self._dataset, l2=self._l2)
        proof, certifying = timed(partial(work, model))
        while proof.gap < LEAST_GAP * proof.cost:
            tol = 2 * max(tol, LEAST_GAP)
            model = solve(self._dataset, self._l2, tol=tol, scaling="unit")
            proof, certifying = timed(partial(work, model))
        series = {"share": (left,), "certificate": (certifying["seconds"] / one,)}
        facts["certified"] = proof.gap / proof.cost
        return {"seconds": told["seconds"], "series": series, "facts": facts}

    def certificates(self) -> dict[str, Any]:
        """What `certify` adds to a training of many runs, in passes of all of them."""
        settings = (Setting(0.01, 10.0 ** (-1 - i % 4), i) for i in range(RUNS))
        many = replace(self._problem, epochs=1, settings=tuple(settings))
        splits, runs = ours.splits_of(many, self._data, 500), ours.runs_of(many)
        work = partial(train, splits, runs, scaling="unit")
        (_, without), (result, told) = (timed(partial(work, certify=c)) for c in (False, True))
        passes = (told["seconds"] - without["seconds"]) / self._pass_seconds(result.W, result.b)
        gap = max(proof.gap / proof.cost for proof in result.certificates)
        series = {"certificate": (passes,)}
        return {"seconds": told["seconds"], "series": series, "facts": {"gap": gap}}


SECTIONS = {"shares": SHARES, "certificates": (SEVERAL,), "many": (MANY,), "small": SMALL,
            "wide": WIDE}  # fmt: skip


def measure(session: Session) -> Part:
    part = session.part()
    for section in session.options.sections.split(","):
        for one in SECTIONS[section]:
            part = part.with_(_measured(section, one, session))
            session.keep(part)
    return part


def _measured(section: str, one: Task, session: Session) -> list[Measure]:
    session, problem = replace(session, patience=PATIENCE), one.problem
    if section in ("shares", "certificates"):
        do, values = ("solve", {"tol": one.tol}) if section == "shares" else (section, {})

        def prepare(process: Process, found: Measure) -> Entrant:
            return Entrant(found, lambda: Sample(**process.ask(do, **values)))

        return time_contenders([(BESIDE[0], problem, prepare)], session, 3, Desk)
    (l2,), data = problem.l2s.tolist(), read_data(data_folder(problem, session.conditions.folder))
    judge = optimum.Judge(problem, data, l2, one.tol / 100)
    who, rounds = (DEFAULT, 15) if section == "small" else (BESIDE, 3)
    job = partial(optimum.prepare, judge, l2, PATIENCE, session, goal=one.tol, curves=False,
                  ends=who is DEFAULT)  # fmt: skip
    return time_contenders([(each, problem, job) for each in who], session, rounds)


def series(key: str) -> Callable[[Measure], str]:
    return lambda m: page.spread_text(m.series[key]) if key in m.series else ""


COLUMNS: Columns = {
    "problem": lambda m: m.work,
    "by": lambda m: m.label,
    **SECONDS,
    "passes": fact("passes", str),
    "excess over J*": fact("excess", "{:.1e}".format),
    "proven gap / J": fact("gap", "{:.1e}".format),
    "no pass, %": series("share"),
    "certificate, passes": series("certificate"),
    "its gap / J": fact("certified", "{:.1e}".format),
}


def render(part: Part, _: Path) -> list[str]:
    return ["## What a proof costs", page.measure_table(COLUMNS, part.measures, names=2)]


def _median(work: str, series: str, record: Record) -> float | None:
    found = find(record, "proofs", ONELAYER, work)
    return median(found.series[series]) if found else None


def _ratio(work: str, record: Record) -> float | None:
    """The fastest peer / onelayer."""
    mine, *others = (find(record, "proofs", who.key, work) for who in BESIDE)
    ratios = [median_ratio(peer, mine) for peer in others]
    return min((ratio for ratio in ratios if ratio), default=None)


SUITE = Suite(
    "proofs", "what a proof costs", measure, render,
    (*(Target(f"{one.problem.name}: share of a solve that is no pass", one.asked, "%", False,
              partial(_median, one.problem.name, "share")) for one in SHARES),
     *(Target(f"{one.problem.name}: certificate of a relative gap ≥ {LEAST_GAP:g}", 1.2, "passes",
              False, partial(_median, one.problem.name, "certificate")) for one in SHARES),
     Target(f"certificates of {RUNS} runs", SEVERAL.asked, "passes of all", False,
            partial(_median, SEVERAL.problem.name, "certificate")),
     *(Target(f"{one.problem.name}: scikit-learn / onelayer proven to {one.tol:g}", one.asked, "×",
              True, partial(_ratio, one.problem.name)) for one in (MANY, *SMALL, *WIDE))),
    in_quick=False,
    options={"--sections": {"default": ",".join(SECTIONS), "help": f"of {', '.join(SECTIONS)}"}},
)  # fmt: skip
