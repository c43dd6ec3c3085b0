"""Training without an intercept: b is 0 from the first step to the last, in every engine."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onelayer import Checkpoint, Run, load, solve, suggest_learning_rate, train
from onelayer.data import Splits
from onelayer.data.scaling import fit_scaling
from onelayer.engines import ENGINE_NAMES, Weights, make_engine
from onelayer.errors import SaveError, SettingsError
from onelayer.files.records import from_plain, to_plain
from onelayer.solver.learning_rate import largest_curvatures
from onelayer.training.run import grid
from tests.made_data import make_splits
from tests.solver.oracle import hessian, make_problem, random_weights
from tests.trajectories import oracle_trajectory, trajectory_tolerance

BOTH = [True, False]


@pytest.fixture(scope="module")
def splits() -> Splits:
    return make_splits(120)


@pytest.mark.parametrize("engine_name", ENGINE_NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_b_is_0_and_w_is_the_oracles_beside_runs_with_an_intercept(
    engine_name: str, dtype: str, splits: Splits
) -> None:
    runs = grid(learning_rate=0.05, l2=0.01, momentum=[0.0, 0.9], averaging=["none", "tail:0.5"],
                intercept=BOTH, epochs=3, batch_size=30)  # fmt: skip
    engine = make_engine(engine_name)
    result = train(splits, runs, engine=engine, scaling="unit", dtype=dtype)
    scaling = fit_scaling("unit", splits.train.X, 255.0)
    for r, run in enumerate(runs):
        rng = np.random.default_rng(run.seed)
        W, b = (0.01 * np.rint(rng.standard_normal(part.shape) * 2**16) / 2**16
                for part in (result.W[r], result.b[r]))  # fmt: skip
        W, b = oracle_trajectory(splits.train, scaling, run, W, b * run.intercept)
        off = 5.0 * trajectory_tolerance(run, splits.train, np.dtype(dtype).type)
        np.testing.assert_allclose(result.W[r], W, atol=off)
        np.testing.assert_allclose(result.b[r], b, atol=off)
        assert run.intercept or not result.b[r].any()
        model = result.model(r)
        assert (model.intercept, model.settings["intercept"]) == (run.intercept, run.intercept)


def test_a_run_is_the_same_bits_beside_runs_with_an_intercept(splits: Splits) -> None:
    runs = grid(learning_rate=0.1, momentum=[0.0, 0.9], intercept=BOTH, epochs=2)
    together = train(splits, runs, scaling="unit")
    for r, run in enumerate(runs):
        alone = train(splits, run, scaling="unit")
        np.testing.assert_array_equal(alone.W[0], together.W[r])
        np.testing.assert_array_equal(alone.b[0], together.b[r])


def test_each_run_is_certified_against_its_own_optimum(splits: Splits) -> None:
    runs = grid(learning_rate=0.1, l2=0.1, intercept=BOTH, epochs=30)
    result = train(splits, runs, scaling="unit")
    for run, proof in zip(runs, result.certificates, strict=True):
        best = solve(splits, 0.1, scaling="unit", tol=1e-10, intercept=run.intercept)
        lowest = best.require_certificate().cost
        assert proof.cost >= lowest >= proof.lower_bound - 1e-9
        assert 0.0 < proof.gap < 0.1 * lowest


def test_standardizing_does_not_centre_and_is_refused_for_both(splits: Splits) -> None:
    alone = train(splits, Run(0.1, epochs=1, intercept=False), scaling="standardize")
    assert not alone.scaling.offset.any()
    deviation = splits.train.X.astype(np.float64).std(axis=0)
    np.testing.assert_allclose(alone.scaling.scale, 1.0 / deviation)
    with pytest.raises(SettingsError, match="cannot be trained together with"):
        train(splits, grid(learning_rate=0.1, intercept=BOTH), scaling="standardize")


def test_names_tell_runs_with_and_without_an_intercept_apart() -> None:
    assert Run(0.1, intercept=False).name == "λ=0, η=0.1, no intercept"
    assert Run(0.1).name == "λ=0, η=0.1"
    with pytest.raises(SettingsError, match="intercept must be true or false, but 0 was given"):
        Run(0.1, intercept=0)  # type: ignore[arg-type]


def test_a_run_of_before_there_was_the_setting_has_an_intercept() -> None:
    written = to_plain(Run(0.1))
    del written["intercept"]
    assert from_plain(Run, written) == Run(0.1)


def test_training_resumes_with_the_same_intercept_alone(tmp_path: Path, splits: Splits) -> None:
    runs, checkpoint = grid(learning_rate=0.1, intercept=BOTH), Checkpoint(tmp_path)
    train(splits, runs, scaling="unit", checkpoint=checkpoint)
    again = replace(checkpoint, resume=True)
    flipped = [replace(run, intercept=not run.intercept, name="") for run in runs]
    with pytest.raises(SaveError, match=re.escape("run 0's intercept was True and is False")):
        train(splits, flipped, scaling="unit", checkpoint=again)


@pytest.mark.parametrize("seed", range(4))
def test_the_largest_curvature_is_that_of_the_weights_alone(seed: int) -> None:
    problem = make_problem(seed)
    W, b = random_weights(problem, seed)[0], np.zeros(problem.K)
    K, D = W.shape
    H = hessian(problem, W, b)
    of_W = np.tile(np.r_[np.ones(D, bool), False], K)
    expected = [np.linalg.eigvalsh(part)[-1] for part in (H, H[of_W][:, of_W])]
    weights = Weights(np.stack([W, W]), np.stack([b, b]))
    found = largest_curvatures(
        make_engine(), problem.rows, weights, [problem.penalty] * 2, intercepts=BOTH,
        tolerance=1e-4,
    )  # fmt: skip
    assert [value for value, _ in found] == pytest.approx(expected, rel=1e-3)
    assert not found[1][1][:, -1].any()


def test_learning_rates_are_of_rows_without_a_1_appended() -> None:
    data = load("digits").train
    X = data.X.astype(np.float64) / data.max_value
    moment = np.linalg.eigvalsh(X.T @ X / len(X))[-1]
    bounds = suggest_learning_rate(data, intercept=False, batch_size=len(X))
    assert bounds.smoothness == pytest.approx(0.5 * moment, rel=1e-3)
    auto = train(load("digits"), grid(learning_rate="auto", intercept=BOTH, epochs=1))
    rates = [run.eta for run in auto.runs]
    assert rates[1] > rates[0]
