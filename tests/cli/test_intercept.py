"""--no-intercept: what it fits has no bias, and it is part of what a run is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from onelayer.solver import Path as LambdaPath
from onelayer.training.result import Result
from onelayer.training.suite import Suite
from tests.cli.conftest import Command

QUICK = ("--data", "digits")


@pytest.mark.usefixtures("drawn_pages")
def test_solve_folds_and_refit_have_no_bias(run: Command, tmp_path: Path) -> None:
    how = ("--l2", "0.1,0.01", "--folds", "2", "--refit", "--no-intercept", "--tol", "1e-4")
    assert run("solve", *QUICK, *how)[0] == 0
    solved = LambdaPath.load(tmp_path / "runs" / "solve")
    assert solved.refitted is not None
    for model in (*solved.models, solved.refitted):
        assert not model.intercept
        assert not model.b.any()
    assert "bias" in run("inspect", "runs/solve")[1]
    code, out, _ = run("certify", "runs/solve", "--json")
    assert code == 0
    assert all(proof["gap"] <= 2e-4 * proof["cost"] for proof in json.loads(out))
    code, _, err = run("solve", *QUICK, *how[:5], "--intercept", "--tol", "1e-4")
    assert code != 0
    assert "runs/solve" in err


@pytest.mark.usefixtures("drawn_pages")
def test_train_and_probe_have_no_bias(run: Command, tmp_path: Path) -> None:
    assert run("train", *QUICK, "--epochs", "1", "--no-intercept")[0] == 0
    result = Result.load(tmp_path / "runs" / "train")
    assert not result.best.intercept
    assert not result.b.any()
    assert result.runs[0].name.endswith("no intercept")
    np.savez(tmp_path / "sets.npz", one=np.random.default_rng(0).normal(size=(60, 3)))
    np.save(tmp_path / "y.npy", np.arange(60) % 2)
    sets = ("--data", "sets.npz", "--labels", "y.npy", "--l2", "0.1", "--shots", "2")
    assert run("probe", *sets, "--no-intercept", "--repeats", "1")[0] == 0
    suite = Suite.load(tmp_path / "runs" / "probe")
    assert not suite.best.model.intercept
    assert not suite.best.model.b.any()


def test_suggested_rates_are_larger_without_an_intercept(run: Command) -> None:
    rates = [
        json.loads(run("suggest-learning-rate", *QUICK, "--json", flag)[1])["learning_rate"]
        for flag in ("--intercept", "--no-intercept")
    ]
    assert rates[0] < rates[1]
