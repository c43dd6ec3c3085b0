"""Sparse rows: time to the same excess beside scikit-learn's solvers, and memory; pages/sparse.md.

Each contender is first given ever more iterations, until the fewest that reach the goal are known;
rounds of plain calls with just as many follow. onelayer's call ends when it has proven the goal.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.harness import page
from benchmarks.harness.page import SECONDS, Columns, Target, fact
from benchmarks.harness.problem import Problem, Setting, data_folder, read_data
from benchmarks.harness.record import ONELAYER, Measure, Part, Record, find
from benchmarks.harness.rounds import Session, Suite
from benchmarks.peers import GOAL, SOLVERS, Contender, contender, time_contenders
from benchmarks.suites.optimum import Judge, least_ratio, prepare

OURS, LBFGS, LBFGS32 = (
    contender(key, SOLVERS) for key in (ONELAYER, "sklearn-lbfgs", "sklearn-lbfgs-float32")
)
SAGA = replace(LBFGS, key="sklearn-saga", label="scikit-learn saga, float32",
               options={"dtype": "float32", "solver": "saga", "random_state": 0})  # fmt: skip
# They penalise the bias as a weight, so their model is the same without an intercept alone.
LIBLINEAR, PRIMAL = (
    replace(LBFGS, key=f"sklearn-liblinear{'' if dual else '-primal'}",
            label=f"scikit-learn liblinear, {'dual' if dual else 'primal'}",
            options={"solver": "liblinear", "dual": dual, "random_state": 0})
    for dual in (True, False)
)  # fmt: skip


def shape(name: str, N: int, D: int, K: int, source: str = "sparse", *, intercept: bool = True,
          ) -> Problem:  # fmt: skip
    """Rows of 100 stored values, with the λ of scikit-learn's C = 1."""
    l2 = 1 / ((2 if K > 2 else 1) * N)
    return Problem(name, N, D, K, dtype="float32", source=source, settings=(Setting(l2=l2),),
                   intercept=intercept)  # fmt: skip


BINARY = "10 000 × 2 000 000, K = 2"
SHAPES = (
    shape("100 000 × 100 000, K = 20", 100_000, 100_000, 20),
    shape(BINARY, 10_000, 2_000_000, 2),
    shape(f"{BINARY}, no intercept", 10_000, 2_000_000, 2, intercept=False),
    shape("text, 11 000 × 130 000, K = 20", 11_000, 130_000, 20, "text"),
)
# A tenth of the rows and features, under the same names.
SMALL = tuple(replace(shape(p.name, p.rows // 10, p.features // 10, p.classes, p.source,
                            intercept=p.intercept)) for p in SHAPES)  # fmt: skip
# Seconds that a call may take while iterations are tried, and that rounds may take.
PATIENCE, ROUNDS_PATIENCE = 8.0, 30.0


def peers_of(problem: Problem) -> tuple[Contender, ...]:
    same = () if problem.intercept else (LIBLINEAR, PRIMAL)
    return LBFGS, LBFGS32, SAGA, *same


def measure(session: Session) -> Part:
    part = session.part()
    patience = PATIENCE / 10 if session.quick else PATIENCE
    session = replace(session, patience=ROUNDS_PATIENCE)
    for problem in SMALL if session.quick else SHAPES:
        data = read_data(data_folder(problem, session.conditions.folder))
        (l2,) = problem.l2s.tolist()
        job = partial(prepare, Judge(problem, data, l2, GOAL / 100), l2, patience, session,
                      curves=False)  # fmt: skip
        del data  # but for the judge's
        jobs = [(who, problem, job) for who in (OURS, *peers_of(problem))]
        part = part.with_(time_contenders(jobs, session, 2 if session.quick else 3))
        session.keep(part)
    return part


def _excess(found: Measure) -> str:
    """Of the plain calls; of who did not reach the goal, of the call that came nearest."""
    if found.seconds or not found.facts.get("steps"):
        return fact("excess", "{:.1e}".format)(found)
    _, seconds, excess = min(found.facts["steps"], key=lambda step: step[2])
    ended = "time was up" if found.facts["cut"] else "gave up"
    return f"{excess:.1e} after {seconds:.1f} s, {ended}"


def render(part: Part, _: Path) -> list[str]:
    def times(m: Measure) -> str:
        ratio = least_ratio(part, m)
        return "" if ratio is None else f"{'' if m.seconds else '> '}{ratio:.1f}"

    columns: Columns = {
        "problem": lambda m: m.work,
        "by": lambda m: m.label,
        **SECONDS,
        "× onelayer": times,
        "iterations": fact("passes", str),
        "excess": _excess,
        "proven gap / J": fact("gap", "{:.1e}".format),
        "MB above X": fact("peak_bytes", page.megabytes),
        "X, MB": fact("x_bytes", page.megabytes),
    }
    return ["## Sparse rows", page.measure_table(columns, part.measures, names=2)]


def ratio(problem: Problem, record: Record) -> float | None:
    """The fastest peer / onelayer; of one whose time was up, what it must at least be."""
    part = record.get("sparse")
    found = [part.find(who.key, problem.name) for who in peers_of(problem)] if part else []
    ratios = [least_ratio(part, peer) for peer in found if part and peer]
    return min((one for one in ratios if one is not None), default=None)


def copies(problem: Problem, record: Record) -> float | None:
    """Memory above X, as copies of the stored values, which are half of X."""
    found = find(record, "sparse", ONELAYER, problem.name)
    return found.facts["peak_bytes"] / (found.facts["x_bytes"] / 2) if found else None


SUITE = Suite(
    "sparse", "sparse rows beside scikit-learn's solvers", measure, render,
    (*(Target(f"{one.name}: the fastest of scikit-learn's solvers / onelayer proven to 1e-6", 3,
              "×", True, partial(ratio, one)) for one in SHAPES),
     *(Target(f"{one.name}: memory above X", 1, "copies of its values", False,
              partial(copies, one)) for one in SHAPES)),
)  # fmt: skip
