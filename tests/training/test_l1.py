"""Training with an l1 penalty: exact zeros, its own minimum, and all that travels with a run."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from onelayer import Checkpoint, Result, Run, certify, load, solve, split, sweep, train
from onelayer.data import Splits
from onelayer.engines import ENGINE_NAMES, make_engine
from onelayer.errors import SaveError, SettingsError
from onelayer.files.records import from_plain, to_plain
from onelayer.report.settings import distance_section, settings_section
from onelayer.report.summary import records_of
from onelayer.report.tables import ranking_table
from onelayer.training.run import grid
from tests.cli.conftest import blank_page, call
from tests.made_data import make_splits

METHODS: list[dict[str, Any]] = [
    {}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"l2": 0.01},
]  # fmt: skip


@pytest.fixture(scope="module")
def splits() -> Splits:
    return make_splits(120)


@pytest.mark.parametrize("engine_name", ENGINE_NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_l1_makes_every_weight_exactly_0_and_the_bias_learns_the_frequencies(
    engine_name: str, dtype: str, splits: Splits
) -> None:
    runs = [Run(0.1, l1=10.0, epochs=30, batch_size=120, **method) for method in METHODS]
    result = train(splits, runs, engine=engine_name, dtype=dtype, scaling="unit")
    assert not result.W.any()
    counts = np.bincount(splits.train.y)
    least = -np.sum(counts / 120 * np.log(counts / 120))
    np.testing.assert_allclose(result.history.train_loss[:, -1], least, atol=2e-3)


@pytest.mark.parametrize("engine_name", ENGINE_NAMES)
def test_a_run_without_l1_is_the_same_beside_runs_with_one(
    engine_name: str, splits: Splits
) -> None:
    runs = [Run(0.1, l1=l1, epochs=2, **method) for method in METHODS for l1 in (0.01, 0.0)]
    together = train(splits, runs, engine=engine_name, scaling="unit", certify=False)
    without = [i for i, run in enumerate(runs) if not run.l1]
    alone = train(splits, [runs[i] for i in without], engine=engine_name, certify=False)
    off = 0.0 if engine_name == "native" else 1e-6  # BLAS sums as the shapes say
    np.testing.assert_allclose(together.W[without], alone.W, rtol=0, atol=off)
    np.testing.assert_allclose(together.b[without], alone.b, rtol=0, atol=off)
    assert (together.W[[i - 1 for i in without]] != alone.W).any(axis=(1, 2)).all()


@pytest.mark.parametrize("method", METHODS)
def test_training_rests_at_the_minimum_that_the_solver_proves(
    method: dict[str, Any], splits: Splits
) -> None:
    l2 = method.get("l2", 0.0)
    best = solve(splits, l2, l1=0.01, scaling="standardize", tol=1e-9)
    run = Run("auto", l1=0.01, epochs=1500, batch_size=splits.train.rows, **method)
    result = train(splits, run, scaling="standardize", dtype="float64")
    lowest, proof = best.require_certificate().cost, result.certificates[0]
    assert lowest - 1e-9 <= proof.cost <= lowest * (1.0 + 1e-6)
    assert (proof.l1, proof.l2) == (0.01, l2)
    assert proof.lower_bound - 1e-9 <= lowest
    np.testing.assert_array_equal(result.W[0] == 0.0, best.W == 0.0)
    assert 0 < np.count_nonzero(best.W) < best.W.size


def test_small_batches_come_near_the_minimum_as_the_rate_falls(splits: Splits) -> None:
    lowest = solve(splits, l1=0.01, scaling="standardize").require_certificate().cost
    run = Run(0.1, l1=0.01, epochs=200, batch_size=20, schedule="cosine", momentum=0.9)
    result = train(splits, run, scaling="standardize")
    assert lowest - 1e-6 <= result.certificates[0].cost <= lowest * (1.0 + 1e-4)
    assert result.certificates[0].gap < 0.01 * lowest


def test_costs_of_the_history_have_both_penalties(splits: Splits) -> None:
    runs = grid(learning_rate=0.1, l1=[0.0, 0.003], l2=[0.0, 0.01], epochs=3)
    result = train(splits, runs, dtype="float64", certify=False)
    for part in ("train", "validation"):
        losses, costs = (getattr(result.history, f"{part}_{of}")[:, -1] for of in ("loss", "cost"))
        for i, run in enumerate(runs):
            W = result.W[i]
            added = run.l1 * np.abs(W).sum() + run.l2 * np.sum(W * W)
            assert costs[i] - losses[i] == pytest.approx(added, abs=1e-12)


@pytest.mark.parametrize("engine_name", ["native", "reference"])
def test_sparse_rows_train_to_what_the_same_rows_train_to_as_an_array(engine_name: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.poisson(0.3, (200, 30)) * 1.0
    X[:, 3] = 0.0  # its weights are drawn to 0 by steps that no row brings
    y = (X @ rng.normal(size=(30, 3))).argmax(axis=1)
    runs = [Run(0.1, l1=0.01, epochs=4, batch_size=30, **method) for method in METHODS]
    dense, rows = (
        train(split(of, y), runs, engine=engine_name, scaling="none", dtype="float64")
        for of in (X, sparse.csr_array(X))
    )
    np.testing.assert_allclose(rows.W, dense.W, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(rows.W == 0.0, dense.W == 0.0)
    assert not rows.W[0, :, 3].any()


def test_a_saved_run_knows_its_l1_and_reruns_to_the_same_bits(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onelayer.report.page.write_report", blank_page)
    result = train(splits, grid(learning_rate=0.1, l1=[0.0, 0.02], epochs=3))
    result.save(tmp_path / "run")
    again = Result.load(tmp_path / "run")
    assert [run.l1 for run in again.runs] == [0.0, 0.02]
    assert [proof.l1 for proof in again.certificates] == [0.0, 0.02]
    model = again.model(1)
    assert (model.l1, certify(model, splits)) == (0.02, certify(model, splits, l1=0.02))
    np.testing.assert_array_equal(train(splits, again.runs).W, result.W)


def test_training_resumes_with_the_same_l1_alone(tmp_path: Path, splits: Splits) -> None:
    runs, checkpoint = grid(learning_rate=0.1, l1=[0.0, 0.01]), Checkpoint(tmp_path)
    train(splits, runs, checkpoint=checkpoint)
    other = [replace(run, l1=0.02, name="") for run in runs]
    with pytest.raises(SaveError, match=re.escape("run 0's l1 was 0.0 and is 0.02")):
        train(splits, other, checkpoint=replace(checkpoint, resume=True))


def test_names_and_bad_values() -> None:
    assert Run(0.1, l1=0.01).name == "λ=0, η=0.1, λ₁=0.01"
    with pytest.raises(SettingsError, match=re.escape("l1 (λ₁) must be a finite number, 0 or")):
        Run(0.1, l1=-1.0)
    with pytest.raises(SettingsError, match="unknown setting 'grouped'"):
        grid(learning_rate=0.1, l1=0.1, grouped=True)
    written = to_plain(Run(0.1))
    del written["l1"]  # as of a run from before there was one
    assert from_plain(Run, written) == Run(0.1)


def test_tables_and_pages_show_l1_and_how_many_weights_are_0(splits: Splits) -> None:
    result = train(splits, grid(learning_rate=0.1, l1=[0.0, 5.0], momentum=[0.0, 0.9], epochs=3))
    table = ranking_table(result)
    names = [column.name for column in table.columns]
    at = {name: names.index(name) for name in ("λ₁", "W = 0 / %", "with")}
    shown = {tuple(row[i].text for i in at.values()) for row in table.rows}
    expected = {(l1, zeros, f"μ={mu}") for l1, zeros in (("0", "0.0"), ("5", "100.0"))
                for mu in ("0", "0.9")}  # fmt: skip
    assert shown == expected
    records = records_of(result)
    charts = {chart.name: str(chart.spec) for chart in chain(
        *(section.charts for section in settings_section(records).all))}  # fmt: skip
    costs = [spec for name, spec in charts.items() if name.startswith("cost-")]
    assert len(costs) == 2  # without a penalty it is the loss
    assert all("loss + λ₁ Σ |W| / nats" in spec for spec in costs)
    distances = distance_section(records)
    assert distances is not None
    bounds = [row[4].text for row in distances.table.rows]  # type: ignore[union-attr]
    assert bounds[:2] == ["no bound without λ"] * 2
    assert all(float(bound) < 10.0 for bound in bounds[2:])
    assert "λ₁" not in [c.name for c in ranking_table(sweep(splits, learning_rate=[0.1, 0.2],
                                                              epochs=1)).columns]  # fmt: skip


def test_many_labels_train_with_l1_but_have_no_certificate() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 8))
    y = (X @ rng.normal(size=(8, 4)) > 0.0).astype(np.uint8)
    data = split(X, y)
    result = train(data, Run(0.1, l1=0.5, loss="sigmoid", epochs=20))
    assert not result.certificates
    assert not result.W.any()
    with pytest.raises(SettingsError, match="l1 is not built for many labels a row"):
        certify(result.model(), data)


def test_the_command_line_sweeps_l1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onelayer.report.page.write_report", blank_page)
    out = tmp_path / "run"
    method = ("--lr", "0.1", "--l1", "0,0.01", "--momentum", "0.9", "--epochs", "2")
    words = ("train", "--data", "digits", *method, "--out", str(out))
    code, _, errors = call(*words, capsys=capsys)
    assert code == 0, errors
    assert [run.l1 for run in Result.load(out).runs] == [0.0, 0.01]


def test_digits_with_an_l1_leave_the_black_pixels_out() -> None:
    data = load("digits")
    W = train(data, Run(0.1, l1=0.01, epochs=5), engine=make_engine("native")).W[0]
    black = ~data.train.X.any(axis=0)
    assert black.any()
    assert not W[:, black].any()
