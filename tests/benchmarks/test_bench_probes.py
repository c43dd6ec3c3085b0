"""The probe on embeddings: its files, its parts, what judges them, and what the record becomes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.crew import Conditions, WorkerError, make_conditions
from benchmarks.probes import measure
from benchmarks.probes.judge import first_steps, gradient_of, judge_path, judge_peer, judge_sweep
from benchmarks.probes.measure import run_probes
from benchmarks.probes.page import render_probes
from benchmarks.probes.problem import FULL, QUICK, Probe, files_of, write_files
from benchmarks.probes.record import Check, Part, ProbeRecord
from benchmarks.probes.worker import Desk
from benchmarks.record import Record, read_record, write_record
from benchmarks.targets import TARGETS
from onelayer.data import Splits
from onelayer.objective import cost as objective

TINY = Probe(rows=1500, held_out=200, features=12, classes=4, points=3, rates=2, batch_size=50,
             epochs=1, peers=(0, 2), rounds=2)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("probes")
    write_files(TINY, made)
    return made


def _desk(probe: Probe, folder: Path) -> Desk:
    job = {"probe": probe.as_dict(), "folder": str(folder), "engine": "native"}
    return Desk(json.loads(json.dumps(job)))


@pytest.fixture(scope="module")
def desk(folder: Path) -> Desk:
    return _desk(TINY, folder)


@pytest.fixture(scope="module")
def splits(desk: Desk) -> Splits:
    return desk._splits()


def test_the_embeddings_have_the_asked_size_and_a_signal_and_a_falling_spectrum(
    splits: Splits,
) -> None:
    X, y = splits.train.X, splits.train.y
    assert (X.shape, X.dtype.name, splits.train.classes) == ((1500, 12), "float16", 4)
    assert splits.validation.rows == splits.test.rows == 200
    assert 0.5 < float(np.std(X.astype(np.float64))) < 2.0
    within = X.astype(np.float64)
    for k in range(4):
        within[y == k] -= within[y == k].mean(axis=0)
    spectrum = np.linalg.eigvalsh(np.cov(within.T))[::-1]
    np.testing.assert_allclose(spectrum / spectrum[0], 1 / np.arange(1, 13), rtol=0.35)


def test_parts_are_drawn_apart(splits: Splits) -> None:
    assert not (splits.train.X[:200] == splits.validation.X).all(axis=1).any()
    assert not (splits.test.X == splits.validation.X).all(axis=1).any()


def test_the_sizes_are_those_that_were_asked_for() -> None:
    assert (FULL.rows, FULL.features, FULL.classes) == (200_000, 768, 100)
    assert (len(FULL.l2s), len(FULL.runs), {run.epochs for run in FULL.runs}) == (16, 32, {5})
    assert len(QUICK.l2s) > max(QUICK.peers)


def _answers(desk: Desk, part: str, judge: str, to: Path) -> tuple[dict[str, Any], list[Any]]:
    told = desk.run(part, str(to))
    return told, desk.run(judge, str(to))["checks"] if judge else []


@pytest.mark.parametrize(
    ("part", "judge", "models"),
    [("path", "judge-path", 3), ("sweep", "judge-sweep", 8), ("peer", "judge-peer", 2)],
)
def test_what_is_measured_agrees_with_the_oracle(
    desk: Desk, tmp_path: Path, part: str, judge: str, models: int
) -> None:
    told, checks = _answers(desk, part, judge, tmp_path / "answer.npz")
    assert told["models"] == models
    assert checks
    assert all(Check(*check).agrees for check in checks), checks
    if part == "path":
        assert told["gap"] <= 1e-3


def test_a_path_that_claims_too_much_is_noticed(desk: Desk, splits: Splits, tmp_path: Path) -> None:
    desk.run("path", str(tmp_path / "a.npz"))
    with np.load(tmp_path / "a.npz") as saved:
        answer = dict(saved)
    for change, wrong in (("cost", 0), ("gap", 1)):
        np.savez(tmp_path / "b.npz", **{**answer, change: 0.9 * answer[change]})
        found = [Check(*check) for check in judge_path(splits.train, tmp_path / "b.npz")["checks"]]
        assert [not check.agrees for check in found] == [wrong == 0, wrong == 1], change


def test_a_cost_below_the_least_would_refute_the_proof(
    desk: Desk, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.run("peer", str(tmp_path / "a.npz"))
    cost = objective.cost
    monkeypatch.setattr("benchmarks.probes.judge.objective.cost", lambda *a: 0.5 * cost(*a))
    (check,) = judge_peer(desk._tenth().train, tmp_path / "a.npz")["checks"]
    assert not Check(*check).agrees


def test_a_sweep_that_says_another_loss_or_steps_otherwise_is_noticed(
    desk: Desk, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.run("sweep", str(tmp_path / "a.npz"))
    with np.load(tmp_path / "a.npz") as saved:
        answer = dict(saved)
    np.savez(tmp_path / "b.npz", **{**answer, "loss": answer["loss"] * 1.001})
    checks = judge_sweep(splits, TINY, "native", tmp_path / "b.npz")["checks"]
    assert [Check(*check).agrees for check in checks] == [False, True, True]
    monkeypatch.setattr("benchmarks.oracle.initial_weights", _other_start)
    assert not Check(*first_steps(splits.train, TINY, "native")).agrees


def _other_start(problem: Any) -> Any:
    from benchmarks.problem import Answer, initial_weights

    start = initial_weights(problem)
    return Answer(start.W * np.float32(1.01), start.b)


def test_the_judges_gradient_is_that_of_all_rows_at_once(splits: Splits) -> None:
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(4, 12)), rng.normal(size=4)
    rows = splits.train
    expected = objective.gradient(rows.X.astype(np.float64), rows.y, W, b, 0.1).W
    np.testing.assert_allclose(gradient_of(rows, W, b, 0.1), expected, rtol=1e-10)


@pytest.fixture
def conditions(tmp_path: Path) -> Conditions:
    return make_conditions(threads=1, engine="native", folder=tmp_path)


def _in_this_process(monkeypatch: pytest.MonkeyPatch, crashing: str = "") -> None:
    def ask(job: Any, part: str, to: Path) -> dict[str, Any]:
        if part == crashing:
            raise WorkerError(f"{part} ended with exit code 1.")
        return _desk(job.probe, job.folder).run(part, str(to))

    monkeypatch.setattr(measure._Job, "ask", ask)


def _quiet(words: str) -> None:
    pass


def test_every_part_is_measured_and_what_was_measured_is_kept_at_once(
    conditions: Conditions, monkeypatch: pytest.MonkeyPatch
) -> None:
    _in_this_process(monkeypatch)
    kept: list[ProbeRecord] = []
    record = run_probes(conditions, _quiet, quick=False, keep=kept.append, probe=TINY)
    assert [len(part.seconds) for part in record.parts] == [1, 1, 1, 2, 2, 2]
    assert not record.failed
    assert record.disagreeing == []
    assert len(record.checks) == 6
    assert [len(one.parts) for one in kept] == [1, 2, 3, 4, 5, 6, 6, 6, 6]
    peer, path = record.find("peer"), record.find("path")
    assert peer is not None
    assert path is not None
    assert (peer.peak_bytes, peer.rows, path.rows) == (None, 150, 1500)
    assert peer.excess is not None
    assert path.peak_bytes is not None
    assert path.peak_bytes > 0


def test_a_part_that_crashes_is_said_and_the_others_are_measured(
    conditions: Conditions, monkeypatch: pytest.MonkeyPatch
) -> None:
    _in_this_process(monkeypatch, crashing="sweep")
    record = run_probes(conditions, _quiet, quick=False, probe=replace(TINY, rounds=1))
    assert record.failed == (("sweep", "sweep ended with exit code 1."),)
    assert len(record.parts) == 5
    assert "**sweep did not end: sweep ended with exit code 1.**" in render_probes(record)


PROBES = ProbeRecord(
    machine={"processor": "made up"},
    started="2026-01-01T00:00:00+00:00",
    title="200 000 × 768 float16, 100 classes",
    quick=False,
    x_bytes=3e8,
    parts=(
        Part("peer", "a peer", 20_000, 4, 140, (30.0, 33.0), excess=9e-3),
        Part("few-of-tenth", "few", 20_000, 4, 60, (3.0, 3.0), 1e8, 9e-4),
        Part("path", "a path", 200_000, 16, 94, (60.0,), 3e8, 9e-4, accuracy=0.86),
    ),
    checks=(Check("a cost", 1e-12, 1e-9),),
    other_work=0.02,
)
RECORD = Record({}, "2026-01-01T00:00:00+00:00", "random", "native", 2, False, probes=PROBES)


def test_the_page_has_the_comparison_and_tables_of_equal_width() -> None:
    page = "\n\n".join(render_probes(PROBES))
    assert "take 10.5 times as long as onelayer takes for the same λ's with their proofs" in page
    assert "and 0.50 times as long as onelayer's 16 λ's on all rows." in page
    assert page.index("| a path |") < page.index("| a peer |")
    for block in page.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_the_page_says_what_disagrees_and_what_was_loaded() -> None:
    wrong = replace(PROBES, checks=(Check("a cost", float("nan"), 1e-9),), other_work=0.7)
    page = "\n\n".join(render_probes(wrong))
    assert "| a cost | nan | 1.0e-09 | **no** |" in page
    assert "not to be trusted" in page
    assert wrong.disagreeing


def test_targets_take_their_figures_from_the_section() -> None:
    found = {t.measure: t.figure(RECORD) for t in TARGETS if t.measure.startswith("embeddings")}
    assert sorted(found.values(), key=str) == [0.0009, 300.0, None, None]
    assert all(t.figure(replace(RECORD, probes=None)) is None for t in TARGETS
               if t.measure.startswith("embeddings"))  # fmt: skip


def test_the_record_survives_json(tmp_path: Path) -> None:
    write_record(RECORD, tmp_path / "latest.json")
    assert read_record(tmp_path / "latest.json") == RECORD


def test_files_of_parts_have_names_of_their_own(folder: Path) -> None:
    names = {path for part in ("train", "validation", "test") for path in files_of(folder, part)}
    assert len(names) == 6
    assert all(path.is_file() for path in names)
