"""The probe on embeddings: its files, its parts, what judges them, and what the record becomes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from benchmarks.harness.problem import Problem, l2_path
from benchmarks.harness.processes import WorkerError
from benchmarks.harness.record import ORACLE, Measure, Part, compared, complaints
from benchmarks.harness.rounds import Session
from benchmarks.suites import probes
from benchmarks.suites.probes import FULL, Desk, Few, Layers, Probe, write_files
from onelayer.data import Splits

TINY = Probe(Problem("tiny", 1500, 12, 4, 50, 1, "float16", settings=probes.grid(2)),
             l2_path(3, 0.1, 1e-4), 200,
             Problem("many", 1000, 12, 20, 50, 1, "float16"),
             Few(Problem("few", 1200, 12, 3, 50, 1, "float16"), l2_path(2, 0.1, 1e-2),
                 (1, 3), 2),
             Layers(Problem("layers", 300, 12, 3), l2_path(2, 0.1, 1e-2), 3, 8))  # fmt: skip


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
    """What the parts give."""
    return {"path": desk.path("splits", TINY.l2s), "sweep": desk.sweep()}


def _agreeing(desk: Desk, answer: dict[str, Any], **changes: Any) -> list[bool]:
    return [not found.refused for found in desk.judge_path({**answer, **changes})]


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
    assert (FULL.many.rows, FULL.many.features, FULL.many.classes) == (100_000, 768, 1000)
    few = FULL.few.problem
    assert (few.rows, few.features, few.classes) == (20_000, 512, 50)
    layers = FULL.layers
    assert (layers.sets, layers.problem.rows, layers.width, len(layers.l2s)) == (
        48,
        10_000,
        768,
        12,
    )
    assert (FULL.few.shots, FULL.few.repeats, len(FULL.few.l2s)) == ((1, 2, 4, 8, 16), 5, 12)


def test_what_is_measured_agrees_with_the_oracle(desk: Desk, answers: dict[str, Any]) -> None:
    assert [answers[do]["passes"] >= models for do, models in (("path", 3), ("sweep", 8))]
    assert _agreeing(desk, answers["path"]) == [True, True]
    assert answers["path"]["gap"] <= 1e-3


def test_a_path_that_claims_too_much_is_noticed(desk: Desk, answers: dict[str, Any]) -> None:
    path = answers["path"]
    assert _agreeing(desk, path, costs=0.9 * path["costs"]) == [False, True]
    assert _agreeing(desk, path, gaps=0.0 * path["gaps"]) == [True, False]


class InThisProcess:
    """Stands for a worker: the desk is asked here, and one of its steps crashes."""

    crashing = ""

    def __init__(self, name: str, desk: Any, *job: Any, conditions: object) -> None:
        self._desk = desk(*job)

    def ask(self, do: str, **values: Any) -> Any:
        if do == self.crashing:
            raise WorkerError(f"{do} ended with exit code 1.")
        return getattr(self._desk, do)(**values)

    def limit(self, name: str) -> float:
        return 100.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> type[InThisProcess]:
    monkeypatch.setattr(probes, "Process", InThisProcess)
    monkeypatch.setattr("benchmarks.harness.processes.Process", InThisProcess)
    monkeypatch.setattr("benchmarks.harness.rounds.SETTLE_SECONDS", 0.0)
    return InThisProcess


@pytest.mark.usefixtures("here")
def test_every_part_is_measured_and_what_was_measured_is_kept_at_once(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "peak_bytes", lambda: 1e6)
    monkeypatch.setattr(
        probes, "timed", lambda work, *_: (work(), {"seconds": 1.0, "peak_bytes": 5e6})
    )
    kept: list[Part] = []
    part = probes.measure(replace(session, keep=kept.append), TINY)
    assert [len(m.seconds) for m in part.of("probe")] == [1] * 8
    assert complaints({"probes": part}) == ([], [])
    assert len(part.of(ORACLE)) == 3
    assert [sum(len(m.seconds) for m in one.measures) for one in kept] == list(range(1, 9))
    path, many = (part.find(who, "probe") for who in ("path", "path_of_many"))
    assert path is not None
    assert many is not None
    assert (path.facts["rows"], many.facts["rows"]) == (1500, 1000)
    operations = 4.0 * 1500 * 12 * 4 * path.facts["passes"]
    assert path.facts["of_sgemm"] == pytest.approx(path.seconds[0] * 100e9 / operations)
    assert path.facts["peak_bytes"] == 5e6 - 1e6 - TINY.sweep.x_bytes


def test_a_part_that_crashes_is_named_and_the_others_are_measured(
    session: Session, here: type[InThisProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here, "crashing", "sweep")
    part = probes.measure(session, TINY)
    assert len([m for m in part.measures if m.seconds]) == 7
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
        _measure("path_of_many", "many", (30.0,), rows=100_000, of_sgemm=1.3),
        compared("a cost", 1e-12, 1e-9),
    ),
    other_work=0.02,
)


def test_the_page_has_every_figure_in_tables_of_equal_width() -> None:
    page = "\n\n".join(probes.render(PROBES, Path()))
    assert "| a path | 200,000 | 60.0 (60.0–60.0) | 1 | 140 | 9.0e-04 |  | 86.0 % | 300 |" in page
    assert "| many | 100,000 | 30.0 (30.0–30.0) | 1 | 140 |  | 1.30 | 86.0 % |  |" in page
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
    assert found == [0.0009, None, 1.3, 300.0, None, None, None, None, None]


def test_files_of_parts_have_names_of_their_own(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        f"{part}{end}.npy" for part in ("train", "validation", "test") for end in ("", "-labels")
    }


@pytest.mark.usefixtures("here")
def test_few_shots_that_do_worse_than_scikit_learn_are_noticed(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_shots = Desk.few_shots

    def worse(self: Desk) -> dict[str, Any]:
        found = few_shots(self)
        return found | {"means": [mean - 0.02 for mean in found["means"]]}

    monkeypatch.setattr(Desk, "few_shots", worse)
    wrong, _ = complaints({"probes": probes.measure(session, TINY)})
    assert len(wrong) == 1
    assert "few shots: test accuracy of scikit-learn's heads above ours" in wrong[0]
