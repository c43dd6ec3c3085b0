"""Medians, ratios, shares, targets and the page, on records whose figures are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import figures
from benchmarks.charts import draw_charts, log_ticks
from benchmarks.contenders import CONTENDERS
from benchmarks.page import render_page
from benchmarks.record import (
    Absent,
    CommandRuns,
    Measured,
    Point,
    Record,
    read_record,
    write_record,
)
from benchmarks.sections import make_sections
from benchmarks.sweeps import sweep_problems
from benchmarks.tables import table
from benchmarks.targets import TARGETS


def _measured(contender: str, seconds: tuple[float, ...], problem: str = "one") -> Measured:
    return Measured(
        contender=contender,
        label=next(c.label for c in CONTENDERS if c.key == contender),
        problem=problem,
        runs=1,
        flops=49e9,
        bytes_touched=1.2e9,
        peak_bytes=5e6,
        distance=1e-8,
        allowed=1e-7,
        seconds=seconds,
    )


def _point(value: int, peak_bytes: float) -> Point:
    found = replace(_measured("onelayer", (0.001 * value,)), peak_bytes=peak_bytes)
    return Point("N", value, found)


RECORD = Record(
    machine={"processor": "made up"},
    started="2026-01-01T00:00:00+00:00",
    data="random bytes",
    engine="native",
    threads=2,
    quick=False,
    measured=(
        replace(
            _measured("onelayer", (0.2, 0.4, 0.25)),
            sgemm_gflops=(300.0, 280.0, 320.0),
            copy_gbytes=(12.0,),
        ),
        _measured("numpy", (1.0, 1.6, 1.5)),
        _measured("torch-once", (1.0, 1.0, 1.0)),
        _measured("torch-each-batch", (0.8, 0.9, 2.0)),
        _measured("onelayer", (0.5, 1.0, 0.75), problem="four"),
    ),
    absent=(Absent("jax-scan", "JAX, scan", "jax"),),
    points=(_point(1000, 4e6), _point(5000, 4.5e6)),
    reproduce=CommandRuns("onelayer reproduce", (9.0, 11.0), (3e8, 3.1e8)),
    other_work=0.25,
)
BY_MEASURE = {target.measure: target for target in TARGETS}


def test_ratios_are_taken_within_rounds_and_then_their_median() -> None:
    assert figures.ratio_to_onelayer(RECORD, "numpy", "one") == pytest.approx(5.0)
    assert figures.median_ratio([], [1.0]) is None


def test_a_peer_with_fewer_rounds_is_compared_on_those() -> None:
    assert figures.median_ratio([4.0], [2.0, 100.0]) == 2.0


def test_the_best_hand_written_pytorch_is_the_one_with_the_smaller_median() -> None:
    assert figures.best_by_hand(RECORD, "one") == "torch-each-batch"


def test_shares_are_of_the_median_limit() -> None:
    ours = RECORD.find("onelayer", "one")
    assert figures.sgemm_share(ours) == pytest.approx(49 / 0.25 / 300)
    assert figures.copy_share(ours) == pytest.approx(1.2 / 0.25 / 12)
    assert figures.sgemm_share(RECORD.find("numpy", "one")) is None
    assert figures.sgemm_share(None) is None


def test_memory_growth_is_from_the_smallest_to_the_largest_n() -> None:
    assert figures.memory_growth(RECORD) == pytest.approx(0.5)
    assert figures.memory_growth(replace(RECORD, points=())) is None


@pytest.mark.parametrize(
    ("measure", "figure", "met"),
    [
        ("one run: NumPy float32 / onelayer", 5.0, True),
        ("one run: best hand-written PyTorch / onelayer", 4.0, True),
        ("one run: JAX scan / onelayer", None, None),
        ("the four settings in one pass / one run", 2.5, True),
        ("64 runs in one pass: share of sgemm", None, None),
        ("`onelayer reproduce`, 4 settings × 8 seeds, wall", 10.0, True),
    ],
)
def test_targets_take_their_figures_from_the_record(
    measure: str, figure: float | None, met: bool | None
) -> None:
    target = BY_MEASURE[measure]
    measured = target.figure(RECORD)
    assert measured == (None if figure is None else pytest.approx(figure))
    assert (None if measured is None else target.met(measured)) == met


def test_bounds_point_the_right_way() -> None:
    at_least, at_most = BY_MEASURE["one run: JAX scan / onelayer"], TARGETS[-1]
    assert at_least.met(7.0)
    assert not at_least.met(6.99)
    assert at_most.met(20.0)
    assert not at_most.met(20.1)


def test_a_record_survives_json(tmp_path: Path) -> None:
    write_record(RECORD, tmp_path / "deep" / "latest.json")
    assert read_record(tmp_path / "deep" / "latest.json") == RECORD


def test_the_page_names_who_is_absent_and_who_was_refused() -> None:
    refused = replace(_measured("torch-loader", ()), agrees=False, distance=0.5)
    page = render_page(replace(RECORD, measured=(*RECORD.measured, refused)), ())
    assert "| JAX, scan | not installed (pip install jax) |" in page
    assert "refused: its weights are 5.0e-01 off" in page
    assert "| one run: NumPy float32 / onelayer | ≥ 4.5 × | 5 × | yes |" in page


def test_every_row_of_the_page_has_as_many_cells_as_its_head() -> None:
    for block in render_page(RECORD, ()).split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_a_quick_page_says_so() -> None:
    assert "A quick run" in render_page(replace(RECORD, quick=True), ())
    assert "A quick run" not in render_page(RECORD, ())


def test_a_page_measured_on_a_busy_machine_says_so() -> None:
    assert "not to be trusted" in render_page(RECORD, ())
    assert "not to be trusted" not in render_page(replace(RECORD, other_work=0.02), ())
    assert "not to be trusted" not in render_page(replace(RECORD, other_work=None), ())


def test_a_record_knows_what_disagreed() -> None:
    wrong = replace(RECORD.measured[1], agrees=False)
    assert RECORD.disagreeing == []
    assert replace(RECORD, points=(Point("R", 1, wrong),)).disagreeing == [wrong]


def test_charts_are_drawn_for_the_axes_that_have_points(tmp_path: Path) -> None:
    pictures = draw_charts(RECORD, tmp_path)
    assert [p.axis for p in pictures] == ["N"]
    assert "1 ms at 1000" not in pictures[0].alternative
    assert "1e+03 ms at 1000" in pictures[0].alternative
    assert {p.suffix for p in tmp_path.iterdir()} == {".png", ".svg"}


def test_ticks_are_few_on_long_axes() -> None:
    assert log_ticks(0.5, 20.0) == [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]
    assert log_ticks(1.0, 1e5) == [1.0, 10.0, 100.0, 1e3, 1e4, 1e5]


def test_a_table_lines_numbers_up() -> None:
    assert table(["a", "b"], []).splitlines()[1] == "|---|---:|"


@pytest.mark.parametrize("quick", [False, True])
def test_sections_name_every_contender_and_their_problems_are_told_apart(quick: bool) -> None:
    entries = [entry for s in make_sections("random", quick=quick) for entry in s.entries]
    assert {entry.contender.key for entry in entries} == {c.key for c in CONTENDERS}
    pairs = [(entry.contender.key, entry.problem.name) for entry in entries]
    assert len(pairs) == len(set(pairs))


def test_the_grid_of_64_is_four_settings_by_sixteen_seeds() -> None:
    problems = {e.problem.name: e.problem for s in make_sections("random", quick=False)
                for e in s.entries}  # fmt: skip
    settings = problems["64"].settings
    assert len(set(settings)) == 64
    assert len({(s.learning_rate, s.l2) for s in settings}) == 4
    assert problems["one"].flops == 4 * 10_000 * 3072 * 10 * 40


def test_sweeps_cover_one_to_256_runs() -> None:
    swept = [(axis, value, problem) for axis, value, problem in sweep_problems(quick=False)]
    assert [p.runs for axis, _, p in swept if axis == "R"] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert {axis for axis, _, _ in swept} == {"R", "D", "K", "N"}
