"""Rows that are fewer than their features are solved in the coordinates of their span."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer import solve, solve_path
from onelayer.data import Dataset, Splits
from onelayer.data.rows import Rows, rows_of
from onelayer.data.split import stratified_folds
from onelayer.engines import Engine, streaming
from onelayer.sklearn import SoftmaxClassifier
from onelayer.solver import reduction
from onelayer.solver.certificate import certify_weights
from onelayer.solver.lbfgs import fit_preconditioner
from onelayer.solver.path import PathProgress
from onelayer.solver.reduction import ReducedSolver, Solvers, reduce_rows
from onelayer.solver.selection import score
from onelayer.solver.solver import Optimum, Solver, Target
from onelayer.training.checkpoint import Checkpoint
from tests.data.streaming.counted_rows import CountedRows
from tests.examples import examples

ENGINE: Engine = streaming()


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce rows of any size, where there are fewer than features."""
    monkeypatch.setattr(reduction, "is_faster", lambda N, D, *_: N < D)


def wide_rows(seed: int, stored: str = "float64", scaled: bool = True) -> tuple[Rows, int]:
    """Fewer rows than features, some of them equal, constant or zero; a class may be absent."""
    rng = np.random.default_rng(seed)
    N, K = int(rng.integers(2, 16)), int(rng.integers(2, 5))
    D = N + int(rng.integers(1, 30))
    X = rng.integers(0, 256, (N, D)).astype(float)
    X[:, rng.random(D) < 0.1] = 7.0
    X[rng.integers(0, N, N // 4)] = X[0]
    scale = rng.uniform(0.5, 2.0, D) / 255.0 if scaled else np.full(D, 1 / 255)
    X, y = X.astype(stored), rng.integers(0, K, N)
    return Rows(X, y, scale, rng.normal(0.0, 0.5, D)), K


def in_coordinates(rows: Rows, K: int, target: Target, *, leaves: bool = False) -> Optimum:
    reduced = reduce_rows(ENGINE, rows, K)
    assert reduced is not None
    own = ReducedSolver(ENGINE, rows, K, reduced)
    optimum = own.solve(target)
    if not leaves:
        assert own.state.at.shape[1] == reduced.rows.X.shape[1] + 1
    return optimum


def in_features(rows: Rows, K: int, target: Target) -> Optimum:
    return Solver(ENGINE, rows, K, fit_preconditioner(ENGINE, rows, K)).solve(target)


def wide_splits(rows: int = 40, features: int = 90, classes: int = 3) -> Splits:
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(classes, features))

    def some(n: int) -> Dataset:
        y = np.arange(n) % classes
        X = (centres[y] + rng.normal(0.0, 3.0, (n, features))).astype("float32")
        return Dataset(X, y, tuple("abcdef"[:classes]))

    return Splits(some(rows), some(20), some(20), "wide", "made")


@examples(25)
@given(
    seed=st.integers(0, 2**32),
    stored=st.sampled_from(["uint8", "int64", "float16", "float32", "float64"]),
    weighted=st.sampled_from(["no", "any", "some zero"]),
    some=st.booleans(),
    l2=st.sampled_from([1.0, 0.1, 0.01]),
)
@pytest.mark.filterwarnings("ignore:X .int64. is copied once")
def test_the_solution_is_that_in_all_features(
    seed: int, stored: str, weighted: str, some: bool, l2: float
) -> None:
    rows, K = wide_rows(seed, stored)
    rng = np.random.default_rng(seed)
    if some:
        rows = rows.only(rng.permutation(len(rows.y))[: max(2, len(rows.y) - 2)])
    if weighted != "no":
        weights = rng.uniform(0.1, 3.0, len(rows.y))
        if weighted == "some zero":
            weights[1 + rng.integers(len(weights) - 1)] = 0.0
        rows = replace(rows, weights=weights)
    if np.ptp(rows.scaled(), axis=0).max() < 1e-12:
        return  # rows that do not differ have no coordinates
    target = Target(l2, tol=1e-13)
    ours, theirs = in_coordinates(rows, K, target), in_features(rows, K, target)
    assert ours.certificate.cost == pytest.approx(theirs.certificate.cost, rel=1e-7)
    near = np.sqrt((ours.certificate.gap + theirs.certificate.gap) / l2)  # J is strictly convex
    np.testing.assert_allclose(ours.W, theirs.W, rtol=0, atol=1e-7 * np.abs(theirs.W).max() + near)
    np.testing.assert_allclose(ours.b, theirs.b, atol=1e-6 + near)


@pytest.mark.parametrize("seed", range(4))
def test_the_gap_is_proven_on_the_rows_themselves(seed: int) -> None:
    rows, K = wide_rows(seed, "uint8")
    ours = in_coordinates(rows, K, Target(0.01, tol=1e-6))
    assert ours.status == "optimal"
    assert ours.W.shape == (K, rows.X.shape[1])
    W, b = np.asarray(ours.W, np.float64), ours.b
    proof = certify_weights(ENGINE, rows, W, b, Target(0.01).penalty).given
    assert ours.certificate.cost == pytest.approx(proof.cost, rel=1e-9)
    assert proof.gap <= 1.01e-6 * proof.cost
    assert ours.certificate.rows == rows.count


def test_where_coordinates_miss_a_part_the_search_ends_in_all_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, K = wide_rows(5)
    exact = in_features(rows, K, Target(0.01, tol=1e-9))
    monkeypatch.setattr(reduction, "MIN_VARIANCE", 0.3)
    ours = in_coordinates(rows, K, Target(0.01, tol=1e-9), leaves=True)
    assert ours.status == "optimal"
    assert ours.certificate.gap <= 1e-9 * ours.certificate.cost
    assert ours.certificate.cost == pytest.approx(exact.certificate.cost, rel=2e-9)


@pytest.mark.usefixtures("always")
def test_features_of_very_different_sizes_are_proven_too() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 60)) * np.logspace(-6, 6, 60)
    data = Dataset(X, np.arange(20) % 3, tuple("abc"))
    model = solve(data, 0.01, scaling="none")
    assert model.status == "optimal"


@pytest.mark.usefixtures("always")
def test_features_far_from_zero_are_centred_before_they_are_multiplied() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 60))
    near, far = (Dataset(X + shift, np.arange(20) % 3, tuple("abc")) for shift in (0.0, 1e6))
    models = [solve(data, 0.01, scaling="none", tol=1e-8) for data in (near, far)]
    passes = [model.passes or 0 for model in models]
    assert 0 < passes[1] <= passes[0] + 2
    np.testing.assert_allclose(models[1].W, models[0].W, atol=1e-5)


@pytest.mark.usefixtures("always")
def test_rows_in_files_have_the_same_solution() -> None:
    rows, K = wide_rows(7, "float32")
    stored = replace(rows, X=cast(Any, CountedRows(rows.X)))
    target = Target(0.01, tol=1e-10)
    ours, theirs = in_coordinates(stored, K, target), in_coordinates(rows, K, target)
    assert ours.certificate.gap <= 1e-10 * ours.certificate.cost
    np.testing.assert_allclose(ours.W, theirs.W, atol=1e-9)


@pytest.mark.usefixtures("always")
def test_without_l2_the_same_classes_are_found_separable() -> None:
    rng = np.random.default_rng(1)
    X = np.repeat(rng.normal(size=(9, 30)), 2, axis=0)
    y = np.array([0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 0, 1, 0, 1, 0, 1, 2, 2])  # c alone is apart
    rows = Rows(X, y, np.ones(30), np.zeros(30))
    target = Target(0.0, tol=1e-6)
    ours, theirs = in_coordinates(rows, 3, target), in_features(rows, 3, target)
    assert ours.separated == theirs.separated == ((2,),)
    assert ours.status == theirs.status == "separated"


@pytest.mark.usefixtures("always")
def test_folds_are_rows_of_the_same_coordinates_which_are_made_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, made, gram = wide_splits(), 0, reduction.gram_matrix

    def counted(engine: Engine, rows: Rows) -> np.ndarray[Any, Any]:
        nonlocal made
        made += 1
        return gram(engine, rows)

    monkeypatch.setattr(reduction, "gram_matrix", counted)
    path = solve_path(data, [0.1, 0.01], folds=4, tol=1e-8, scaling="none")
    assert made == 1
    for fold, (kept, held_out) in enumerate(stratified_folds(data.train.y, 4)):
        alone = solve(data.train.take(kept), 0.01, tol=1e-8, scaling="none")
        own = rows_of(data.train.take(held_out), alone.scaling)
        (judged,) = score(ENGINE, own, [(alone.W, alone.b)])
        assert path.held_out[1][fold].loss == pytest.approx(judged.loss, rel=1e-3)
        assert path.held_out[1][fold].accuracy == pytest.approx(judged.accuracy)


def test_a_part_of_chosen_rows_has_their_coordinates_labels_and_weights() -> None:
    rows, K = wide_rows(11)
    N = len(rows.y)
    rows = replace(rows, weights=np.arange(1.0, N + 1)).only(np.arange(N - 1, -1, -1))
    reduced = reduce_rows(ENGINE, rows, K)
    assert reduced is not None
    some = rows.only(np.array([1, N - 1, 0]))
    part, X = reduced.part(some), some.scaled() - reduced.mean
    np.testing.assert_allclose(part.scaled() @ part.scaled().T, X @ X.T, atol=1e-9)
    np.testing.assert_array_equal(part.labels, some.labels)
    np.testing.assert_array_equal(part.row_weights, some.row_weights)


@pytest.mark.usefixtures("always")
def test_a_path_in_coordinates_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, l2 = wide_splits(), (1.0, 0.1, 0.01)
    options: dict[str, Any] = {"folds": 2, "scaling": "none", "tol": 1e-5}
    whole = solve_path(data, l2, **options)

    def interrupt(_: PathProgress) -> None:
        raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path, every=0, resume=True)
    while (part := solve_path(data, l2, on_progress=interrupt, checkpoint=checkpoint, **options)
           ).interrupted and len(part.models) < 3:  # fmt: skip
        pass
    assert part.held_out == whole.held_out
    for one, other in zip(part.models, whole.models, strict=True):
        assert one.certificate == other.certificate
        assert one.W.tobytes() == other.W.tobytes()


@pytest.mark.usefixtures("always")
def test_a_warm_start_in_coordinates_is_where_the_last_fit_ended() -> None:
    train = wide_splits().train
    estimator = SoftmaxClassifier(l2=0.01, warm_start=True, scaling="none").fit(train.X, train.y)
    first, coef = estimator.n_iter_, estimator.coef_.copy()
    estimator.fit(train.X, train.y)
    assert estimator.n_iter_ < first / 2
    np.testing.assert_allclose(estimator.coef_, coef, atol=1e-3 * np.abs(coef).max())


def test_rows_that_do_not_differ_are_not_reduced() -> None:
    rows = Rows(np.ones((3, 8)), np.array([0, 1, 1]), np.ones(8), np.zeros(8))
    assert reduce_rows(ENGINE, rows, 2) is None


def test_the_shape_says_where_coordinates_are_faster() -> None:
    rows = Rows(np.random.default_rng(0).normal(size=(30, 5000)), np.arange(30) % 2,
                np.ones(5000), np.zeros(5000))  # fmt: skip
    assert isinstance(Solvers(ENGINE, rows, 2).of_all(), ReducedSolver)
    assert not reduction.is_faster(3000, 3001, 2, 1)
    assert not reduction.is_faster(100_000, 200_000, 2, 1000)
