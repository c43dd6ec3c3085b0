"""Temperature scaling: the one number, its proof, and what carries it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import onelayer as ol
from onelayer.data import Dataset, Splits
from onelayer.model.calibration import fit_temperature
from onelayer.objective.loss import log_softmax
from tests.made_data import make_splits

Float64 = NDArray[np.float64]


def scored(seed: int, rows: int = 60, classes: int = 4) -> tuple[Float64, NDArray[np.int64]]:
    """Scores that are three times as sure as they are right."""
    rng = np.random.default_rng(seed)
    S = 1.5 * rng.normal(size=(rows, classes))
    y = (S + rng.gumbel(size=S.shape)).argmax(axis=1)
    return 3.0 * S, y


@pytest.fixture(scope="module")
def data() -> Splits:
    return make_splits(300)


@pytest.fixture(scope="module")
def fitted(data: Splits) -> ol.Model:
    return ol.solve(data, l2=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_no_other_temperature_has_a_loss_below_the_bound(seed: int) -> None:
    S, y = scored(seed)
    w = None if seed % 2 else np.random.default_rng(seed).uniform(0.1, 3.0, len(y))

    def at(T: float) -> float:
        losses = -log_softmax(S / T)[np.arange(len(y)), y]
        return float(np.average(losses, weights=w))

    found = fit_temperature(S, y, w)
    assert found.loss == pytest.approx(at(found.value), abs=1e-14)
    others = [at(found.value * factor) for factor in np.geomspace(0.01, 100.0, 400)]
    assert min(others) >= found.loss - found.gap - 1e-15
    assert found.low < found.value < found.high < found.low * (1.0 + 1e-6)
    assert found.gap < 1e-15


def test_the_temperature_finds_how_much_too_sure_scores_are() -> None:
    S, y = scored(0, rows=100_000)
    assert fit_temperature(S, y, None).value == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scores_of_any_size_have_a_temperature_of_that_size(scale: float) -> None:
    S, y = scored(1)
    plain, scaled = (fit_temperature(of, y, None).value for of in (S, scale * S))
    assert scaled == pytest.approx(scale * plain, rel=1e-9)


def test_an_integer_weight_repeats_a_row() -> None:
    S, y = scored(2)
    counts = np.arange(len(y)) % 3
    one = fit_temperature(S, y, counts.astype(float))
    other = fit_temperature(np.repeat(S, counts, axis=0), np.repeat(y, counts), None)
    assert one.value == pytest.approx(other.value, rel=1e-12)


def test_rows_that_are_all_right_or_that_scores_tell_nothing_of_have_no_temperature() -> None:
    S, y = scored(3)
    with pytest.raises(ol.SettingsError, match="every row is right"):
        fit_temperature(S, S.argmax(axis=1), None)
    with pytest.raises(ol.SettingsError, match="scores tell nothing about these rows"):
        fit_temperature(S, S.argmin(axis=1), None)
    right = S.argmax(axis=1) == y
    with pytest.raises(ol.SettingsError, match="every row is right"):
        fit_temperature(S, y, right.astype(float))


def test_calibration_changes_probabilities_and_no_label(data: Splits, fitted: ol.Model) -> None:
    calibrated = fitted.calibrate(data)
    X, T = data.test.X, calibrated.temperature
    assert T != 1.0
    expected = np.exp(fitted.scores(X) / T)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(calibrated.predict_proba(X), expected, rtol=1e-9)
    assert (calibrated.predict(X) == fitted.predict(X)).all()
    of = calibrated.settings["calibration"]
    assert of["log_loss"][1] < of["log_loss"][0]
    assert of["rows"] == data.validation.rows
    after = calibrated.evaluate(data.validation)
    assert after.log_loss == pytest.approx(of["log_loss"][1], rel=1e-9)
    assert after.reliability.error == pytest.approx(of["calibration_error"][1])
    assert after.uncalibrated is not None
    before = fitted.evaluate(data.validation).reliability.error
    assert after.uncalibrated.error == pytest.approx(before) == of["calibration_error"][0]
    assert f"({before:.4f} before calibration)" in str(after)
    assert after.as_dict()["expected_calibration_error_before_calibration"] == before
    assert fitted.evaluate(data).uncalibrated is None


def test_the_proof_stays_that_of_the_weights_as_fitted(data: Splits, fitted: ol.Model) -> None:
    calibrated = fitted.calibrate(data)
    assert calibrated.certificate == fitted.certificate
    assert calibrated.proof.endswith(
        f"; of the weights before calibration by T = {calibrated.temperature:.4g}"
    )
    assert "before calibration" not in repr(fitted)
    again = ol.certify(calibrated, data)
    assert again.cost == pytest.approx(ol.certify(fitted, data).cost, rel=1e-12)
    assert again.gap <= 1e-6 * again.cost
    own = calibrated.uncalibrated
    np.testing.assert_allclose(own.W, fitted.W, rtol=1e-15)
    assert (own.W.dtype, own.b.dtype, own.settings) == (
        *(fitted.W.dtype, fitted.b.dtype),
        fitted.settings,
    )
    one, other = (model.inference(data).standard_errors for model in (fitted, calibrated))
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_calibrating_twice_is_calibrating_once(data: Splits, fitted: ol.Model) -> None:
    once = fitted.calibrate(data)
    twice = once.calibrate(data)
    assert twice.temperature == pytest.approx(once.temperature, rel=1e-12)
    np.testing.assert_allclose(twice.W, once.W, rtol=1e-12)


def test_the_file_and_the_exports_are_calibrated(
    data: Splits, fitted: ol.Model, tmp_path: Path
) -> None:
    calibrated = fitted.calibrate(data)
    X = data.test.X
    expected = calibrated.predict_proba(X)
    calibrated.save(tmp_path / "m.safetensors")
    loaded = ol.Model.load(tmp_path / "m.safetensors")
    assert (loaded.predict_proba(X) == expected).all()
    assert loaded.temperature == calibrated.temperature
    assert loaded.settings == calibrated.settings
    np.testing.assert_allclose(calibrated.to_sklearn().predict_proba(X), expected, rtol=1e-9)
    onnxruntime = pytest.importorskip("onnxruntime")
    calibrated.to_onnx(tmp_path / "m.onnx", rows=X)
    session = onnxruntime.InferenceSession((tmp_path / "m.onnx").read_bytes())
    [probabilities] = session.run(["probabilities"], {"rows": X})
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)
    torch = pytest.importorskip("torch")
    linear = calibrated.to_torch("float64")
    scores = linear(torch.from_numpy(X.astype(np.float64))).detach().numpy()
    np.testing.assert_allclose(scores, calibrated.scores(X), rtol=1e-9)


def test_rows_of_the_training_do_not_calibrate(data: Splits, fitted: ol.Model) -> None:
    lines = list[str]()
    both = data.train_and_validation
    mixed = fitted.calibrate(both, log=lines.append)
    assert mixed.temperature == pytest.approx(fitted.calibrate(data).temperature, rel=1e-12)
    assert lines == ["left out, because the model was trained on them: 300 rows"]
    with pytest.raises(ol.SettingsError, match="was trained on all of these rows"):
        fitted.calibrate(data.train)


def test_weights_of_rows_count_in_calibration(data: Splits, fitted: ol.Model) -> None:
    rows = data.validation
    kept = np.arange(rows.rows) % 2 == 0
    weighted = fitted.calibrate(replace(rows, weights=kept.astype(float)))
    half = fitted.calibrate(rows.take(np.flatnonzero(kept)))
    assert weighted.temperature == pytest.approx(half.temperature, rel=1e-12)


def test_a_temperature_for_many_labels_is_refused() -> None:
    Y = np.eye(4, dtype=np.uint8)[:, :2]
    rows = Dataset(np.eye(4), Y, ("a", "b"))
    model = ol.Model(np.ones((2, 4)), np.zeros(2), class_names=("a", "b"), label_type="many")
    with pytest.raises(ol.SettingsError, match="a temperature is for rows of one class"):
        model.calibrate(rows)


def test_a_table_of_the_model_says_what_calibration_changed(data: Splits, fitted: ol.Model) -> None:
    from onelayer.report.model_tables import model_table

    printed = io.StringIO()
    shown: Any = model_table(fitted.calibrate(data), "m")
    for row in shown.rows:
        printed.write(" ".join(cell.plain for cell in row) + "\n")
    assert "calibrated T = " in printed.getvalue()
    assert "on 300 rows: log loss" in printed.getvalue()
