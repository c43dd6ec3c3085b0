"""The search for the optimum: the watch, the oracle, the workers, and what the record becomes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.contenders import ONELAYER
from benchmarks.crew import Conditions, Process, WorkerError, make_conditions
from benchmarks.optimum import figures
from benchmarks.optimum.chart import draw_optimum
from benchmarks.optimum.contenders import SOLVERS, solver
from benchmarks.optimum.measure import Effort, run_optimum, run_paths, solve_task
from benchmarks.optimum.oracle import Judge, reference
from benchmarks.optimum.page import render_optimum
from benchmarks.optimum.problem import Task, make_rows, make_tasks
from benchmarks.optimum.record import Least, OptimumRecord, PathRuns, Solved
from benchmarks.optimum.watch import Floats, Seen, Watch, climb
from benchmarks.record import Record, read_record, write_record
from benchmarks.targets import TARGETS
from onelayer.objective.cost import cost

TINY = Task("batch", "tiny", "random", 90, (0.1,), 12)
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
    import time

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
    return Judge(TINY, make_rows(TINY))


def test_the_judge_counts_the_oracles_cost(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.optimum.oracle.BLOCK_ROWS", 40)
    rng = np.random.default_rng(3)
    W, b = rng.normal(size=(10, 12)), rng.normal(size=10)
    wanted = cost(judge.data.X / 255, judge.data.y, W, b, 0.1)
    assert judge.cost(W, b, 0.1) == pytest.approx(wanted, rel=1e-14)
    assert judge.excess(W, b, 0.1, wanted / 2) == pytest.approx(1.0)


def test_the_reference_is_below_every_model_nearby(judge: Judge) -> None:
    from sklearn.linear_model import LogisticRegression

    least, gap = reference(judge, 0.1)
    assert 0 <= gap <= 1e-10
    model = LogisticRegression(C=1 / (2 * 0.1 * 90), tol=1e-12, max_iter=10_000)
    model.fit(judge.data.X / 255, judge.data.y)
    assert abs(judge.excess(model.coef_, model.intercept_, 0.1, least)) < 1e-9


@pytest.fixture
def conditions(tmp_path: Path) -> Conditions:
    return make_conditions(threads=1, engine="reference", folder=tmp_path)


def _quiet(words: str) -> None:
    pass


def test_solvers_are_watched_and_then_timed(conditions: Conditions) -> None:
    chosen = [s for s in SOLVERS if s.package in ("onelayer", "sklearn")]
    [(least, found)] = solve_task(TINY, chosen, Effort(2, 1, 20.0), conditions, _quiet)
    assert [s.contender for s in found] == [s.key for s in chosen]
    assert all(len(s.seconds) == 2 and s.excess is not None and s.excess <= 1e-6 for s in found)
    ours = found[0]
    assert ours.gap is not None
    assert ours.gap <= 1e-6
    assert all(at <= whole for at, whole in zip(ours.reached, ours.seconds, strict=True))
    assert all(s.gap is None for s in found[1:])
    assert min(e for s in found for *_, e in s.steps) > -1e-9
    assert least.gap <= 1e-10
    assert not any(s.cut for s in found)


class _Dies(Process):
    """One peer's process is gone as soon as it is ready."""

    def __init__(self, module: str, job: dict[str, Any], conditions: Conditions) -> None:
        super().__init__(module, job, conditions)
        if job["contender"] == "sklearn-lbfgs":
            self._process.kill()


def test_a_peer_that_crashes_is_told_of_and_the_others_go_on(
    conditions: Conditions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.optimum.measure.Process", _Dies)
    chosen = [solver(ONELAYER), solver("sklearn-lbfgs")]
    task = replace(TINY, l2s=(0.1, 0.01))
    parts = list(solve_task(task, chosen, Effort(1, 1, 20.0), conditions, _quiet))
    record = replace(OPTIMUM, least=(), solved=tuple(s for _, found in parts for s in found))
    assert len(record.solved) == 4
    assert all(s.seconds for s in record.solved if s.contender == ONELAYER)
    assert len(record.crashed) == 2
    assert "ended with exit code -9" in record.crashed[0]
    assert "ended with exit code -9" in "".join(render_optimum(record, ()))


def test_what_was_measured_before_a_failure_is_kept(
    conditions: Conditions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> tuple[PathRuns, ...]:
        raise WorkerError("the path ended with exit code 1.")

    monkeypatch.setattr("benchmarks.optimum.measure.make_tasks", lambda *_, **__: ((TINY,), TINY))
    monkeypatch.setattr("benchmarks.optimum.measure.SOLVERS", (solver(ONELAYER),))
    monkeypatch.setattr("benchmarks.optimum.measure.run_paths", fail)
    kept: list[OptimumRecord] = []
    record = run_optimum(conditions, "random", _quiet, kept.append, quick=True)
    assert [len(part.solved) for part in kept] == [1]
    assert record.solved == kept[0].solved
    assert record.crashed == ["the path ended with exit code 1."]


def test_the_path_is_timed_beside_a_default_fit(conditions: Conditions) -> None:
    task = replace(TINY, name="all", l2s=(0.1, 0.01))
    path, fit = run_paths(task, Effort(1, 2, 1.0), conditions, _quiet)
    assert (path.l2s, len(path.seconds), fit.l2s, len(fit.seconds)) == (2, 2, 1, 2)
    assert path.gap is not None
    assert path.gap <= 1e-4
    assert fit.gap is None
    assert fit.x_bytes == 8 * path.x_bytes


def test_a_hessian_that_is_too_large_is_not_formed() -> None:
    newton = solver("sklearn-newton")
    batch, digits = make_tasks("random", quick=False)[0]
    assert "7.6 GB" in newton.too_large(batch)
    assert newton.too_large(digits) == ""
    assert solver("sklearn-lbfgs").too_large(batch) == ""


def _solved(contender: str, seconds: tuple[float, ...], **changes: object) -> Solved:
    steps = ((1, seconds[0] / 9, 0.3), (5, seconds[0], 8e-7), (9, 2 * seconds[0], -2e-12))
    found = Solved(contender, solver(contender).label, "batch", 0.1, steps=steps, budget=5,
                   excess=8e-7, seconds=seconds, x_bytes=3e7, peak_bytes=4e7)  # fmt: skip
    return replace(found, **changes)  # type: ignore[arg-type]


OPTIMUM = OptimumRecord(
    machine={"processor": "made up"},
    started="2026-01-01T00:00:00+00:00",
    titles={"batch": "a batch", "all": "all rows"},
    quick=False,
    other_work=0.01,
    least=(Least("batch", 0.1, 1.75, 1e-11),),
    solved=(
        _solved(ONELAYER, (0.5, 1.0, 0.5), gap=9e-7, reached=(0.3, 0.6, 0.3)),
        _solved("sklearn-lbfgs", (20.0, 21.0, 22.0)),
        _solved("sklearn-lbfgs-float32", (15.0, 20.0, 16.0)),
        Solved("sklearn-newton", "newton", "batch", 0.1, refused="does not fit"),
        replace(
            _solved("torch-lbfgs", (9.0,)),
            seconds=(),
            budget=None,
            cut=True,
            steps=((3, 9.0, 2e-6),),
        ),
    ),
    paths=(
        PathRuns("onelayer-path", "path", {}, 20, (10.0, 12.0), (7,) * 20, 9e-5, 1.5e8, 2.5e8),
        PathRuns("sklearn-default", "fit", {}, 1, (40.0, 36.0), (100,), None, 1.2e9, 1e7),
    ),
    absent=(("somebody", "some-body"),),
)
GAVE_UP = Solved("sklearn-lbfgs-float32", "float32", "batch", 0.1, steps=((7, 2.0, 3e-5),))
RECORD = Record({}, "2026-01-01T00:00:00+00:00", "random", "native", 2, False, optimum=OPTIMUM)


def test_the_faster_of_float64_and_float32_is_the_one_to_beat() -> None:
    assert figures.sklearn_ratio(OPTIMUM, 0.1) == pytest.approx(30.0)
    assert figures.sklearn_ratio(OPTIMUM, 0.01) is None
    assert figures.intelex_ratio(OPTIMUM, 0.1) is None


def test_who_was_cut_off_is_slower_by_at_least_the_time_it_took() -> None:
    torch = OPTIMUM.find("torch-lbfgs", "batch", 0.1)
    assert torch is not None
    assert figures.ratio(OPTIMUM, torch) is None
    assert figures.least_ratio(OPTIMUM, torch) == pytest.approx(9.0 / 0.5)


def test_who_gave_up_by_itself_is_not_the_faster_one() -> None:
    assert figures.least_ratio(OPTIMUM, GAVE_UP) is None
    others = [s for s in OPTIMUM.solved if s.contender != GAVE_UP.contender]
    assert figures.sklearn_ratio(replace(OPTIMUM, solved=(*others, GAVE_UP)), 0.1) == (
        pytest.approx(40.0)
    )


def test_figures_of_the_path_and_of_memory() -> None:
    assert figures.path_ratio(OPTIMUM) == pytest.approx((10 / 40 + 12 / 36) / 2)
    assert figures.most_memory(OPTIMUM) == pytest.approx(250.0)
    assert figures.nearest_peer(OPTIMUM, "batch", 0.1) == ("scikit-learn lbfgs", -2e-12)


def test_without_the_section_nothing_is_claimed() -> None:
    empty = replace(RECORD, optimum=None)
    assert [t.figure(empty) for t in TARGETS if "optimum" in t.measure or "λ" in t.measure] == (
        [None] * 8
    )
    assert render_optimum(None, ()) == []


def test_targets_take_their_figures_from_the_section() -> None:
    met = {t.measure: t.met(f) for t in TARGETS if (f := t.figure(RECORD)) is not None}
    assert len(met) == 3
    assert all(met.values())


def test_the_record_survives_json_and_older_records_are_read(tmp_path: Path) -> None:
    write_record(RECORD, tmp_path / "latest.json")
    assert read_record(tmp_path / "latest.json") == RECORD


def test_the_page_says_who_did_not_fit_who_is_absent_and_who_did_not_get_there() -> None:
    record = replace(OPTIMUM, solved=(*OPTIMUM.solved, GAVE_UP))
    page = "\n\n".join(render_optimum(record, (("picture", "in words"),)))
    assert "| newton | does not fit |" in page
    assert "| somebody | not installed (pip install some-body) |" in page
    assert "not reached: 2.0e-06 after 9.0 s" in page
    assert "gave up: 3.0e-05 after 2.0 s" in page
    assert "![in words](benchmarks/picture.png)" in page
    for block in page.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_only_this_part_of_the_kept_record_is_renewed_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for wrong in (["--keep"], ["--keep", "--only", "peers"]):
        with pytest.raises(SystemExit):
            main(wrong)
        assert "--keep goes with --only optimum" in capsys.readouterr().err


def test_the_chart_is_drawn_with_words(tmp_path: Path) -> None:
    ((name, words),) = draw_optimum(OPTIMUM, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {f"{name}.png", f"{name}.svg"}
    assert "onelayer 0.5 s" in words
    assert draw_optimum(None, tmp_path) == ()
