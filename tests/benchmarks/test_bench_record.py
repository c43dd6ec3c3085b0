"""Medians, ratios, shares, targets and the page, on records whose figures are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import CHECKED, PAGE, RESULTS, main, write_page
from benchmarks.harness import page
from benchmarks.harness.page import Target, render_page, table
from benchmarks.harness.record import (
    CRASHED,
    Measure,
    Part,
    Record,
    compared,
    complaints,
    kept_path,
    median_ratio,
    read_kept,
    read_record,
    write_record,
)
from benchmarks.peers import CONTENDERS, contender
from benchmarks.suites import SUITES
from benchmarks.suites.training import entries, problems

GIGA = 1e9


def measure(who: str, seconds: tuple[float, ...], work: str = "one", **changes: Any) -> Measure:
    facts = {"flops": 49e9, "peak_bytes": 5e6, "distance": 1e-8, "allowed": 1e-7}
    found = Measure(work, who, contender(who).label, seconds, facts=facts)
    return replace(found, **changes)


def _part(*measures: Measure, **changes: Any) -> Part:
    part = Part("2026-01-01T00:00:00+00:00", {"processor": "made up"}, 2, "native",
                measures=measures, facts={"data": "random bytes"}, other_work=0.02)  # fmt: skip
    return replace(part, **changes)


OURS = measure("onelayer", (0.2, 0.4, 0.25), series={"sgemm": (300.0, 280.0, 320.0)})
PEERS = _part(
    OURS,
    measure("numpy", (1.0, 1.6, 1.5)),
    measure("torch-once", (1.0, 1.0, 1.0)),
    measure("torch-each-batch", (0.8, 0.9, 2.0)),
    measure("onelayer", (0.5, 1.0, 0.75), "four"),
    measure("jax-scan", (), refused="not installed (pip install jax)"),
)
REPRODUCE = _part(
    Measure(
        "reproduce",
        "onelayer",
        "onelayer",
        (9.0, 11.0),
        series={"peak": (3e8, 3.1e8), "beyond": (5.0, 7.0)},
    ),
    facts={"command": "onelayer reproduce"},
)
RECORD: Record = {"peers": PEERS, "reproduce": REPRODUCE}
TARGETS = {target.measure: target for suite in SUITES for target in suite.targets}


def _page(tmp_path: Path, record: Record = RECORD) -> str:
    return render_page(record, SUITES, tmp_path)


def test_ratios_are_taken_within_rounds_and_a_peer_with_fewer_rounds_on_those() -> None:
    assert median_ratio(PEERS.find("numpy", "one"), OURS) == pytest.approx(5.0)
    assert median_ratio(measure("numpy", (4.0,)), measure("onelayer", (2.0, 100.0))) == 2.0
    assert median_ratio(measure("numpy", ()), OURS) is None
    assert median_ratio(None, OURS) is None


def test_shares_are_of_the_median_limit() -> None:
    assert OURS.share("sgemm", "flops") == pytest.approx(49 / 0.25 / 300)
    assert measure("numpy", (1.0,)).share("sgemm", "flops") is None


@pytest.mark.parametrize(
    ("name", "figure", "met"),
    [
        ("one run: NumPy float32 / onelayer", 5.0, True),
        # The form of hand-written PyTorch with the smaller median, not with the smaller ratio.
        ("one run: best hand-written PyTorch / onelayer", 4.0, True),
        ("one run: JAX scan / onelayer", None, None),
        ("the four settings in one pass / one run", 2.5, True),
        ("64 runs in one pass: share of sgemm", None, None),
        ("memory above X of training, the most of any", 5.0, True),
        ("`onelayer reproduce` beyond its training passes", 6.0, True),
        ("`onelayer reproduce`, 4 settings × 8 seeds, wall", 10.0, True),
    ],
)
def test_targets_take_their_figures_from_the_record(
    name: str, figure: float | None, met: bool | None
) -> None:
    measured = TARGETS[name].figure(RECORD)
    assert measured == (None if figure is None else pytest.approx(figure))
    assert (None if measured is None else TARGETS[name].met(measured)) == met


def test_without_a_record_nothing_is_claimed() -> None:
    assert [target.figure({}) for target in TARGETS.values()] == [None] * len(TARGETS)


def test_bounds_point_the_right_way() -> None:
    at_least = Target("x", 7, "×", True, lambda _: None)
    at_most = replace(at_least, at_least=False)
    assert [at_least.met(v) for v in (7.0, 6.99)] == [True, False]
    assert [at_most.met(v) for v in (7.0, 7.01)] == [True, False]


def test_a_record_survives_json_with_a_line_for_each_measure(tmp_path: Path) -> None:
    checked = PEERS.with_([compared("a cost", 1e-12, 1e-9)])
    record = {**RECORD, "peers": checked}
    write_record(record, tmp_path / "deep" / "latest.json")
    assert read_record(tmp_path / "deep" / "latest.json") == record
    text = (tmp_path / "deep" / "latest.json").read_text("utf-8")
    assert sum('"who"' in line for line in text.splitlines()) == 8


def test_the_kept_page_is_written_from_the_kept_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(page, "save_chart", lambda chart, folder: drawn.append(chart.name))
    write_page(read_kept(RESULTS, but=CHECKED), tmp_path / "benchmarks.md")
    assert (tmp_path / "benchmarks.md").read_text("utf-8") == PAGE.read_text("utf-8")
    assert drawn == [f"time-to-optimum-{i}" for i in range(1, 5)]
    assert {f"{name}{end}" for name in drawn for end in (".png", ".svg")} == {
        path.name for path in PAGE.with_suffix("").iterdir()
    }


def test_the_page_shows_the_newest_kind_of_processor_and_names_the_others(tmp_path: Path) -> None:
    kinds = {"A 1, avx2, 2 threads": "2026-01-01", "B 2, avx512, 2 threads": "2026-02-01"}
    for kind, day in kinds.items():
        part = replace(PEERS, started=day, machine={"kind": kind})
        write_record({"peers": part}, kept_path(kind, tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a-1-avx2-2-threads.json", "b-2-avx512-2-threads.json"
    ]  # fmt: skip
    write_page(read_kept(tmp_path, but=tmp_path / "check.json"), tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text("utf-8")
    newest, older = text.split("## On A 1, avx2, 2 threads")
    assert "one kind of processor: B 2, avx512, 2 threads. At the end: A 1, avx2, 2" in newest
    assert "| kind | B 2, avx512, 2 threads |" in newest
    assert older.count("| one run: NumPy float32 / onelayer |") == 1


def test_a_record_of_a_gpu_alone_stands_at_the_end_with_its_table(tmp_path: Path) -> None:
    gpu = SUITES[[suite.name for suite in SUITES].index("gpu")]
    found = measure("onelayer", (0.5,), work="4 runs", facts={"flops": 49e9, "matmul": 5e13})
    part = replace(PEERS, started="2026-03-01", machine={"kind": "G", "cores": "16"},
                   facts={"device": "cuda:0 (a GPU)"}, measures=(found,),
                   other_work=0.12)  # fmt: skip
    write_record({gpu.name: part}, kept_path("G", tmp_path))
    usual = replace(PEERS, started="2026-01-01", machine={"kind": "A"})
    write_record({"peers": usual, "grids": usual}, kept_path("A", tmp_path))
    write_page(read_kept(tmp_path, but=tmp_path / "check.json"), tmp_path / "page.md")
    first, last = (tmp_path / "page.md").read_text("utf-8").split("## On G")
    assert "one kind of processor: A. At the end: G." in first
    assert "### On a GPU\n\ncuda:0 (a GPU)" in last
    assert "| 4 runs |" in last
    assert "not to be trusted" not in last  # .12 of 16 cores


def test_the_page_says_the_speed_of_sgemm_on_as_many_threads_as_the_contenders_have(
    tmp_path: Path,
) -> None:
    ours = measure("onelayer", (1.0,), work="64", series={"sgemm": (500.0,)})
    alone = replace(PEERS, threads=PEERS.threads + 1, measures=(ours,))
    row = next(x for x in _page(tmp_path).splitlines() if x.startswith("| sgemm"))
    assert row in _page(tmp_path, {**RECORD, "grids": alone})


def test_the_page_names_who_is_absent_and_who_was_refused(tmp_path: Path) -> None:
    off = measure("torch-loader", (), refused="refused: its weights are 5.0e-01 off")
    peers = PEERS.with_([off])
    page = _page(tmp_path, {**RECORD, "peers": peers})
    assert "| JAX, scan | not installed (pip install jax) |" in page
    assert "refused: its weights are 5.0e-01 off" in page
    assert "| one run: NumPy float32 / onelayer | ≥ 4.5 × | 5 × | yes |" in page
    assert "| 5.00 | 33 |  | 5 | 0.10 |" in page


def test_every_row_of_the_page_has_as_many_cells_as_its_head(tmp_path: Path) -> None:
    for block in _page(tmp_path).split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_a_page_says_that_it_is_quick_and_that_the_machine_was_busy(tmp_path: Path) -> None:
    quiet = _page(tmp_path)
    assert "A quick run" not in quiet
    assert "not to be trusted" not in quiet
    busy = replace(PEERS, quick=True, other_work=0.25)
    page = _page(tmp_path, {"peers": busy})
    assert "A quick run" in page
    assert "not to be trusted" in page
    assert "not to be trusted" not in _page(tmp_path, {"peers": replace(PEERS, other_work=None)})


def test_a_part_with_another_start_says_when_it_was_measured(tmp_path: Path) -> None:
    later = replace(REPRODUCE, started="2027-01-01T00:00:00+00:00")
    assert "Measured 2027" in _page(tmp_path, {**RECORD, "reproduce": later})
    assert "Measured 2026" not in _page(tmp_path)


def test_a_record_knows_what_disagreed_and_what_crashed() -> None:
    off = measure("numpy", (), refused="refused: off")
    gone = measure("torch-once", (), refused=f"{CRASHED}: exit code 1")
    far = compared("a cost", float("nan"), 1e-9)
    part = PEERS.with_([off, gone, far])
    assert complaints({"peers": PEERS}) == ([], [])
    assert complaints({"peers": part}) == (
        [
            "DISAGREES: NumPy float32 on one: refused: off",
            "DISAGREES: a cost on NumPy float64: refused: off by nan of 1.0e-09",
        ],
        [f"CRASHED: {gone.label} on one: crashed: exit code 1"],
    )


def test_a_table_lines_numbers_up_and_fills_short_rows() -> None:
    assert table(["a", "b"], [["x"]]).splitlines()[1:] == ["|---|---:|", "| x |  |"]


@pytest.mark.parametrize("quick", [False, True])
def test_suites_name_every_contender_and_their_problems_are_told_apart(quick: bool) -> None:
    names = ("peers", "grids", "wide")
    found = [entry for name in names for entry in entries(name, "random", quick=quick)]
    assert {entry.contender.key for entry in found} == {c.key for c in CONTENDERS}
    pairs = [(entry.contender.key, entry.problem.name) for entry in found]
    assert len(pairs) == len(set(pairs))


def test_the_grid_of_64_is_four_settings_by_sixteen_seeds() -> None:
    known = problems("random", quick=False)
    settings = known["64"].settings
    assert len(set(settings)) == 64
    assert len({(s.learning_rate, s.l2) for s in settings}) == 4
    assert known["one"].flops == 4 * 10_000 * 3072 * 10 * 40


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--keep"], "--keep goes with --only or --check"),
        (["--keep", "--only", "peers", "--quick"], "not with --quick"),
        (["--only", "peers,nobody"], "no suite nobody"),
    ],
)
def test_wrong_arguments_end_before_anything_is_measured(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert words in capsys.readouterr().err


def test_the_kept_ratios_have_their_number_spread_and_versions() -> None:
    for kind, part in read_record(CHECKED).items():
        assert "threads" in kind
        assert "numpy" in part.machine
        assert all(len(m.series["ratio"]) >= 3 for m in part.measures)
