"""Offsets of the scores through the public interface: s = W x + b + o."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from numpy.typing import NDArray
from sklearn.datasets import load_iris

import onelayer as ol
from onelayer.data import Dataset
from onelayer.data.rows import Rows
from onelayer.engines import Weights, make_engine, streaming
from onelayer.errors import DataError, SaveError
from onelayer.objective.loss import log_softmax
from onelayer.objective.penalty import Penalty
from onelayer.solver.certificate import certify_weights
from onelayer.solver.path import largest_l2
from onelayer.solver.proximal import ProximalSolver
from onelayer.solver.reduction import Solvers
from onelayer.solver.solver import Target
from tests.solver.oracle import METHODS, take_method

Float64 = NDArray[np.float64]


def made(K: int = 3, N: int = 300, seed: int = 0) -> Dataset:
    """Rows whose scores are W x and offsets of the same size."""
    rng = np.random.default_rng(seed)
    X, offsets = rng.normal(size=(N, 4)) + 1.0, 1.5 * rng.normal(size=(N, K))
    y = np.argmax(X @ rng.normal(size=(4, K)) + offsets + rng.gumbel(size=(N, K)), axis=1)
    return Dataset(X, y, tuple("abcdefgh"[:K]), offsets=offsets)


def cost(data: Dataset, model: ol.Model) -> float:
    """J by its definition."""
    X = data.X.astype(float) * model.scaling.scale + model.scaling.offset
    S = X @ model.W.T + model.b + (0.0 if data.offsets is None else data.offsets)
    proof = model.require_certificate()
    penalty = Penalty(proof.l2, proof.l1, proof.grouped).value(model.W.astype(np.float64))
    return float(-log_softmax(S)[np.arange(data.rows), data.y].mean()) + penalty


def test_coefficients_errors_and_predictions_are_those_of_statsmodels() -> None:
    iris = load_iris()
    X, y = iris.data[iris.target > 0], iris.target[iris.target > 0] - 1
    rows = Dataset(X, y, ("versicolor", "virginica"), offsets=2.0 * np.sin(7.0 * X[:, 2]))
    model = ol.solve(rows, l2=0, tol=1e-12)
    found = model.inference(rows)
    # statsmodels 0.15.0, Logit(y, add_constant(X), offset=2 sin(7 X[:, 2])).fit(tol=1e-14); GLM's
    # are the same.
    for got, expected in (
        (
            found.coefficients,
            [-58.750692889656, -3.353947640103, -7.973898510408, 14.85683021024, 17.348479326492],
        ),
        (
            found.standard_errors,
            [27.337075579687, 2.723125204593, 4.852610193673, 6.527590538796, 9.574643868617],
        ),
        (
            model.inference(rows, errors="sandwich").standard_errors,  # cov_type="HC0"
            [21.254413991436, 2.752364948975, 5.499886357787, 8.255287047428, 13.019364199314],
        ),
    ):
        np.testing.assert_allclose(got, [expected], rtol=1e-7)
    assert found.log_likelihood == pytest.approx(-6.23929009669689, rel=1e-9)
    assert found.null_log_likelihood == pytest.approx(-95.64481198345972, rel=1e-9)
    expected = [8.830017768923e-06, 3.094041891018e-06, 6.877031763935e-04]
    np.testing.assert_allclose(model.predict_proba(rows)[:3, 1], expected, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("intercept", [True, False])
def test_offsets_are_the_scores_of_features_whose_weights_are_known(
    method: str, K: int, intercept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The optimum of W beside V x̃ as offsets is that where W and V are solved for together."""
    take_method(method, monkeypatch)
    data = made(K)
    others = np.random.default_rng(1).normal(size=(data.rows, 2))
    how: dict[str, Any] = {"tol": 1e-10, "scaling": "none", "intercept": intercept}
    both = replace(data, X=np.column_stack([data.X, others]))
    whole = ol.solve(both, l2=0.02, **how)
    beside = replace(data, offsets=data.offsets + others @ whole.W[:, 4:].T)
    model = ol.solve(beside, l2=0.02, **how)
    assert model.status == "optimal"
    np.testing.assert_allclose(model.W, whole.W[:, :4], atol=3e-5)
    np.testing.assert_allclose(model.b - model.b.mean(), whole.b - whole.b.mean(), atol=1e-4)


@pytest.mark.parametrize("how", [{"l1": 0.02}, {"l1": 0.02, "l2": 0.01, "grouped": True}])
@pytest.mark.parametrize("K", [2, 3])
def test_l1_is_solved_and_proven_beside_offsets(K: int, how: dict[str, Any]) -> None:
    data = made(K)
    model, without = ol.solve(data, tol=1e-9, **how), ol.solve(replace(data, offsets=None), **how)
    proof = model.require_certificate()
    assert model.status == "optimal"
    assert proof.cost == pytest.approx(cost(data, model), rel=1e-12)
    assert proof.gap < 1e-8
    # The solver proves by its last step's probabilities too, `certify` by the model's alone.
    assert ol.certify(model, data).gap < 1e-6
    assert cost(data, model) < cost(data, without) - 1e-3


def test_of_l1_the_path_begins_where_no_feature_is_chosen() -> None:
    data = made()
    rows = Rows(data.X, data.y, np.ones(4), np.zeros(4), score_offsets=data.offsets)
    solver = ProximalSolver(streaming(make_engine(threads=1)), rows, 3)
    largest = solver.largest_l1(grouped=False)
    assert not solver.solve(Target(0.0, l1=1.001 * largest)).W.any()
    assert solver.solve(Target(0.0, l1=0.98 * largest)).W.any()
    assert 1e-3 < largest_l2(streaming(make_engine(threads=1)), rows, 3) < 1e3


@pytest.mark.parametrize("form", ["array", "sparse", "wide", "weighted"])
def test_engines_take_the_same_offsets(form: str) -> None:
    data = made(4)
    rng = np.random.default_rng(2)
    W, b = rng.normal(size=(2, 4, 4)), rng.normal(size=(2, 4))
    X: Any = data.X
    if form == "sparse":
        X = Dataset(scipy.sparse.csr_array(data.X), data.y, data.class_names).X
    weights = rng.integers(0, 3, data.rows).astype(float) if form == "weighted" else None
    index = rng.permutation(data.rows)[:200] if form == "wide" else None
    rows = Rows(X, data.y, np.ones(4), np.zeros(4), index, weights, score_offsets=data.offsets)
    chosen = slice(None) if index is None else index
    w = np.ones(data.rows)[chosen] if weights is None else weights
    for name in ("native", "reference"):
        engine = streaming(make_engine(name))
        assert data.offsets is not None
        S = (
            np.einsum("nd,rkd->rnk", data.X[chosen].astype(float), W)
            + b[:, None]
            + data.offsets[chosen]
        )
        np.testing.assert_allclose(engine.scores(rows, Weights(W, b)), S, atol=1e-12)
        losses = -np.take_along_axis(
            np.array([log_softmax(s) for s in S]), data.y[chosen][None, :, None], 2
        )[:, :, 0]
        right = S.argmax(axis=2) == data.y[chosen]
        judged = engine.evaluate(rows, Weights(W, b))
        np.testing.assert_allclose(judged.loss, losses @ w / w.sum())
        np.testing.assert_allclose(judged.accuracy, right @ w / w.sum())
        assert judged.correct.tolist() == right.sum(axis=1).tolist()
        figures = engine.classify(rows, Weights(W, b))
        np.testing.assert_allclose(figures.loss, losses, atol=1e-12)
        found = engine.gradient(rows, Weights(W, b))
        P = np.exp(np.array([log_softmax(s) for s in S])) - np.eye(4)[data.y[chosen]]
        expected = np.einsum("n,rnk,nd->rkd", w / w.sum(), P, data.X[chosen].astype(float))
        np.testing.assert_allclose(found.W, expected, atol=1e-12)
        np.testing.assert_allclose(found.b, np.einsum("n,rnk->rk", w / w.sum(), P), atol=1e-12)
        np.testing.assert_allclose(found.loss, judged.loss)


def test_no_model_costs_less_than_a_bound_says() -> None:
    engine = streaming(make_engine(threads=1))
    for seed in range(60):
        data, rng = made(2 + seed % 3, 30, seed), np.random.default_rng(seed)
        rows = Rows(data.X, data.y, np.ones(4), np.zeros(4), intercept=seed % 4 > 0)
        rows = replace(rows, score_offsets=data.offsets)
        l2 = float(rng.choice([1e-3, 0.1]))
        best = Solvers(engine, rows, data.classes).of_all().solve(Target(l2, 1e-9)).certificate
        W, b = rng.normal(size=(data.classes, 4)), rng.normal(size=data.classes) * rows.intercept
        given = certify_weights(engine, rows, W, b, Penalty(l2)).given
        assert given.lower_bound <= best.cost * (1.0 + 1e-9), seed
        assert best.gap <= 1e-9 * best.cost


def test_float32_passes_serve_the_search_and_prove_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_method("l-bfgs from float32", monkeypatch)
    data = made(5, 3000)
    model = ol.solve(data, l2=0.01, tol=1e-6)
    proof = model.require_certificate()
    assert model.status == "optimal"
    assert proof.rounding == 0.0
    assert proof.cost == pytest.approx(cost(data, model), rel=1e-7)


def test_splits_folds_and_refits_carry_offsets_with_their_rows() -> None:
    data = made(2)
    assert data.offsets is not None
    parts = ol.split(data.X, data.y, offsets=data.offsets[:, 1] - data.offsets[:, 0])
    for part in (parts.train, parts.validation, parts.test):
        places = [int(np.flatnonzero((x == data.X).all(axis=1))[0]) for x in part.X]
        assert part.offsets is not None
        np.testing.assert_allclose(part.offsets[:, 1], np.diff(data.offsets[places])[:, 0])
    path = ol.solve_path(parts, l2=4, folds=3, refit=True)
    both = parts.train_and_validation
    assert path.best.require_certificate().cost == pytest.approx(cost(both, path.best), rel=1e-6)
    judged = path.best.evaluate(parts.test, include_training_rows=True)
    with_offsets = path.best.predict_proba(parts.test)
    losses = -np.log(with_offsets[np.arange(parts.test.rows), parts.test.y])
    assert judged.log_loss == pytest.approx(losses.mean())
    again = path.best.evaluate(parts.test, include_training_rows=True, scoring="neg_log_loss")
    assert again.metrics[0].value == pytest.approx(judged.log_loss)


def test_offsets_meet_a_models_classes_by_name() -> None:
    data = made()
    model = ol.solve(data, l2=0.1)
    assert data.offsets is not None
    order = [2, 0, 1]
    names = tuple(data.class_names[k] for k in order)
    y = np.argsort(order)[data.y]
    other = Dataset(data.X, y, names, offsets=data.offsets[:, order])
    np.testing.assert_allclose(model.predict_proba(other), model.predict_proba(data))
    assert ol.certify(model, other).gap == pytest.approx(ol.certify(model, data).gap, abs=1e-12)


def test_rows_in_files_have_offsets_too(tmp_path: Path) -> None:
    data = made()
    np.save(tmp_path / "rows.npy", data.X)
    np.save(tmp_path / "offsets.npy", np.asarray(data.offsets))
    options: dict[str, Any] = {"offsets": str(tmp_path / "offsets.npy"), "labels": data.y}

    for stream in (True, False):
        parts = ol.load(tmp_path / "rows.npy", stream=stream, log=lambda line: None, **options)
        assert parts.train.offsets is not None
        model = ol.solve(parts, l2=0.05, tol=1e-9)
        held = replace(parts.train, X=np.array(parts.train.X[:]))
        assert model.require_certificate().cost == pytest.approx(cost(held, model), rel=1e-6)
        assert ol.certify(model, parts).gap < 1e-8
        judged = model.evaluate(parts.test)
        losses = -np.log(model.predict_proba(parts.test)[np.arange(60), parts.test.y])
        assert judged.log_loss == pytest.approx(losses.mean())


def test_a_column_of_a_table_holds_the_offsets_of_two_classes(tmp_path: Path) -> None:
    data = made(2)
    rng = np.random.default_rng(0)
    exposure = rng.normal(size=data.rows)
    table = np.column_stack([data.X, exposure, data.y])
    path = tmp_path / "table.csv"
    np.savetxt(path, table, delimiter=",", header="p,q,r,s,exposure,label", comments="")
    parts = ol.load(path, offsets="exposure", log=lambda line: None)
    assert parts.train.feature_names == ("p", "q", "r", "s")
    assert parts.train.offsets is not None
    each = (part.offsets for part in (parts.train, parts.validation, parts.test))
    whole = np.concatenate([offsets[:, 1] for offsets in each if offsets is not None])
    np.testing.assert_allclose(np.sort(whole), np.sort(exposure), rtol=1e-6)
    assert not parts.train.offsets[:, 0].any()


def test_rows_without_the_offsets_of_a_model_are_told_of() -> None:
    data, lines = made(), list[str]()
    model = ol.solve(data, l2=0.1)
    bare = model.predict_proba(data.X, log=lines.append)
    assert lines == [
        "the model was fitted with offsets, and these rows have none: they count as 0."
    ]
    np.testing.assert_allclose(bare, model.predict_proba(replace(data, offsets=None)))


def test_a_path_goes_on_with_its_own_offsets_alone(tmp_path: Path) -> None:
    data = made(2)
    assert data.offsets is not None
    parts = ol.split(data.X, data.y, offsets=data.offsets)
    ol.solve_path(parts, l2=3, checkpoint=ol.Checkpoint(tmp_path / "c"))
    train = replace(parts.train, offsets=-parts.train.offsets)
    again = ol.Checkpoint(tmp_path / "c", resume=True)
    with pytest.raises(SaveError, match="offsets of the training rows"):
        ol.solve_path(replace(parts, train=train), l2=3, checkpoint=again)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        (np.ones((300, 2)), r"numbers for each row and class, of shape \(300, 3\), but they are"),
        (np.ones(300), r"numbers for each row and class, of shape \(300, 3\), but they are"),
        (np.full((300, 3), np.nan), "offsets must be finite, but row 0 has NaN or infinity"),
        (np.full((300, 3), "x"), "offsets must be numbers for each row and class"),
    ],
)
def test_wrong_offsets_are_refused(offsets: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(made(), offsets=offsets)


def test_parts_with_and_without_offsets_and_rows_of_many_labels_are_refused() -> None:
    data = made(2)
    parts = ol.split(data.X, data.y, offsets=data.offsets)
    with pytest.raises(DataError, match="training and test rows must both have offsets, or none"):
        replace(parts, test=replace(parts.test, offsets=None))
    with pytest.raises(DataError, match="offsets are for rows of one class"):
        Dataset(data.X, np.eye(2, dtype=int)[data.y], ("a", "b"), offsets=data.offsets)


@pytest.mark.parametrize(
    ("use", "what"),
    [
        (lambda parts: ol.train(parts, ol.Run(0.1)), "mini-batch training"),
        (lambda parts: ol.suggest_learning_rate(parts), "mini-batch training"),
        (lambda parts: ol.solve(parts, l2=0.1).calibrate(parts), "calibration"),
        (lambda parts: ol.check_gradient(parts), "check_gradient"),
        (lambda parts: ol.fit_best_linear(parts), "fit_best_linear"),
    ],
)
def test_what_does_not_take_offsets_says_so(use: Callable[[Any], Any], what: str) -> None:
    data = made(2)
    parts = ol.split(data.X, data.y, offsets=data.offsets)
    with pytest.raises(DataError, match=f"have offsets, which {what} does not take; solve does"):
        use(parts)
