"""The search for the optimum: the watch, the judge, the workers, and what the record becomes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.harness import chart
from benchmarks.harness.page import table
from benchmarks.harness.problem import Problem, Setting, make_data
from benchmarks.harness.processes import Process, WorkerError
from benchmarks.harness.record import ONELAYER, Measure, Part
from benchmarks.harness.rounds import Session
from benchmarks.peers import INTELEX, LBFGS, LBFGS32, SOLVERS, solver
from benchmarks.peers.solving import Floats, Seen, Watch, climb
from benchmarks.suites import optimum
from benchmarks.suites.optimum import (
    Desk,
    Effort,
    Judge,
    make_tasks,
    run_paths,
    solve_task,
    too_large,
)
from onelayer.objective.loss import cost

TINY = Problem("batch", 90, 12, source="picture", settings=(Setting(l2=0.1),))
TWO = (Setting(l2=0.1), Setting(l2=0.01))
ZERO = np.zeros((2, 3))


def _watch(**changes: float) -> Watch:
    """The excess of an iterate is its first weight."""
    limits = {"goal": 1e-3, "enough": 1e-6, "patience": math.inf, **changes}
    return Watch(lambda W, b: float(W[0, 0]), **limits)


def _iterate(k: int) -> Floats:
    return ZERO + 0.5**k


def test_the_watch_finds_the_first_iterate_that_is_good_enough() -> None:
    watch, k = _watch(), 0
    while not watch.see(k := k + 1, _iterate(k), ZERO[0]):
        pass
    assert watch.budget == 10  # 2⁻¹⁰ < 1e-3 < 2⁻⁹
    assert 20 <= k <= 24  # 2⁻²⁰ < 1e-6, and not every iterate is judged
    assert [s.iterations for s in watch.steps] == sorted({s.iterations for s in watch.steps})
    assert all(s.excess == 0.5**s.iterations for s in watch.steps)


def test_the_watch_keeps_an_iterate_that_is_changed_afterwards() -> None:
    watch, W = _watch(), ZERO + 1.0
    watch.see(5, W, ZERO[0], seconds=2.5)
    W += 7.0
    assert watch.steps == [(5, 2.5, 1.0)]


def test_the_clock_stands_still_while_an_iterate_is_judged() -> None:
    def slow(W: Floats, b: Floats) -> float:
        time.sleep(0.05)
        return 1.0

    watch = Watch(slow, goal=1e-3, enough=1e-6, patience=math.inf)
    watch.start()
    for k in range(1, 5):
        watch.see(k, ZERO, ZERO[0])
    assert watch.steps[-1].seconds < 0.05


def test_the_last_iterate_is_judged_though_nobody_asked_for_more() -> None:
    watch = _watch()
    for k in range(1, 11):
        watch.see(k, _iterate(k), ZERO[0])
    watch.finish()
    watch.finish()
    assert (watch.steps[-1].iterations, watch.steps[-1].excess) == (10, 0.5**10)
    assert watch.budget == 10


def test_the_watch_loses_its_patience() -> None:
    watch = _watch(patience=3.0)
    assert not watch.see(1, _iterate(0), ZERO[0], seconds=2.0)
    assert watch.see(2, _iterate(0), ZERO[0], seconds=3.1)
    assert watch.budget is None


def test_climbing_ends_where_the_solver_gives_no_more() -> None:
    asked = []

    def stuck(allowed: int) -> Seen:
        asked.append(allowed)
        return Seen(min(allowed, 4), 0.1 * allowed, ZERO + 1.0, ZERO[0])

    climb(stuck, _watch())
    assert asked == [1, 2, 3, 4, 5]


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(TINY, make_data(TINY))


def test_the_judge_counts_the_oracles_cost(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimum, "BLOCK_ROWS", 40)
    rng = np.random.default_rng(3)
    W, b = rng.normal(size=(10, 12)), rng.normal(size=10)
    wanted = cost(judge.data.X / 255, judge.data.y, W, b, 0.1)
    assert judge.cost(W, b, 0.1) == pytest.approx(wanted, rel=1e-14)
    assert judge.excess(W, b, 0.1, wanted / 2) == pytest.approx(1.0)


def test_the_reference_is_below_every_model_nearby(judge: Judge) -> None:
    from sklearn.linear_model import LogisticRegression

    least, gap = judge.reference(0.1)
    assert 0 <= gap <= 1e-10
    model = LogisticRegression(C=1 / (2 * 0.1 * 90), tol=1e-12, max_iter=10_000)
    model.fit(judge.data.X / 255, judge.data.y)
    assert abs(judge.excess(model.coef_, model.intercept_, 0.1, least)) < 1e-9


class Here:
    """A worker's desk in this process; `dies` says whose is gone as soon as it is asked."""

    dies = ""

    def __init__(self, name: str, desk: type[Desk], *job: Any, conditions: object) -> None:
        self._name, self._desk = name, desk(*job)
        self.greeting = self._desk.greeting

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, do: str, **values: Any) -> Any:
        if self._name == self.dies:
            raise WorkerError(f"{self._name} ended with exit code -9.")
        return getattr(self._desk, do)(**values)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> type[Here]:
    """Workers in this process: no time for starting them; the real ones are tested by rounds."""
    monkeypatch.setenv("ONELAYER_BENCHMARK_ENGINE", "reference")
    monkeypatch.setattr(optimum, "Process", Here)
    monkeypatch.setattr(optimum, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(Here, "dies", "")
    return Here


@pytest.mark.usefixtures("here")
def test_solvers_are_watched_and_then_timed(session: Session) -> None:
    chosen = [s for s in SOLVERS if s.package in ("onelayer", "sklearn")]
    [(_, least, found)] = solve_task(TINY, chosen, Effort(2, 1, 20.0), session)
    assert [m.who for m in found] == [s.key for s in chosen]
    assert all(len(m.seconds) == 2 and m.facts["excess"] <= 1e-6 for m in found)
    ours = found[0]
    assert ours.facts["gap"] <= 1e-6
    reached = ours.series["reached"]
    assert all(at <= whole for at, whole in zip(reached, ours.seconds, strict=True))
    assert not any("gap" in m.facts for m in found[1:])
    assert min(e for m in found for *_, e in m.facts["steps"]) > -1e-9
    assert least["gap"] <= 1e-10
    assert not any(m.facts["cut"] for m in found)


def test_a_worker_s_process_solves_as_the_desk_does(session: Session) -> None:
    with optimum.start_solver(solver(LBFGS32), TINY, session) as worker:
        assert isinstance(worker, Process)
        told = worker.ask("trace", l2=0.1, optimum=1.0, patience=0.0)
    assert told["cut"]


def test_a_peer_that_crashes_is_named_and_the_others_go_on(
    session: Session, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here, "dies", solver(LBFGS).label)
    task = replace(TINY, settings=TWO)
    parts = list(solve_task(task, [solver(ONELAYER), solver(LBFGS)], Effort(1, 1, 20.0), session))
    part = replace(OPTIMUM, measures=tuple(m for *_, found in parts for m in found))
    assert len(part.measures) == 4
    assert all(m.seconds for m in part.measures if m.who == ONELAYER)
    assert len(part.crashed) == 2
    assert "ended with exit code -9" in part.crashed[0]
    assert "ended with exit code -9" in _page(part)


@pytest.mark.usefixtures("here")
def test_what_was_measured_before_a_failure_is_kept(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[Measure]:
        raise WorkerError("the path ended with exit code 1.")

    monkeypatch.setattr(optimum, "make_tasks", lambda *_, **__: ({"batch": "tiny"}, TINY, TINY))
    monkeypatch.setattr(optimum, "SOLVERS", (solver(ONELAYER),))
    monkeypatch.setattr(optimum, "run_paths", fail)
    kept: list[Part] = []
    part = optimum.measure(replace(session, keep=kept.append))
    assert [len(one.measures) for one in kept] == [1]
    assert part.measures == kept[0].measures
    assert part.crashed == ["tiny: the path ended with exit code 1."]


@pytest.mark.usefixtures("here")
def test_the_path_is_timed_beside_a_default_fit(session: Session) -> None:
    path, fit = run_paths(replace(TINY, name="all", settings=TWO), 2, session)
    assert (len(path.facts["passes"]), len(path.seconds)) == (2, 2)
    assert (len(fit.facts["passes"]), len(fit.seconds)) == (1, 2)
    assert path.facts["gap"] <= 1e-4
    assert "gap" not in fit.facts
    assert fit.facts["x_bytes"] == 8 * path.facts["x_bytes"]


def test_a_hessian_that_is_too_large_is_not_formed() -> None:
    newton = solver("sklearn-newton")
    _, batch, digits, _ = make_tasks("random", quick=False)
    assert "7.6 GB" in too_large(newton, batch)
    assert too_large(newton, digits) == ""
    assert too_large(solver(LBFGS), batch) == ""


WORK = "batch λ=0.1"


def _solved(who: str, seconds: tuple[float, ...], **facts: object) -> Measure:
    steps = ((1, seconds[0] / 9, 0.3), (5, seconds[0], 8e-7), (9, 2 * seconds[0], -2e-12))
    known = {"steps": steps, "budget": 5, "excess": 8e-7, "x_bytes": 3e7, "peak_bytes": 4e7,
             "cut": False}  # fmt: skip
    return Measure(WORK, who, solver(who).label, seconds, facts={**known, **facts})


def _unsolved(who: str, label: str, step: tuple[int, float, float], cut: bool) -> Measure:
    facts = {"steps": (step,), "budget": None, "cut": cut, "x_bytes": 3e7, "peak_bytes": 4e7}
    return Measure(WORK, who, label, facts=facts)


def _path(who: str, seconds: tuple[float, ...], passes: tuple[int, ...], **facts: Any) -> Measure:
    known = {"passes": passes, "x_bytes": 1.5e8, "peak_bytes": 2.5e8}
    return Measure("all", who, who, seconds, facts={**known, **facts})


OPTIMUM = Part(
    machine={"processor": "made up"},
    started="2026-01-01T00:00:00+00:00",
    threads=2,
    engine="native",
    facts={"titles": {"batch": "a batch", "all": "all rows"},
           "optima": ({"work": WORK, "optimum": 1.75, "gap": 1e-11},)},
    measures=(
        replace(_solved(ONELAYER, (0.5, 1.0, 0.5), gap=9e-7), series={"reached": (0.3, 0.6)}),
        _solved(LBFGS, (20.0, 21.0, 22.0)),
        _solved(LBFGS32, (15.0, 20.0, 16.0)),
        Measure(WORK, "sklearn-newton", "newton", refused="does not fit"),
        _unsolved("torch-lbfgs", "PyTorch LBFGS, float32", (3, 9.0, 2e-6), cut=True),
        _path("onelayer-path", (10.0, 12.0), (7,) * 20, gap=9e-5),
        _path("sklearn-default", (40.0, 36.0), (100,)),
    ),
    absent=(("somebody", "some-body"),),
)  # fmt: skip
GAVE_UP = _unsolved(LBFGS32, "float32", (7, 2.0, 3e-5), cut=False)
FASTER = (LBFGS, LBFGS32)


def _page(part: Part) -> str:
    return "\n\n".join(optimum.render(part, Path("/nowhere")))


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of pictures, which are not drawn; their words are on the page."""
    names: list[str] = []
    monkeypatch.setattr(chart, "save", lambda picture, folder, name: names.append(name))
    return names


def test_the_faster_of_float64_and_float32_is_the_one_to_beat() -> None:
    assert optimum.peer_ratio(FASTER, 0.1, {"optimum": OPTIMUM}) == pytest.approx(30.0)
    assert optimum.peer_ratio(FASTER, 0.01, {"optimum": OPTIMUM}) is None
    assert optimum.peer_ratio((INTELEX,), 0.1, {"optimum": OPTIMUM}) is None


def test_who_was_cut_off_is_slower_by_at_least_the_time_it_took() -> None:
    torch = OPTIMUM.find("torch-lbfgs", WORK)
    assert torch is not None
    assert optimum.ratio(OPTIMUM, torch) is None
    assert optimum.least_ratio(OPTIMUM, torch) == pytest.approx(9.0 / 0.5)


def test_who_gave_up_by_itself_is_not_the_faster_one() -> None:
    assert optimum.least_ratio(OPTIMUM, GAVE_UP) is None
    others = [m for m in OPTIMUM.measures if m.who != GAVE_UP.who]
    part = replace(OPTIMUM, measures=(*others, GAVE_UP))
    assert optimum.peer_ratio(FASTER, 0.1, {"optimum": part}) == pytest.approx(40.0)


def test_figures_of_the_path_and_of_memory_and_targets_from_them() -> None:
    record = {"optimum": OPTIMUM}
    assert optimum.path_ratio(record) == pytest.approx((10 / 40 + 12 / 36) / 2)
    assert optimum.max_memory(record) == pytest.approx(250.0)
    assert optimum.nearest_peer(OPTIMUM, WORK) == (-2e-12, "scikit-learn lbfgs")
    found = [(t, figure) for t in optimum.SUITE.targets if (figure := t.figure(record)) is not None]
    assert len(found) == 3
    assert all(target.met(figure) for target, figure in found)


def test_the_page_says_who_did_not_fit_who_is_absent_and_who_did_not_get_there(
    drawn: Sequence[str],
) -> None:
    page = _page(OPTIMUM.with_([GAVE_UP]))
    assert "| newton | does not fit |" in page
    assert "| somebody | not installed (pip install some-body) |" in page
    assert "not reached: 2.0e-06 after 9.0 s" in page
    assert "gave up: 3.0e-05 after 2.0 s" in page
    assert drawn == ["time-to-optimum"]
    assert "Time to 1e-6: a batch, λ = 0.1: onelayer 0.5 s" in page
    assert "](benchmarks/time-to-optimum.png)" in page
    assert table(optimum.PATH_HEAD, []).splitlines()[0] in page
    for block in page.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1
