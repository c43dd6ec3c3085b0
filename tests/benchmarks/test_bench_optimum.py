"""The search for the optimum: the watch, the judge, the workers, and what the record becomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.harness import oracle, page
from benchmarks.harness.page import table
from benchmarks.harness.problem import Data, Problem, Setting, make_data
from benchmarks.harness.processes import WorkerError
from benchmarks.harness.record import ONELAYER, Measure, Part, complaints
from benchmarks.harness.rounds import Session
from benchmarks.peers import CLASSES, PATHS, SOLVERS, Contender, Desk, Solution, contender
from benchmarks.suites import optimum
from benchmarks.suites.optimum import (
    Judge,
    run_paths,
    solve_task,
    try_iterations,
)
from onelayer.objective.loss import cost

TINY = Problem("batch", 90, 12, source="picture", settings=(Setting(l2=0.1),))
LBFGS, LBFGS32 = "sklearn-lbfgs", "sklearn-lbfgs-float32"
TWO = (Setting(l2=0.1), Setting(l2=0.01))


def solver(key: str) -> Contender:
    return contender(key, SOLVERS)


def _halving(asked: list[int], seconds: float = 0.0, most: int = 10**9) -> Callable[..., Any]:
    """A solver whose excess halves with every iteration, up to its most."""

    def ask(iterations: int) -> dict[str, Any]:
        asked.append(iterations)
        done = min(iterations, most)
        goodness = {"excess": 0.5**done}
        return {"iterations": done, "seconds": seconds * iterations, "goodness": goodness}

    return ask


def test_the_fewest_iterations_that_reach_the_goal_are_found() -> None:
    asked: list[int] = []
    tried = try_iterations(_halving(asked), patience=9.0)
    assert tried["budget"] == 20  # 2⁻²⁰ < 1e-6 < 2⁻¹⁹
    assert not tried["cut"]
    assert tried["steps"] == [(k, 0.0, 0.5**k) for k in sorted(asked)]
    assert len(asked) == len(set(asked))
    assert min(excess for *_, excess in tried["steps"]) <= optimum.ENOUGH


def test_no_call_is_made_that_would_take_longer_than_the_patience() -> None:
    asked: list[int] = []
    tried = try_iterations(_halving(asked, seconds=1.0), patience=7.0)
    assert (tried["budget"], tried["cut"], max(asked)) == (None, True, 5)


def test_trying_ends_where_the_solver_gives_no_more() -> None:
    asked: list[int] = []
    tried = try_iterations(_halving(asked, most=4), patience=9.0)
    assert (tried["budget"], tried["cut"]) == (None, False)
    assert max(asked) == 5


def test_the_judge_counts_the_oracles_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "BLOCK_ROWS", 40)
    rng, (X, y) = np.random.default_rng(3), make_data(TINY)
    W, b = rng.normal(size=(10, 12)), rng.normal(size=10)
    wanted = cost(X / 255, y, W, b, 0.1)
    assert oracle.cost_of(X, y, W, b, 0.1, 255) == pytest.approx(wanted, rel=1e-14)
    judge = Judge(TINY, Data(X, y), 0.1)
    assert judge.excess(Solution(W, b, 1)) == pytest.approx(wanted / judge.optimum - 1)


def test_the_reference_is_below_every_model_nearby() -> None:
    from sklearn.linear_model import LogisticRegression

    X, y = make_data(TINY)
    judge = Judge(TINY, Data(X, y), 0.1)
    assert 0 <= judge.gap <= 1e-10
    model = LogisticRegression(C=1 / (2 * 0.1 * 90), tol=1e-12, max_iter=10_000)
    model.fit(X / 255, y)
    assert abs(judge.excess(Solution(model.coef_, model.intercept_, 1))) < 1e-9


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
    monkeypatch.setattr("benchmarks.peers.Process", Here)
    monkeypatch.setattr(Here, "dies", "")
    return Here


@pytest.mark.usefixtures("here")
def test_solvers_are_tried_and_then_timed(session: Session) -> None:
    chosen = [s for s in SOLVERS if s.package in ("onelayer", "sklearn")]
    [(least, found)] = solve_task(TINY, chosen, 2, 20.0, session)
    assert [m.who for m in found] == [s.key for s in chosen]
    assert all(len(m.seconds) == 2 and m.facts["excess"] <= 1e-6 for m in found)
    ours = found[0]
    assert ours.facts["gap"] <= 1e-6
    assert not any("gap" in m.facts for m in found[1:])
    assert min(e for m in found for *_, e in m.facts["steps"]) > -1e-9
    assert least["gap"] <= 1e-10
    assert not any(m.facts["cut"] for m in found)


def test_a_peer_that_crashes_is_named_and_the_others_go_on(
    session: Session, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here, "dies", solver(LBFGS).label)
    task = replace(TINY, settings=TWO)
    parts = list(solve_task(task, [solver(ONELAYER), solver(LBFGS)], 1, 20.0, session))
    part = replace(OPTIMUM, measures=tuple(m for *_, found in parts for m in found))
    assert len(part.measures) == 4
    assert all(m.seconds for m in part.measures if m.who == ONELAYER)
    _, crashed = complaints({"part": part})
    assert len(crashed) == 2
    assert "ended with exit code -9" in crashed[0]
    assert "ended with exit code -9" in _page(part)


def test_what_was_measured_before_a_failure_is_kept(
    session: Session, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    titles, whole = {"batch": "tiny", "all": "all"}, replace(TINY, name="all")
    monkeypatch.setattr(here, "dies", PATHS[0].label)
    monkeypatch.setattr(optimum, "make_tasks", lambda *_, **__: (titles, TINY, whole))
    monkeypatch.setattr(optimum, "SOLVERS", (solver(ONELAYER),))
    monkeypatch.setattr(optimum, "CLASSES", ())
    kept: list[Part] = []
    part = optimum.measure(replace(session, keep=kept.append))
    assert [len(one.measures) for one in kept] == [1]
    assert part.measures[:1] == kept[0].measures
    _, (crash,) = complaints({"part": part})
    assert crash.startswith("CRASHED: onelayer, the whole path on all: crashed: ")
    assert "ended with exit code -9" in _page(part)


@pytest.mark.usefixtures("here")
def test_the_class_is_timed_at_scikit_learns_defaults(session: Session) -> None:
    [(_, found)] = solve_task(TINY, (), 2, 20.0, session, CLASSES)
    assert [m.who for m in found] == [who.key for who in CLASSES]
    assert all(len(m.seconds) == 2 and not m.refused for m in found)
    assert found[0].facts["excess"] <= 1e-6
    part = replace(OPTIMUM, measures=tuple(found))
    pairs = zip(found[1].seconds, found[0].seconds, strict=True)
    assert optimum.class_ratio({"optimum": part}) == np.median([p / o for p, o in pairs])
    assert optimum.class_ratio({"optimum": OPTIMUM}) is None
    assert "| onelayer.sklearn, LogisticRegression(C=C) |" in _page(part)


@pytest.mark.usefixtures("here")
def test_the_path_is_timed_beside_a_default_fit(session: Session) -> None:
    path, fit = run_paths(replace(TINY, name="all", settings=TWO), session, 2)
    assert (len(path.facts["passes"]), len(path.seconds)) == (2, 2)
    assert (len(fit.facts["passes"]), len(fit.seconds)) == (1, 2)
    assert path.facts["gap"] <= 1e-4
    assert "gap" not in fit.facts
    assert fit.facts["x_bytes"] == 8 * path.facts["x_bytes"]


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
        _solved(ONELAYER, (0.5, 1.0, 0.5), gap=9e-7),
        _solved(LBFGS, (20.0, 21.0, 22.0)),
        _solved(LBFGS32, (15.0, 20.0, 16.0)),
        Measure(WORK, "nobody", "nobody", refused="does not fit"),
        _unsolved("torch-lbfgs", "PyTorch LBFGS, float32", (3, 9.0, 2e-6), cut=True),
        _path("onelayer-path", (10.0, 12.0), (7,) * 20, gap=9e-5),
        _path("sklearn-default", (40.0, 36.0), (100,)),
        Measure(WORK, "somebody", "somebody", refused="not installed (pip install some-body)"),
    ),
)  # fmt: skip
GAVE_UP = _unsolved(LBFGS32, "float32", (7, 2.0, 3e-5), cut=False)
FASTER = (LBFGS, LBFGS32)


def _page(part: Part) -> str:
    return "\n\n".join(optimum.render(part, Path("/nowhere")))


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of pictures, which are not drawn; their words are on the page."""
    names: list[str] = []
    monkeypatch.setattr(page, "save_chart", lambda chart, folder: names.append(chart.name))
    return names


def test_the_faster_of_float64_and_float32_is_the_one_to_beat() -> None:
    assert optimum.peer_ratio(FASTER, 0.1, {"optimum": OPTIMUM}) == pytest.approx(30.0)
    assert optimum.peer_ratio(FASTER, 0.01, {"optimum": OPTIMUM}) is None
    assert optimum.peer_ratio(("sklearn-intelex",), 0.1, {"optimum": OPTIMUM}) is None


def test_who_was_cut_off_is_slower_by_at_least_the_time_it_took() -> None:
    torch = OPTIMUM.find("torch-lbfgs", WORK)
    assert torch is not None
    assert optimum.least_ratio(OPTIMUM, torch) == pytest.approx(9.0 / 0.5)


def test_who_gave_up_by_itself_is_not_the_faster_one() -> None:
    assert optimum.least_ratio(OPTIMUM, GAVE_UP) is None
    others = [m for m in OPTIMUM.measures if m.who != GAVE_UP.who]
    part = replace(OPTIMUM, measures=(*others, GAVE_UP))
    assert optimum.peer_ratio(FASTER, 0.1, {"optimum": part}) == pytest.approx(40.0)


def test_figures_of_the_path_and_of_memory_and_targets_from_them() -> None:
    record = {"optimum": OPTIMUM}
    assert optimum.path_ratio(record) == pytest.approx((10 / 40 + 12 / 36) / 2)
    assert optimum.nearest_peer(OPTIMUM, WORK) == (-2e-12, "scikit-learn lbfgs")
    found = [(t, figure) for t in optimum.SUITE.targets if (figure := t.figure(record)) is not None]
    assert len(found) == 3
    assert [target.met(figure) for target, figure in found] == [False, False, True]


def test_the_page_says_who_did_not_fit_who_is_absent_and_who_did_not_get_there(
    drawn: Sequence[str],
) -> None:
    text = _page(OPTIMUM.with_([GAVE_UP]))
    assert "| nobody | does not fit |" in text
    assert "| somebody | not installed (pip install some-body) |" in text
    assert "not reached: 2.0e-06 after 9.0 s" in text
    assert "gave up: 3.0e-05 after 2.0 s" in text
    assert drawn == ["time-to-optimum-1"]
    assert "| onelayer, the gap of 1e-6 proven | 0.500 (0.500–1.000) | 3 | 1.0 |" in text
    assert "| a batch, λ = 0.1 | 1.7500000000 | 1e-11 | scikit-learn lbfgs | -2.0e-12 |" in text
    assert "](benchmarks/time-to-optimum-1.png)" in text
    assert table(list(optimum.PATH_COLUMNS), []).splitlines()[0] in text
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1
