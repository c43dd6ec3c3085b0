"""The bench of sparse rows: its shapes, its peers, and what its figures are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness.problem import Problem, data_folder, make_data, read_data
from benchmarks.harness.record import ONELAYER, Measure, Part
from benchmarks.harness.rounds import Session
from benchmarks.suites import sparse
from benchmarks.suites.sparse import SHAPES, SUITE, peers_of, shape


def test_the_shapes_are_those_that_were_asked_for_with_the_penalty_of_scikit_learns_default() -> (
    None
):
    assert [(p.rows, p.features, p.classes) for p in SHAPES] == [
        (100_000, 100_000, 20),
        (10_000, 2_000_000, 2),
        (10_000, 2_000_000, 2),
        (11_000, 130_000, 20),
    ]
    assert SHAPES[0].settings[0].l2 == 1 / (2 * 100_000)
    assert SHAPES[1].settings[0].l2 == 1 / 10_000  # of W₁ − W₀


def test_liblinear_is_a_peer_where_its_model_is_the_same() -> None:
    keys = [{who.key for who in peers_of(problem)} for problem in SHAPES]
    assert ["sklearn-liblinear" in of for of in keys] == [False, False, True, False]
    assert all({"sklearn-lbfgs", "sklearn-saga"} <= of for of in keys)


@pytest.mark.parametrize("source", ["sparse", "text"])
def test_rows_are_made_from_a_seed_and_read_as_they_were_made(source: str, tmp_path: Path) -> None:
    problem = Problem("rows", 30, 5000, 3, dtype="float32", source=source)
    X, y = read_data(data_folder(problem, tmp_path))
    made = make_data(problem)
    assert (X != made.X).nnz == 0
    np.testing.assert_array_equal(y, made.y)
    np.testing.assert_allclose((X * X).sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.slow
def test_every_solver_that_reaches_the_goal_has_times_and_ours_is_proven(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.harness.rounds.SETTLE_SECONDS", 0.0)
    tiny = replace(shape("tiny", 40, 300, 2, intercept=False), source="text")
    monkeypatch.setattr(sparse, "SMALL", (tiny,))
    native = replace(session, conditions=replace(session.conditions, engine="native"))
    part = sparse.measure(native)
    assert [m.refused for m in part.measures] == [""] * 6
    assert all(m.facts["excess"] <= 2e-6 for m in part.measures if m.seconds)
    ours = part.find(ONELAYER, "tiny")
    assert ours is not None
    assert ours.facts["gap"] <= 1e-6
    assert "| tiny | scikit-learn liblinear, dual |" in "\n".join(sparse.render(part, Path()))


def test_a_ratio_is_that_of_the_fastest_peer_and_memory_is_in_copies_of_the_values() -> None:
    work = SHAPES[2].name
    facts = {"peak_bytes": 3e6, "x_bytes": 4e6}
    found = (
        Measure(work, ONELAYER, "", (1.0, 2.0), facts=facts),
        Measure(work, "sklearn-lbfgs", "", (9.0, 18.0)),
        Measure(work, "sklearn-liblinear", "", (4.0, 8.0)),
        Measure(work, "sklearn-saga", "", facts={"cut": True, "steps": ((8, 12.0, 1e-3),)}),
    )
    record = {"sparse": Part("", {}, 2, "native", measures=found)}
    figures = {target.measure: target.figure(record) for target in SUITE.targets}
    assert figures[f"{work}: the fastest of scikit-learn's solvers / onelayer proven to 1e-6"] == 4
    assert figures[f"{work}: memory above X"] == 1.5
