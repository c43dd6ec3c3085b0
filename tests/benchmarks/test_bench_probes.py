"""The probe on embeddings: its files, its parts, what judges them, and what the record becomes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.harness.problem import Problem, l2_path
from benchmarks.harness.processes import WorkerError
from benchmarks.harness.record import ORACLE, Measure, Part, compared, complaints
from benchmarks.harness.rounds import Session
from benchmarks.suites import probes
from benchmarks.suites.probes import FULL, QUICK, Desk, Probe, gradient_of, write_files
from onelayer.data import Splits
from onelayer.objective import loss as objective

TINY = Probe(Problem("tiny", 1500, 12, 4, 50, 1, "float16", settings=probes.grid(2)),
             l2_path(3, 0.1, 1e-4), (0, 2), held_out=200, rounds=2)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("probes")
    write_files(TINY, made)
    return made


def _desk(probe: Probe, folder: Path) -> Desk:
    return Desk(probe, folder, "native")


@pytest.fixture(scope="module")
def desk(folder: Path) -> Desk:
    return _desk(TINY, folder)


@pytest.fixture(scope="module")
def splits(desk: Desk) -> Splits:
    return desk.splits


@pytest.fixture(scope="module")
def answers(desk: Desk) -> dict[str, dict[str, Any]]:
    """What each part that is judged gives."""
    return {"path": desk.path("splits", TINY.l2s), "sweep": desk.sweep(), "peer": desk.peer()}


def _agreeing(desk: Desk, do: str, answer: dict[str, Any], **changes: Any) -> list[bool]:
    judged = getattr(desk, f"judge_{do}")({**answer, **changes})
    return [not found.refused for found in judged["compared"]]


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
    sweep = FULL.sweep
    assert (sweep.rows, sweep.features, sweep.classes) == (200_000, 768, 100)
    assert (len(FULL.l2s), sweep.runs, sweep.epochs) == (16, 32, 5)
    assert len(QUICK.l2s) > max(QUICK.peers)


@pytest.mark.parametrize(("do", "models"), [("path", 3), ("sweep", 8), ("peer", 2)])
def test_what_is_measured_agrees_with_the_oracle(
    desk: Desk, answers: dict[str, Any], do: str, models: int
) -> None:
    assert answers[do]["passes"] >= models
    agreeing = _agreeing(desk, do, answers[do])
    assert agreeing
    assert all(agreeing)
    assert answers["path"]["gap"] <= 1e-3


def test_a_path_that_claims_too_much_is_noticed(desk: Desk, answers: dict[str, Any]) -> None:
    path = answers["path"]
    assert _agreeing(desk, "path", path, costs=0.9 * path["costs"]) == [False, True]
    assert _agreeing(desk, "path", path, gaps=0.9 * path["gaps"]) == [True, False]


def test_a_cost_below_the_least_would_refute_the_proof(
    desk: Desk, answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = probes.costs_of
    monkeypatch.setattr(probes, "costs_of", lambda *a: 0.5 * costs(*a))
    assert _agreeing(desk, "peer", answers["peer"]) == [False]


def test_a_sweep_that_says_another_loss_or_steps_otherwise_is_noticed(
    desk: Desk, answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.harness.problem import Answer, initial_weights

    def other_start(problem: Any) -> Any:
        start = initial_weights(problem)
        return Answer(start.W * np.float32(1.01), start.b)

    sweep = answers["sweep"]
    assert _agreeing(desk, "sweep", sweep, loss=1.001 * sweep["loss"]) == [False, True, True]
    monkeypatch.setattr("benchmarks.harness.oracle.initial_weights", other_start)
    assert desk.first_steps().refused


def test_the_judges_gradient_is_that_of_all_rows_at_once(
    splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.harness.oracle.BLOCK_ROWS", 400)
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(4, 12)), rng.normal(size=4)
    rows = splits.train
    expected = objective.gradient(rows.X.astype(np.float64), rows.y, W, b, 0.1).W
    np.testing.assert_allclose(gradient_of(rows, W, b, 0.1), expected, rtol=1e-10)


def _in_this_process(monkeypatch: pytest.MonkeyPatch, crashing: str = "") -> None:
    def ask(do: str, desk: object, job: Any, values: dict[str, Any], **_: Any) -> dict[str, Any]:
        if do == crashing:
            raise WorkerError(f"{do} ended with exit code 1.")
        told: dict[str, Any] = getattr(_desk(*job[:2]), do)(**values)
        return told

    monkeypatch.setattr(probes, "ask_once", ask)
    monkeypatch.setattr("benchmarks.harness.rounds.SETTLE_SECONDS", 0.0)


def test_every_part_is_measured_and_what_was_measured_is_kept_at_once(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    _in_this_process(monkeypatch)
    kept: list[Part] = []
    part = probes.measure(replace(session, keep=kept.append), TINY)
    assert [len(m.seconds) for m in part.of("probe")] == [1, 1, 1, 2, 2, 2]
    assert complaints({"probes": part}) == ([], [])
    assert len(part.of(ORACLE)) == 6
    assert [sum(len(m.seconds) for m in one.measures) for one in kept] == list(range(1, 10))
    peer, path = part.find("peer", "probe"), part.find("path", "probe")
    assert peer is not None
    assert path is not None
    assert ("peak_bytes" in peer.facts, peer.facts["rows"], path.facts["rows"]) == (
        False, 150, 1500,
    )  # fmt: skip
    assert peer.facts["excess"] >= 0.0
    assert path.facts["peak_bytes"] > 0


def test_a_part_that_crashes_is_named_and_the_others_are_measured(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    _in_this_process(monkeypatch, crashing="sweep")
    part = probes.measure(session, replace(TINY, rounds=1))
    assert len([m for m in part.measures if m.seconds]) == 5
    _, (crash,) = complaints({"part": part})
    assert crash.endswith("crashed: sweep ended with exit code 1.")
    assert "| crashed: sweep ended with exit code 1. |" in "\n".join(probes.render(part, Path()))


def _measure(do: str, label: str, seconds: tuple[float, ...], **facts: float) -> Measure:
    known = {"passes": 140, "accuracy": 0.86}
    return Measure("probe", do, label, seconds, facts={**known, **facts})


PROBES = Part(
    machine={"processor": "made up"},
    started="2026-01-01T00:00:00+00:00",
    threads=2,
    engine="native",
    facts={"title": "200 000 × 768 float16, 100 classes", "x_bytes": 3e8},
    measures=(
        _measure("path", "a path", (60.0,), rows=200_000, peak_bytes=3e8, gap=9e-4),
        _measure("few_of_tenth", "few", (3.0, 3.0), rows=20_000, gap=9e-4),
        _measure("peer", "a peer", (30.0, 33.0), rows=20_000, excess=9e-3),
        compared("a cost", 1e-12, 1e-9),
    ),
    other_work=0.02,
)


def test_the_page_has_every_figure_in_tables_of_equal_width() -> None:
    page = "\n\n".join(probes.render(PROBES, Path()))
    assert "| a path | 200,000 | 60.0 (60.0–60.0) | 1 | 140 | 9.0e-04 |  | 86.0 % | 300 |" in page
    assert "| a peer | 20,000 | 31.5 (30.0–33.0) | 2 | 140 |  | 9.0e-03 | 86.0 % |  |" in page
    for block in page.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_the_page_says_what_disagrees() -> None:
    wrong = PROBES.with_([compared("another", float("nan"), 1e-9)])
    page = "\n".join(probes.render(wrong, Path()))
    assert "| a cost | 1.0e-12 | 1.0e-09 |" in page
    assert "| another | refused: off by nan of 1.0e-09 |" in page


def test_targets_take_their_figures_from_the_suite() -> None:
    found = [target.figure({"probes": PROBES}) for target in probes.SUITE.targets]
    assert found == [0.0009, 300.0, None, None]


def test_files_of_parts_have_names_of_their_own(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        f"{part}{end}.npy" for part in ("train", "validation", "test") for end in ("", "-labels")
    }
