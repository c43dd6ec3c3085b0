"""What comes in: number types without copies, data frames, labels of any type; errors."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array, csr_array, csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris

from onelayer.data.sparse import SparseRows
from onelayer.errors import DataError, SettingsError
from onelayer.sklearn import LogisticRegression, SoftmaxClassifier, SoftmaxClassifierCV
from onelayer.sklearn.fit import hold_out
from onelayer.sklearn.inputs import check_labelled, label_rows
from tests.examples import few

DTYPES = ("uint8", "float16", "float32", "float64")
SOLVERS = ("optimum", "minibatch")


def pixels(dtype: str = "uint8") -> tuple[NDArray[Any], NDArray[np.int64]]:
    X, y = load_digits(return_X_y=True)
    return X.astype(dtype), y


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_stored_type_gives_the_same_model(solver: str) -> None:
    settings = {"dtype": "float64", "epochs": 3} if solver == "minibatch" else {"tol": 1e-12}
    models = [
        SoftmaxClassifier(0.01, solver=solver, random_state=0, **settings).fit(*pixels(dtype))
        for dtype in (*DTYPES, "int32", ">f8")
    ]
    for model in models[1:]:
        np.testing.assert_allclose(model.coef_, models[0].coef_, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_as_stored_are_read_in_place(dtype: str) -> None:
    X, y = pixels(dtype)
    for rows in (X, X[::2], X[::-1]):
        stored, _ = check_labelled(SoftmaxClassifier(), rows, y[: len(rows)])
        assert np.shares_memory(stored, X)
        assert stored.strides == rows.strides


def test_strided_rows_give_what_their_copy_gives() -> None:
    X, y = pixels()
    for rows, labels in ((X[::2], y[::2]), (X[::-1], y[::-1]), (np.asfortranarray(X), y)):
        model = SoftmaxClassifier(0.01).fit(rows, labels)
        copy = SoftmaxClassifier(0.01).fit(rows.copy(order="C"), labels)
        np.testing.assert_array_equal(model.coef_, copy.coef_)
        np.testing.assert_array_equal(model.predict(rows), copy.predict(rows.copy(order="C")))


@pytest.mark.parametrize("dtype", few(1, DTYPES))
@pytest.mark.parametrize("solver", SOLVERS)
def test_fitting_and_predicting_take_less_memory_than_a_copy(solver: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 200, (40_000, 256), np.uint8).astype(dtype)
    y = rng.integers(0, 2, len(X)) + (X[:, 0] > 100)
    settings = {"epochs": 2} if solver == "minibatch" else {"tol": 0.5}
    model = SoftmaxClassifier(0.1, solver=solver, scaling="standardize", random_state=0, **settings)
    tracemalloc.start()
    model.fit(X, y, sample_weight=np.ones(len(X)))
    model.predict(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The smallest copy that could be computed with, float32, is 41 MB; the metric's sample is 4.
    assert peak < 20e6


@pytest.mark.parametrize(
    "frame",
    [pd.DataFrame, lambda X, columns: pl.DataFrame(dict(zip(columns, X.T, strict=True)))],
    ids=["pandas", "polars"],
)
def test_data_frames_are_rows_with_names(frame: Any) -> None:
    X, y = load_iris(return_X_y=True)
    names = ["a", "b", "c", "d"]
    table = frame(X, columns=names)
    model = SoftmaxClassifier().fit(table, y)
    assert model.feature_names_in_.tolist() == names
    np.testing.assert_allclose(model.coef_, SoftmaxClassifier().fit(X, y).coef_, rtol=1e-9)
    np.testing.assert_array_equal(model.predict(table), SoftmaxClassifier().fit(X, y).predict(X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame(X, columns=["a", "b", "d", "c"]))


@pytest.mark.parametrize("series", [pd.Series, pl.Series], ids=["pandas", "polars"])
def test_series_are_labels_and_weights(series: Any) -> None:
    X, y = load_iris(return_X_y=True)
    words = np.array(["setosa", "versicolor", "virginica"])[y]
    weights = np.linspace(0.5, 2.0, len(y))
    model = SoftmaxClassifier().fit(X, series(words), sample_weight=series(weights))
    by_array = SoftmaxClassifier().fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(model.coef_, by_array.coef_)
    assert set(model.predict(X)) == set(words)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["no", "yes"]),
        np.array(["no", "yes"], dtype=object),
        np.array([False, True]),
        np.array([-1, 1]),
        np.array([2.0, 5.0]),
        np.array([3, 200], np.uint8),
    ],
    ids=["text", "objects", "booleans", "signs", "floats", "bytes"],
)
@pytest.mark.parametrize("solver", SOLVERS)
def test_labels_of_any_type_come_back_as_they_were(labels: NDArray[Any], solver: str) -> None:
    X, y = load_iris(return_X_y=True)
    X, y = X[y > 0], y[y > 0] - 1
    model = SoftmaxClassifier(solver=solver, random_state=0).fit(X, labels[y])
    assert model.classes_.tolist() == labels.tolist()
    assert model.predict(X).dtype == labels.dtype
    by_number = SoftmaxClassifier(solver=solver, random_state=0).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), labels[by_number.predict(X)])


X_IRIS, Y_IRIS = load_iris(return_X_y=True)
WITH_NAN, WITH_INF = X_IRIS.copy(), X_IRIS.astype("float16")
WITH_NAN[3, 2], WITH_INF[5, 1] = np.nan, np.inf


@pytest.mark.parametrize(
    ("X", "y", "weights", "words"),
    [
        (WITH_NAN, Y_IRIS, None, "contains NaN at row 3, column 2"),
        (WITH_INF, Y_IRIS, None, "contains infinity at row 5, column 1"),
        (X_IRIS, np.ones(150), None, "at least 2 classes"),
        (X_IRIS, Y_IRIS, np.zeros(150), "all of it is zero"),
        (X_IRIS, Y_IRIS, np.ones(3), r"150 rows, but its shape is \(3,\)"),
        (X_IRIS, Y_IRIS, -np.ones(150), "row 0 has -1.0"),
        (X_IRIS, Y_IRIS, np.full(150, np.nan), "row 0 has nan"),
        (X_IRIS, Y_IRIS[:7], None, "inconsistent numbers of samples"),
        (X_IRIS[0], Y_IRIS, None, "2D array"),
        (X_IRIS, X_IRIS[:, 0], None, "Unknown label type"),
    ],
)
@pytest.mark.parametrize("estimator", [SoftmaxClassifier, SoftmaxClassifierCV])
def test_bad_rows_are_refused_in_a_sentence(
    estimator: type[SoftmaxClassifier], X: Any, y: Any, weights: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        estimator().fit(X, y, sample_weight=weights)


@pytest.mark.parametrize("form", [csr_matrix, csr_array, csc_array, coo_array])
@pytest.mark.parametrize(
    "estimator",
    [
        SoftmaxClassifier(tol=1e-10),
        SoftmaxClassifier(solver="minibatch", random_state=0, dtype="float64"),
        SoftmaxClassifier(solver="minibatch", early_stopping=True, random_state=0),
        SoftmaxClassifierCV(l2s=3, cv=3, tol=1e-10),
        LogisticRegression(),
        LogisticRegression(class_weight="balanced"),
    ],
)
def test_sparse_rows_give_what_the_same_rows_give_as_an_array(form: Any, estimator: Any) -> None:
    X = np.where(X_IRIS > 2.0, X_IRIS, 0.0)
    dense, found = clone(estimator).fit(X, Y_IRIS), clone(estimator).fit(form(X), Y_IRIS)
    digits = 5 if getattr(estimator, "early_stopping", False) else 9
    np.testing.assert_allclose(found.coef_, dense.coef_, atol=10.0**-digits)
    np.testing.assert_allclose(found.predict_proba(form(X)), dense.predict_proba(X), atol=1e-5)
    np.testing.assert_array_equal(found.predict(X), found.predict(form(X)))
    model = found.to_model()
    np.testing.assert_array_equal(model.predict(form(X)), found.predict(X))
    if isinstance(found, SoftmaxClassifier):
        np.testing.assert_array_equal(found.predict(SparseRows.of(form(X))), found.predict(X))


def test_liblinears_scaled_intercept_is_a_column_of_sparse_rows_too() -> None:
    X, y = X_IRIS[:100], Y_IRIS[:100]
    dense, sparse = (
        LogisticRegression(solver="liblinear", intercept_scaling=3.0).fit(form(X), y)
        for form in (np.asarray, csr_array)
    )
    np.testing.assert_allclose(sparse.coef_, dense.coef_, atol=1e-6)
    np.testing.assert_allclose(sparse.intercept_, dense.intercept_, atol=1e-6)


def test_parts_of_sparse_rows_are_learned_as_parts_of_an_array() -> None:
    X, classes = np.where(X_IRIS > 2.0, X_IRIS, 0.0), np.unique(Y_IRIS)
    dense, sparse = (SoftmaxClassifier(solver="minibatch", learning_rate=0.1) for _ in range(2))
    for start in range(0, 150, 50):
        part = slice(start, start + 50)
        dense.partial_fit(X[part], Y_IRIS[part], classes)
        sparse.partial_fit(csr_array(X)[part], Y_IRIS[part], classes)
    np.testing.assert_allclose(sparse.coef_, dense.coef_, atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sparse_value_that_is_not_finite_is_named_by_its_place(value: float) -> None:
    X = csr_array(np.array([[0.0, 1.0], [value, 0.0]]))
    with pytest.raises(ValueError, match=f"a finite number, but row 1, column 0 is {value}"):
        SoftmaxClassifier().fit(X, [0, 1])


def test_unit_scaling_is_refused_for_sparse_rows() -> None:
    with pytest.raises(SettingsError, match="known for uint8 only"):
        SoftmaxClassifier(scaling="unit").fit(csr_array(X_IRIS), Y_IRIS)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"l2": -1.0}, r"l2 \(λ\) must be a finite number, 0 or above, but -1.0"),
        ({"l2": "much"}, r"l2 \(λ\)"),
        ({"solver": "lbfgs"}, "solver must be optimum or minibatch, but 'lbfgs'"),
        ({"tol": 0.0}, "tol must be"),
        ({"max_passes": 0}, "max_passes must be"),
        ({"scaling": "log"}, "scaling must be"),
        ({"scaling": "unit"}, "known for uint8 only, but X is float64"),
        ({"class_weight": "even"}, "class_weight must be None, 'balanced' or a dict"),
        ({"class_weight": {0: -1.0}}, "finite and 0 or above"),
        ({"warm_start": 1}, "warm_start must be True or False"),
        ({"early_stopping": "yes"}, "early_stopping must be True or False"),
        ({"threads": 0}, "threads must be"),
        ({"dtype": "float16"}, "dtype must be"),
        ({"learning_rate": 0.1}, "would be ignored with solver='optimum'; leave it at 'auto'"),
        ({"epochs": 3}, "would be ignored with solver='optimum'"),
        ({"early_stopping": True}, "would be ignored with solver='optimum'"),
        ({"solver": "minibatch", "tol": 0.1}, "would be ignored with solver='minibatch'"),
        ({"solver": "minibatch", "learning_rate": -0.1}, r"learning_rate \(η\) must be"),
        ({"solver": "minibatch", "batch_size": 0}, "batch_size must be"),
        ({"solver": "minibatch", "epochs": 1.5}, "epochs must be"),
        ({"solver": "minibatch", "n_iter_no_change": 0}, "n_iter_no_change must be"),
        ({"solver": "minibatch", "validation_fraction": 0.2}, "ignored with early_stopping=False"),
        (
            {"solver": "minibatch", "early_stopping": True, "validation_fraction": 1.0},
            "between 0 and 1",
        ),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        SoftmaxClassifier(**settings).fit(X_IRIS, Y_IRIS)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"l2s": []}, "at least one value"),
        ({"l2s": "many"}, "at least one value"),
        ({"l2s": 0}, "how many the data give, 2 or more"),
        ({"l2s": [-1.0]}, r"l2 \(λ\)"),
        ({"scoring": "f1_makro"}, "did you mean 'f1_macro'"),
        ({"rule": "worst"}, "rule must be"),
        ({"cv": 1}, "n_splits"),
        ({"tol": 0.0}, "tol must be"),
        ({"threads": -1}, "threads must be"),
    ],
)
def test_bad_arguments_of_a_path_are_refused_in_a_sentence(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        SoftmaxClassifierCV(**settings).fit(X_IRIS, Y_IRIS)


def test_a_path_needs_two_classes_of_a_weight() -> None:
    with pytest.raises(ValueError, match="at least 2 classes, but those of a positive weight hold"):
        SoftmaxClassifierCV().fit(X_IRIS, Y_IRIS, sample_weight=(Y_IRIS == 0).astype(float))


def test_a_class_of_one_row_cannot_be_held_out() -> None:
    model = SoftmaxClassifier(solver="minibatch", early_stopping=True)
    with pytest.raises(ValueError, match="needs 2 rows or more, but class 1 has 1"):
        model.fit(X_IRIS[:30], [0] * 29 + [1])


@pytest.mark.parametrize("fraction", [0.1, 0.9])
def test_any_fraction_holds_out_and_keeps_a_row_of_each_class(fraction: float) -> None:
    labelled = label_rows(X_IRIS[:6], np.array([0, 0, 1, 1, 2, 2]), None, None)
    for part in hold_out(labelled, fraction, np.random.RandomState(0)):
        assert labelled.codes[part].tolist() == [0, 1, 2]


def test_unknown_arguments_are_errors() -> None:
    with pytest.raises(TypeError, match="momentum"):
        SoftmaxClassifier(momentum=0.9)  # type: ignore[call-arg]


def test_partial_fit_says_why_it_is_not_there() -> None:
    for settings, words in (
        ({}, "solver='optimum' needs all rows at once"),
        ({"solver": "minibatch", "scaling": "standardize"}, "scaling='standardize' needs all"),
        ({"solver": "minibatch", "class_weight": "balanced"}, "class_weight='balanced' needs"),
    ):
        model = SoftmaxClassifier(**settings)  # type: ignore[arg-type]
        assert not hasattr(model, "partial_fit")
        with pytest.raises(AttributeError) as refused:
            model.partial_fit(X_IRIS, Y_IRIS)
        assert words in str(refused.value.__cause__)


def test_parts_with_strangers_are_refused() -> None:
    model = SoftmaxClassifier(solver="minibatch")
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X_IRIS, Y_IRIS)
    model.partial_fit(X_IRIS[:50], Y_IRIS[:50], classes=[0, 1])
    with pytest.raises(ValueError, match="classes of the first call, but 2 is not"):
        model.partial_fit(X_IRIS, np.where(Y_IRIS == 1, 2, 0))
    with pytest.raises(ValueError, match="4 features"):
        model.partial_fit(X_IRIS[:, :3], Y_IRIS)


def test_a_warm_start_on_other_classes_or_features_is_refused() -> None:
    model = SoftmaxClassifier(warm_start=True).fit(X_IRIS, Y_IRIS)
    for X, y in ((X_IRIS[:, :3], Y_IRIS), (X_IRIS, Y_IRIS + 1), (X_IRIS[:100], Y_IRIS[:100])):
        with pytest.raises(ValueError, match="warm_start needs the classes and features"):
            SoftmaxClassifier.fit(model, X, y)


def test_times_masks_and_two_columns_of_one_name_are_refused_and_tensors_are_taken() -> None:
    import torch

    X, y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 3
    days = pd.date_range("2020", periods=30)
    fitted = SoftmaxClassifier().fit(X, y)
    for times in (
        days.to_numpy()[:, None],
        days.to_numpy()[:, None] - days[0].to_numpy(),
        pd.DataFrame({"x": X[:, 0], "day": days}),
    ):
        with pytest.raises(ValueError, match=r"X(, column 'day',)? holds times.*; give numbers"):
            SoftmaxClassifier().fit(times, y)
    with pytest.raises(ValueError, match="X has two columns 'a'"):
        SoftmaxClassifier().fit(pd.DataFrame(X, columns=["a", "a"]), y)
    masked = np.ma.masked_array(X, mask=X > 1)
    for call in (
        lambda: fitted.predict(masked),
        lambda: SoftmaxClassifier().fit(masked, y),
        lambda: SoftmaxClassifier().fit(X, np.ma.masked_equal(y, 0)),
    ):
        with pytest.raises(DataError, match="has masked values; fill them or drop their rows"):
            call()
    tensor = torch.tensor(X, requires_grad=True)
    again = SoftmaxClassifier().fit(tensor, torch.tensor(y))
    np.testing.assert_array_equal(again.coef_, fitted.coef_)
    assert fitted.predict(tensor.to(torch.bfloat16)).shape == (30,)


@pytest.mark.parametrize("estimator", [SoftmaxClassifier, LogisticRegression])
def test_what_an_estimator_is_given_is_what_it_takes_for_predictions_and_weights_too(
    estimator: Any,
) -> None:
    import ml_dtypes
    import torch

    X, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 3
    X[:, 0] += y
    fitted = estimator().fit(X, y)
    packed = np.zeros(60, np.dtype([("flag", "u1"), ("x", "<f8", (2,))]))
    packed["x"] = X
    np.testing.assert_array_equal(estimator().fit(packed["x"], y).coef_, fitted.coef_)
    np.testing.assert_array_equal(fitted.predict(packed["x"]), fitted.predict(X))
    half = X.astype(ml_dtypes.bfloat16)
    expected = fitted.predict(half.astype(np.float32))
    tensor = torch.tensor(X, requires_grad=True)
    np.testing.assert_array_equal(fitted.predict(half), expected)
    np.testing.assert_array_equal(fitted.predict(tensor.to(torch.bfloat16)), expected)
    np.testing.assert_array_equal(fitted.predict_proba(tensor), fitted.predict_proba(X))
    ones = torch.ones(60, requires_grad=True)
    again = estimator().fit(X, y, sample_weight=ones)
    np.testing.assert_allclose(again.coef_, fitted.coef_, atol=1e-6)
    masked = np.ma.masked_array(X, mask=X > 1)
    calls = (
        lambda: fitted.predict(masked),
        lambda: estimator().fit(X, y, sample_weight=np.ma.masked_array(np.ones(60), y == 1)),
    )
    for call in calls:
        with pytest.raises(DataError, match="has masked values; fill them or drop their rows"):
            call()  # type: ignore[no-untyped-call]
    with pytest.raises(ValueError, match="X has named fields, flag, x; give an array"):
        estimator().fit(packed, y)
    days = pd.DataFrame({"x": X[:, 0], "day": pd.date_range("2020", periods=60)})
    for frame in (pl.from_pandas(days), pa.Table.from_pandas(days)):
        with pytest.raises(ValueError, match="X, column 'day', holds times"):
            estimator().fit(frame, y)
    with pytest.raises(ValueError, match="X holds times"):
        estimator().fit(X[:, :1], y).predict(days[["day"]].to_numpy())
