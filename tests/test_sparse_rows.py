"""Sparse rows on every way in and out: what the same rows give as an array, they give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import dump_svmlight_file

import onelayer as ol
from onelayer.data.rows import rows_to_fit
from onelayer.data.scaling import fit_scaling
from onelayer.data.sparse import SparseRows
from onelayer.model.predictions import read_rows, write_predictions
from onelayer.report.model_tables import strongest_table
from onelayer.training.checkpoint import data_fingerprint
from tests.cli.conftest import call

L2 = 0.01


def made(rows: int = 300, features: int = 40) -> tuple[Any, Any]:
    """Rows of counts times weights that differ, and three classes that follow from them."""
    rng = np.random.default_rng(0)
    X = rng.poisson(0.3, (rows, features)) * rng.normal(1.0, 0.3, features)
    y = np.argmax(X @ rng.normal(size=(features, 3)) + rng.normal(size=(rows, 3)), axis=1)
    return X, np.array(["cat", "dog", "eel"])[y]


@pytest.fixture(scope="module")
def both() -> tuple[ol.Splits, ol.Splits]:
    X, y = made()
    return ol.split(X, y), ol.split(sparse.csr_array(X), y)


@pytest.fixture(scope="module")
def models(both: tuple[ol.Splits, ol.Splits]) -> tuple[ol.Model, ol.Model]:
    dense, rows = both
    return (
        ol.solve(dense, l2=L2, scaling="none", tol=1e-12),
        ol.solve(rows, l2=L2, scaling="none", tol=1e-12),
    )


def test_parts_and_fingerprints_are_those_of_the_same_rows_as_an_array(
    both: tuple[ol.Splits, ol.Splits],
) -> None:
    for role in ("train", "validation", "test"):
        dense, rows = (getattr(splits, role) for splits in both)
        assert isinstance(rows.X, SparseRows)
        np.testing.assert_array_equal(rows.X.toarray(), dense.X)
        np.testing.assert_array_equal(rows.y, dense.y)
        np.testing.assert_array_equal(rows.fingerprints, dense.fingerprints)
    assert "40 features (float64, sparse: 10.6 values a row), 3 classes" in repr(both[1].train)


@pytest.mark.parametrize("options", [{"groups": "identical"}, {"ids": np.arange(300)}, {}])
def test_whatever_keeps_rows_together_does_so_of_sparse_rows(options: dict[str, Any]) -> None:
    X, y = made()
    X[200:] = X[:100]
    dense, rows = (
        ol.split(form(X), y, seed=3, **options) for form in (np.asarray, sparse.coo_array)
    )
    for role in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(rows, role).y, getattr(dense, role).y)


def test_identical_rows_in_two_parts_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = made(60)
    told = []
    for form in (np.asarray, sparse.csr_array):
        ol.split(form(np.vstack([X, X])), [*y, *y])
        told.append(capsys.readouterr().err)
    assert "rows are identical to training" in told[0]
    assert told[0] == told[1]


@pytest.mark.parametrize("weighted", [False, True])
def test_scaling_divides_by_the_deviation_and_moves_nothing(weighted: bool) -> None:
    X, _ = made()
    X[:, 3] = 2.0
    weights = np.random.default_rng(1).integers(0, 3, len(X)).astype(float) if weighted else None
    dense = fit_scaling("standardize", X, weights=weights)
    rows: Any = SparseRows.of(sparse.csr_array(X))
    found = fit_scaling("standardize", rows, weights=weights)
    np.testing.assert_allclose(found.scale, dense.scale, rtol=1e-12)
    assert not found.offset.any()
    for name in ("low", "high"):
        np.testing.assert_array_equal(getattr(found, name), getattr(dense, name))
    assert fit_scaling("auto", rows).name == fit_scaling("none", rows).name == "none"
    assert fit_scaling("unit", rows, 4.0).scale.tolist() == [0.25] * 40


def test_with_an_intercept_not_to_centre_gives_the_same_optimum(
    both: tuple[ol.Splits, ol.Splits],
) -> None:
    dense, rows = (ol.solve(of, l2=L2, scaling="standardize", tol=1e-12) for of in both)
    np.testing.assert_allclose(rows.W, dense.W, atol=1e-5)
    assert dense.scaling.offset.any()
    np.testing.assert_allclose(
        rows.predict_proba(both[0].test.X), dense.predict_proba(both[1].test.X), atol=1e-5
    )


def test_a_model_meets_rows_whether_they_are_sparse_or_not(
    both: tuple[ol.Splits, ol.Splits], models: tuple[ol.Model, ol.Model], tmp_path: Path
) -> None:
    dense, rows = models
    np.testing.assert_allclose(rows.W, dense.W, atol=1e-6)
    rows.save(tmp_path / "m.safetensors")
    again = ol.Model.load(tmp_path / "m.safetensors")
    X = both[0].test.X
    for form in (np.asarray, sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        np.testing.assert_allclose(again.predict_proba(form(X)), dense.predict_proba(X), atol=1e-6)
        np.testing.assert_array_equal(again.predict(form(X)), dense.predict(X))
    with pytest.raises(ol.DataError, match=r"rows must have 40 features, .*\(61, 39\)"):
        again.predict(sparse.csr_array(X[:, 1:]))
    with pytest.raises(ol.DataError, match="every feature must be a finite number, but row 2"):
        again.predict(sparse.csr_array(np.where(np.arange(61)[:, None] == 2, np.nan, X)))


def test_rows_that_were_trained_on_are_known_in_either_form(
    both: tuple[ol.Splits, ol.Splits], models: tuple[ol.Model, ol.Model]
) -> None:
    for model in models:
        for splits in both:
            assert model.trained_on(splits.train).all()
            assert not model.trained_on(splits.test).any()
            assert model.evaluate(splits.train).training_rows == splits.train.rows


def test_figures_are_those_of_the_same_rows_as_an_array(
    both: tuple[ol.Splits, ol.Splits], models: tuple[ol.Model, ol.Model]
) -> None:
    model = models[0]
    scoring = ["f1_macro", "neg_log_loss", "roc_auc_ovr"]
    dense, rows = (model.evaluate(of, scoring=scoring) for of in both)
    assert rows.accuracy == dense.accuracy
    assert rows.log_loss == pytest.approx(dense.log_loss, rel=1e-12)
    for one, other in zip(rows.metrics, dense.metrics, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-12)
    costs = [ol.certify(model, of.train).cost for of in both]
    assert costs[0] == pytest.approx(costs[1], rel=1e-12)
    assert ol.check_gradient(both[1], batch_sizes=[20]).passed


def test_two_models_are_compared_on_sparse_rows(
    both: tuple[ol.Splits, ol.Splits], models: tuple[ol.Model, ol.Model]
) -> None:
    weak = ol.solve(both[1], l2=10.0)
    found = [repr(ol.compare(weak, models[0], of.test)) for of in both]
    assert found[0] == found[1]


def test_training_gives_what_it_gives_on_the_same_rows_as_an_array(
    both: tuple[ol.Splits, ol.Splits],
) -> None:
    run = ol.Run(learning_rate=0.1, epochs=3, l2=L2, batch_size=20, momentum=0.9)
    dense, rows = (ol.train(of, run, scaling="none", dtype="float64").best for of in both)
    np.testing.assert_allclose(rows.W, dense.W, atol=1e-10)


def test_a_path_is_refitted_to_training_and_validation_rows(
    both: tuple[ol.Splits, ol.Splits],
) -> None:
    paths = [ol.solve_path(of, [0.1, 0.01], folds=3, refit=True, scaling="none") for of in both]
    assert paths[0].best.l2 == paths[1].best.l2
    np.testing.assert_allclose(paths[1].best.W, paths[0].best.W, atol=1e-3)
    assert both[1].train_and_validation.rows == 239


def test_parts_are_all_sparse_or_none(both: tuple[ol.Splits, ol.Splits]) -> None:
    dense, rows = both
    with pytest.raises(ol.DataError, match="training and test rows must both be sparse, or none"):
        ol.Splits(rows.train, rows.validation, dense.test, "made", "made")


def test_columns_with_names_are_met_by_them(both: tuple[ol.Splits, ol.Splits]) -> None:
    X, y = made()
    names = [f"word {i}" for i in range(40)]
    model = ol.solve(ol.split(sparse.csr_array(X), y, feature_names=names), l2=L2)
    order = np.random.default_rng(0).permutation(40)
    turned = ol.split(sparse.csr_array(X[:, order]), y, feature_names=[names[i] for i in order])
    np.testing.assert_array_equal(model.predict(turned.test), model.predict(both[0].test.X))


def test_weights_leave_out_and_repeat_sparse_rows() -> None:
    X, y = made()
    weights = np.random.default_rng(1).integers(0, 3, len(X))
    dense, rows = (
        rows_to_fit(ol.split(form(X), y, weights=weights), "standardize")[2]
        for form in (np.asarray, sparse.csr_array)
    )
    assert rows.count == dense.count < 192
    np.testing.assert_array_equal(rows.X.toarray(), dense.X)  # type: ignore[attr-defined]


def test_a_model_of_columns_that_files_number_meets_other_files_by_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    X, y = made()
    codes = np.searchsorted(["cat", "dog", "eel"], y)
    dump_svmlight_file(X, codes, str(tmp_path / "a.svm"), zero_based=True)
    model = ol.solve(ol.load(tmp_path / "a.svm"), l2=L2)
    assert model.settings["first_index"] == 0
    model.save(tmp_path / "m.safetensors")
    told: list[str] = []
    # Its smallest number is 1, so that the first of its columns is 1; and it has one number more.
    later = np.hstack([np.zeros((50, 1)), X[:50, 1:], np.ones((50, 1))])
    dump_svmlight_file(later, codes[:50], str(tmp_path / "b.svm"), zero_based=True)
    capsys.readouterr()
    rows, ids = read_rows(str(tmp_path / "b.svm"))
    write_predictions(
        ol.Model.load(tmp_path / "m.safetensors"), rows, tmp_path / "p.npy", None, ids
    )
    assert "left out 50 of" in capsys.readouterr().err
    later[:, 0] = 0.0
    expected = model.predict_proba(later[:, :40])
    np.testing.assert_allclose(np.load(tmp_path / "p.npy")["probabilities"], expected, atol=1e-12)
    part = ol.load(tmp_path / "b.svm", log=told.append).test
    assert (part.features, part.X.first_index) == (40, 1)  # type: ignore[attr-defined]
    assert model.evaluate(part, log=told.append).training_rows == 0
    assert "are numbered from 0 on" in told[-1]


def test_the_strongest_features_have_the_numbers_of_their_file() -> None:
    model = ol.Model(np.eye(2), np.zeros(2), settings={"first_index": 1})
    assert [row[1].text for row in strongest_table(model).rows] == ["feature 1 +1", "feature 2 +1"]


@pytest.mark.slow
def test_the_command_line_goes_all_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    X, y = made()
    monkeypatch.chdir(tmp_path)
    dump_svmlight_file(X, np.searchsorted(["cat", "dog", "eel"], y), "a.svm", zero_based=False)

    def run(*words: str) -> str:
        code, out, err = call(*words, capsys=capsys)
        assert code == 0, err
        return out

    run("train", "--data", "a.svm", "--epochs", "2", "--learning-rate", "0.1", "--out", "t")
    solved = run("solve", "--data", "a.svm", "--l2", "0.1,0.01", "--folds", "3", "--out", "s")
    assert "proven" in solved
    assert "accuracy" in run("evaluate", "s")
    run("predict", "s", "a.svm", "p.csv")
    assert len(Path("p.csv").read_text().splitlines()) == 301
    assert "above the best possible" in run("certify", "s")
    assert "strongest first" in run("inspect", "s")
    assert "onnxruntime gives the same labels" in run("export", "s", "m.onnx")
    assert "the same bits" in run("rerun", "t", "--out", "u")


def test_rows_that_are_far_smaller_than_those_of_training_are_told(
    models: tuple[ol.Model, ol.Model], both: tuple[ol.Splits, ol.Splits]
) -> None:
    told: list[str] = []
    X: Any = np.asarray(both[0].test.X, np.float64) / 255.0
    models[1].predict(sparse.csr_array(X), log=told.append)
    models[1].predict(X, log=told.append)
    assert "the rows are not in the range of the training rows: feature" in told[0]
    assert told[0] == told[1]


def test_onnx_is_tested_on_sparse_rows(
    models: tuple[ol.Model, ol.Model], both: tuple[ol.Splits, ol.Splits], tmp_path: Path
) -> None:
    tested = models[1].to_onnx(tmp_path / "m.onnx", rows=both[1].test, input_type="float64")
    assert tested.rows == 61


def test_a_probe_of_sparse_rows_is_that_of_the_same_rows_as_an_array() -> None:
    X, y = made()
    options: dict[str, Any] = {"l2": [0.1, 0.01], "scaling": "none", "baselines": True}
    suite = ol.probe({"dense": X, "sparse": sparse.csr_array(X)}, y, **options, shots=[4])
    dense, rows = suite["dense"], suite["sparse"]
    np.testing.assert_allclose(rows.model.W, dense.model.W, atol=1e-3)
    assert [one.test.accuracy for one in rows.baselines] == [
        one.test.accuracy for one in dense.baselines
    ]


def test_many_labels_of_sparse_rows_are_proven_as_those_of_an_array() -> None:
    X, y = made()
    labels = np.stack([y == "cat", y != "dog"], axis=1).astype(int)
    dense, rows = (
        ol.solve(ol.split(form(X), labels), l2=L2, scaling="none")
        for form in (np.asarray, sparse.csr_array)
    )
    assert rows.require_certificate().cost == pytest.approx(dense.require_certificate().cost)
    np.testing.assert_array_equal(rows.predict(sparse.csr_array(X)), dense.predict(X))


def test_the_best_linear_classifier_is_refused_in_one_sentence(
    both: tuple[ol.Splits, ol.Splits],
) -> None:
    with pytest.raises(ol.SettingsError, match="are sparse, and fit_best_linear is for arrays"):
        ol.fit_best_linear(both[1])


def test_what_is_no_rows_of_numbers_is_refused_in_one_sentence(
    models: tuple[ol.Model, ol.Model],
) -> None:
    with pytest.raises(ol.DataError, match="must be integers, float32 or float64, not complex128"):
        models[0].predict(sparse.csr_array(np.ones((2, 40), complex)))
    with pytest.raises(ol.DataError, match="two dimensions"):
        ol.split(sparse.coo_array(np.arange(10.0)), np.arange(10) % 2)
    with pytest.raises(ol.SettingsError, match=r"stream .* has no effect on data in memory"):
        ol.load(sparse.csr_array(np.eye(10)), labels=np.arange(10) % 2, stream=True)


@pytest.mark.parametrize("what", ["values", "columns", "rows"])
def test_a_checkpoint_knows_sparse_rows_that_changed(what: str) -> None:
    X, y = made()
    turned = {"values": X * 2, "columns": X[:, ::-1], "rows": X[np.arange(300) ^ 1]}[what]
    before, after, again = (
        data_fingerprint(ol.split(sparse.csr_array(of), y)) for of in (X, turned, X.copy())
    )
    assert before == again
    assert before["training data"] != after["training data"]
