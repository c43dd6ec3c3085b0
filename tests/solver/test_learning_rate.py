"""Curvature and advice against dense eigenvalues, the bound against descent itself."""

from __future__ import annotations

import tracemalloc
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from onelayer import Run, load, train
from onelayer.engines import ENGINE_NAMES, Weights, make_engine
from onelayer.errors import LearningRateWarning, SettingsError
from onelayer.objective import loss as objective
from onelayer.objective.penalty import Penalty
from onelayer.solver import learning_rate as curvature
from onelayer.solver import suggest_learning_rate
from onelayer.solver.lbfgs import EXACT_FEATURES, fit_preconditioner
from onelayer.solver.learning_rate import (
    largest_curvatures,
    largest_second_moment,
    stable_product,
)
from onelayer.training.run import grid
from tests.made_data import make_splits
from tests.solver.oracle import Problem, hessian, make_problem, random_weights

engines = pytest.mark.parametrize("engine_name", ENGINE_NAMES)


losses = pytest.mark.parametrize("loss", objective.LOSSES)


@engines
@losses
@pytest.mark.parametrize("seed", range(8))
def test_the_largest_curvature_is_the_hessians_largest_eigenvalue(
    engine_name: str, loss: objective.Loss, seed: int
) -> None:
    problem = make_problem(seed)
    W, b = random_weights(problem, seed)
    H = hessian(problem, W, b, loss)
    expected = np.linalg.eigvalsh(H)[-1]
    ((found, direction),) = largest_curvatures(
        make_engine(engine_name), problem.rows, Weights(W[None], b[None]), [problem.penalty],
        losses=[loss], tolerance=1e-9,
    )  # fmt: skip
    assert found == pytest.approx(expected, rel=1e-4)
    assert found <= expected * (1 + 1e-9)
    v = direction.ravel()
    np.testing.assert_allclose(H @ v, expected * v, atol=0.02 * expected)


@pytest.mark.parametrize("kept", [0, 1 << 30])
def test_the_curvature_is_the_same_in_tiles_kept_or_made_anew(
    monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    rng = np.random.default_rng(0)
    problem = Problem(rng.normal(size=(700, 5)), rng.integers(0, 4, 700), 4, 0.01)
    W, b = random_weights(problem, 1)
    rows = replace(problem.rows, weights=rng.integers(0, 3, 700).astype(float))
    given = Weights(W[None], b[None])
    penalties = [problem.penalty]
    ((whole, _),) = largest_curvatures(make_engine(), rows, given, penalties, tolerance=1e-9)
    monkeypatch.setattr(curvature, "TILE_BYTES", 1)  # 256 rows, the least there are
    monkeypatch.setattr(curvature, "KEPT_BYTES", kept)
    ((tiled, _),) = largest_curvatures(make_engine(), rows, given, penalties, tolerance=1e-9)
    assert tiled == pytest.approx(whole, rel=1e-10)


def test_curvatures_measured_together_are_the_bits_of_each_alone() -> None:
    rng = np.random.default_rng(2)
    problem = Problem(rng.normal(size=(300, 40)), rng.integers(0, 4, 300), 4, 0.0)
    W = rng.normal(size=(3, 4, 40)).astype(np.float32) * [[[0.01]], [[1.0]], [[3.0]]]
    W, b = W.astype(np.float32), np.zeros((3, 4), np.float32)
    penalties = [Penalty(l2) for l2 in (0.0, 0.1, 1.0)]
    of_runs: list[objective.Loss] = ["softmax", "sigmoid", "softmax"]
    starts = [None, rng.normal(size=(4, 41)), None]

    def measured(runs: list[int]) -> list[tuple[float, Any]]:
        return largest_curvatures(
            make_engine(), problem.rows, Weights(W[runs], b[runs]), [penalties[i] for i in runs],
            losses=[of_runs[i] for i in runs], starts=[starts[i] for i in runs],
        )  # fmt: skip

    for i, (value, direction) in enumerate(measured([0, 1, 2])):
        ((alone, way),) = measured([i])
        assert value == alone
        np.testing.assert_array_equal(direction, way)


@pytest.mark.slow
def test_the_curvature_takes_no_more_memory_for_more_rows() -> None:
    rng = np.random.default_rng(0)
    peaks = []
    for N in (200_000, 400_000):
        problem = Problem(rng.normal(size=(N, 1)), rng.integers(0, 100, N), 100, 0.01)
        W, b = (part.astype(np.float32) for part in random_weights(problem, 1))
        tracemalloc.start()
        largest_curvatures(
            make_engine(), problem.rows, Weights(W[None], b[None]), [Penalty(0.01)], tolerance=1.0
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 8 * 200_000


@engines
def test_the_second_moment_is_that_of_the_rows_with_a_one_appended(engine_name: str) -> None:
    problem = make_problem(4)
    X1 = np.c_[problem.X, np.ones(len(problem.X))]
    expected = np.linalg.eigvalsh(X1.T @ X1 / len(X1))[-1]
    found = largest_second_moment(make_engine(engine_name), problem.rows, "float64")
    assert found == pytest.approx(expected, rel=1e-3)
    assert found <= expected * (1 + 1e-9)


@losses
def test_the_bound_is_above_the_curvature_of_any_weights(loss: objective.Loss) -> None:
    nearest = 0.0
    for seed in range(30):
        problem = make_problem(seed)
        bound = objective.LOSS_FUNCTIONS[loss].curvature(problem.K) * largest_second_moment(
            make_engine(), problem.rows
        )
        bound += 2 * problem.l2
        for W, b in (random_weights(problem, seed), (np.zeros((problem.K, problem.X.shape[1])), 0)):
            met = np.linalg.eigvalsh(hessian(problem, W, np.zeros(problem.K) + b, loss))[-1]
            assert met <= bound * 1.002, seed
            nearest = max(nearest, met / bound)
    assert nearest > 0.95  # so the bound is not idle


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9, 0.99])
def test_steps_on_a_quadratic_settle_below_the_stable_product_and_not_above(
    momentum: float, nesterov: bool
) -> None:
    h = 1.7
    limit = stable_product(momentum, nesterov=nesterov)
    for share, settles in ((0.98, True), (1.02, False)):
        w, v = 1.0, 0.0
        for _ in range(4000):
            g = h * w
            v = momentum * v + g
            w -= share * limit / h * (g + momentum * v if nesterov else v)
            if abs(w) > 1e9:
                break
        assert (abs(w) < 1e-3) == settles
        assert (abs(w) > 1e9) != settles


def test_descent_below_two_over_l_falls_at_every_step() -> None:
    problem = make_problem(7)
    advice = suggest_learning_rate(problem.dataset, l2=problem.l2, batch_size=10**9, scaling="none")
    W, b = random_weights(problem, 7)
    costs = []
    for _ in range(50):
        costs.append(problem.cost(W, b))
        G = objective.gradient(problem.X, problem.y, W, b, problem.l2)
        W, b = W - 0.99 * advice.stable * G.W, b - 0.99 * advice.stable * G.b
    assert (np.diff(costs) <= 1e-12).all()
    assert advice.batch_smoothness == pytest.approx(advice.smoothness)


def test_a_batch_of_one_is_as_smooth_as_its_largest_row() -> None:
    problem = make_problem(9)
    advice = suggest_learning_rate(problem.dataset, l2=problem.l2, batch_size=1, scaling="none")
    largest = 0.5 * (1.0 + (problem.X**2).sum(axis=1).max()) + 2 * problem.l2
    assert advice.batch_smoothness == pytest.approx(largest, rel=1e-6)
    assert advice.learning_rate == pytest.approx(1.0 / largest, rel=1e-6)


def test_larger_batches_allow_larger_steps() -> None:
    rates = [
        suggest_learning_rate(load("digits").train, batch_size=B).learning_rate
        for B in (1, 10, 100, 10**6)
    ]
    assert rates == sorted(rates)


def test_auto_takes_the_suggested_rate_and_keeps_its_name() -> None:
    splits = make_splits()
    run = Run(learning_rate="auto", l2=0.1, batch_size=9, epochs=2)
    result = train(splits, [run])
    assert result.runs[0].name == "λ=0.1, η=auto"
    expected = suggest_learning_rate(
        splits.train, l2=0.1, batch_size=9, scaling="unit"
    ).learning_rate
    assert result.runs[0].learning_rate == float(f"{expected:.3g}")  # alike on every machine
    assert [r.learning_rate for r in grid(learning_rate=["auto", 0.1])] == ["auto", 0.1]
    with pytest.raises(SettingsError, match="until training"):
        _ = run.eta


def test_auto_is_shorter_with_momentum_and_longer_for_the_flatter_loss() -> None:
    splits, B = make_splits(), 9
    plain = suggest_learning_rate(splits, batch_size=B, scaling="unit").learning_rate
    flat = suggest_learning_rate(
        splits.train, batch_size=B, loss="sigmoid", scaling="unit"
    ).learning_rate
    runs = [Run("auto", batch_size=B, epochs=1, momentum=0.9),
            Run("auto", batch_size=B, epochs=1, loss="sigmoid")]  # fmt: skip
    settled = train(splits, runs).runs
    assert settled[0].learning_rate == pytest.approx(0.1 * plain, rel=5e-3)
    assert settled[1].learning_rate == pytest.approx(flat, rel=5e-3)
    assert flat == pytest.approx(plain * 0.5 / (0.25 / 3))


def test_a_rate_with_momentum_is_told_of_by_the_bound_that_holds_for_it() -> None:
    splits = make_splits()
    bound = suggest_learning_rate(splits, l2=0.0, scaling="unit").stable * 1.9
    with pytest.warns(LearningRateWarning, match=f"exceeds {bound:.3g}, the stable limit with mom"):
        train(splits, [Run(1.01 * bound, epochs=1, batch_size=10, momentum=0.9)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(splits, [Run(0.99 * bound, epochs=1, batch_size=10, momentum=0.9)])
    with pytest.warns(LearningRateWarning):
        train(splits, [Run(0.5 * bound, epochs=1, batch_size=10, momentum=0.9, nesterov=True)])


def test_a_rate_above_the_bound_is_told_of_with_the_number() -> None:
    splits = make_splits()
    bound = suggest_learning_rate(splits, l2=0.0, batch_size=10, scaling="unit").stable
    with pytest.warns(LearningRateWarning, match=f"limit {bound:.3g} .2/L"):
        train(splits, [Run(1.5 * bound, epochs=1, batch_size=10)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(splits, [Run(0.9 * bound, epochs=1, batch_size=10)])


def test_the_curvature_that_runs_meet_is_recorded() -> None:
    splits = make_splits()
    runs = grid(learning_rate=[0.1, 0.01], l2=0.1, batch_size=10, epochs=14)
    result = train(splits, runs, curvature_of=[1], dtype="float64")
    assert list(result.curvatures) == [1]
    met = result.curvatures[1]
    assert met.epochs == (0, *range(1, 11), 13, 14)
    at_end = train(splits, [Run(0.01, l2=0.1, batch_size=10, epochs=14)], dtype="float64")
    X = splits.train.X.astype(np.float64) / splits.train.max_value
    problem = Problem(X, splits.train.y, splits.train.classes, 0.1)
    W, b = (part[0].astype(np.float64) for part in (at_end.W, at_end.b))
    assert met.values[-1] == pytest.approx(np.linalg.eigvalsh(hessian(problem, W, b))[-1], rel=0.01)


@pytest.mark.parametrize("features", [20, EXACT_FEATURES + 100])
def test_the_metric_is_near_the_curvature_it_stands_for(features: int) -> None:
    rng = np.random.default_rng(0)
    spectrum = 1.0 / np.arange(1, features + 1) ** 2
    X = rng.normal(size=(3000, features)) * np.sqrt(spectrum) + 5.0
    problem = Problem(X, rng.integers(0, 4, 3000), 4, 0.0)
    metric = fit_preconditioner(make_engine(), problem.rows, 4)
    covariance = np.cov(X.T, bias=True)
    for l2 in (1.0, 1e-2, 1e-4):
        M = metric.curvature * covariance + 2 * l2 * np.eye(features)
        v = rng.normal(size=(4, features + 1))
        applied = v.copy()
        applied[:, :-1] = v[:, :-1] @ M
        applied[:, -1] *= metric.curvature
        back = metric.divide(applied, Penalty(l2))
        assert np.linalg.norm(back - v) < 0.05 * np.linalg.norm(v)
    assert metric.curvature == pytest.approx(0.25, rel=0.01)
    np.testing.assert_allclose(metric.mean, X.mean(axis=0), atol=0.1)
