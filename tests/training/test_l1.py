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
from onelayer.report.page import result_page
from onelayer.report.settings import distance_section, settings_section
from onelayer.report.summary import records_of
from onelayer.report.tables import ranking_table
from onelayer.training.run import grid
from tests.cli.conftest import call
from tests.conftest import blank_page
from tests.examples import few
from tests.made_data import make_splits

METHODS: list[dict[str, Any]] = [
    {}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"l2": 0.01},
    {"grouped": True}, {"grouped": True, "momentum": 0.9, "nesterov": True, "l2": 0.01},
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


@pytest.mark.parametrize("method", few(2, METHODS))
def test_training_rests_at_the_minimum_that_the_solver_proves(
    method: dict[str, Any], splits: Splits
) -> None:
    l2, grouped = method.get("l2", 0.0), method.get("grouped", False)
    l1 = 0.05 if grouped else 0.01
    best = solve(splits, l2, l1=l1, grouped=grouped, scaling="standardize", tol=1e-9)
    run = Run("auto", l1=l1, epochs=1500, batch_size=splits.train.rows, **method)
    result = train(splits, run, scaling="standardize", dtype="float64")
    lowest, proof = best.require_certificate().cost, result.certificates[0]
    assert lowest - 1e-9 <= proof.cost <= lowest * (1.0 + 1e-6)
    assert (proof.l1, proof.l2, proof.grouped) == (l1, l2, grouped)
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
    shared: dict[str, Any] = {"learning_rate": 0.1, "l2": [0.0, 0.01], "epochs": 3}
    runs = grid(l1=[0.0, 0.003], **shared) + grid(l1=0.003, grouped=True, **shared)
    result = train(splits, runs, dtype="float64", certify=False)
    for part in ("train", "validation"):
        losses, costs = (getattr(result.history, f"{part}_{of}")[:, -1] for of in ("loss", "cost"))
        for i, run in enumerate(runs):
            W = result.W[i]
            sizes = np.linalg.norm(W, axis=0) if run.grouped else np.abs(W)
            added = run.l1 * sizes.sum() + run.l2 * np.sum(W * W)
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
    of: dict[str, Any] = {
        "learning_rate": 0.1,
        "l1": [0.0, 0.02],
        "grouped": [False, True],
        "epochs": 3,
    }
    result = train(splits, grid(**of))
    result.save(tmp_path / "run")
    again = Result.load(tmp_path / "run")
    kinds = [(0.0, False), (0.0, True), (0.02, False), (0.02, True)]
    assert [(run.l1, run.grouped) for run in again.runs] == kinds
    proven = [(proof.l1, proof.grouped) for proof in again.certificates]
    assert proven == [(0.0, False), (0.0, False), *kinds[2:]]
    np.testing.assert_array_equal(result.W[0], result.W[1])
    for i, (l1, grouped) in enumerate(kinds):
        model = again.model(i)
        assert certify(model, splits) == certify(model, splits, l1=l1, grouped=grouped)
    np.testing.assert_array_equal(train(splits, again.runs).W, result.W)


def test_training_resumes_with_the_same_l1_alone(tmp_path: Path, splits: Splits) -> None:
    runs, checkpoint = grid(learning_rate=0.1, l1=[0.0, 0.01]), Checkpoint(tmp_path)
    train(splits, runs, checkpoint=checkpoint)
    other = [replace(run, l1=0.02, name="") for run in runs]
    with pytest.raises(SaveError, match=re.escape("run 0's l1 was 0.0 and is 0.02")):
        train(splits, other, checkpoint=replace(checkpoint, resume=True))
    other = [replace(run, grouped=True, name="") for run in runs]
    with pytest.raises(SaveError, match="run 0's grouped was False and is True"):
        train(splits, other, checkpoint=replace(checkpoint, resume=True))


def test_grouped_training_resumes_to_the_same_bits(tmp_path: Path, splits: Splits) -> None:
    runs = [
        Run(0.1, l1=0.01, grouped=True, momentum=0.9, averaging="ema:0.9", epochs=e) for e in (2, 4)
    ]
    checkpoint = Checkpoint(tmp_path)
    train(splits, runs[:1], checkpoint=checkpoint)
    resumed = train(splits, runs[1:], checkpoint=replace(checkpoint, resume=True))
    np.testing.assert_array_equal(resumed.W, train(splits, runs[1:]).W)


def test_names_and_bad_values() -> None:
    assert Run(0.1, l1=0.01).name == "λ=0, η=0.1, λ₁=0.01"
    with pytest.raises(SettingsError, match=r"l1 \(λ₁\) must be a finite number, 0 to below 1e100"):
        Run(0.1, l1=-1.0)
    assert Run(0.1, l1=0.01, grouped=True).name == "λ=0, η=0.1, λ₁=0.01, grouped"
    assert Run(0.1, grouped=True).name == Run(0.1).name
    with pytest.raises(SettingsError, match="grouped must be true or false"):
        Run(0.1, l1=0.1, grouped=1)  # type: ignore[arg-type]
    written = to_plain(Run(0.1))
    del written["l1"], written["grouped"]  # as of a run from before there were any
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
    runs = grid(learning_rate=0.1, l1=0.01, grouped=[False, True], epochs=1)
    both, of_groups = (train(splits, of) for of in (runs, runs[1:]))
    assert {row[-1].text for row in ranking_table(both).rows} == {"grouped", "not grouped"}
    assert [result_page(of).sparse for of in (both, of_groups)] == ["both", "grouped"]
    specs = [str(chart.spec) for chart in result_page(of_groups).charts if "cost" in chart.name]
    assert len(specs) == 1
    assert "loss + λ₁ Σ ‖W_d‖ / nats" in specs[0]
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
    method = ("--lr", "0.1", "--l1", "0,0.01", "--grouped", "--momentum", "0.9", "--epochs", "2")
    words = ("train", "--data", "digits", *method, "--out", str(out))
    code, _, errors = call(*words, capsys=capsys)
    assert code == 0, errors
    assert [(run.l1, run.grouped) for run in Result.load(out).runs] == [(0.0, True), (0.01, True)]


def test_digits_with_an_l1_leave_the_black_pixels_out() -> None:
    data = load("digits")
    W = train(data, Run(0.1, l1=0.01, epochs=5), engine=make_engine("native")).W[0]
    black = ~data.train.X.any(axis=0)
    assert black.any()
    assert not W[:, black].any()
