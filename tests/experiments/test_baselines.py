"""What is known without a probe: neighbours, class means, the majority class, as scikit-learn's."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

import onelayer as ol
from onelayer.data import Dataset
from onelayer.data.rows import rows_of
from onelayer.engines import ENGINE_NAMES, make_engine
from onelayer.experiments import baselines
from onelayer.experiments.baselines import (
    majority_scores,
    mean_scores,
    measure_baselines,
    nearest_rows,
    vote_scores,
)
from onelayer.model.metrics import metric_of
from onelayer.model.scored_rows import scored_rows
from onelayer.solver.selection import score, score_of

every_engine = pytest.mark.parametrize("engine_name", ENGINE_NAMES)


def made(seed: int, rows: int, K: int = 3, D: int = 6, dtype: str = "float64") -> Dataset:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, K, rows)
    y[:K] = np.arange(K)
    X = np.random.default_rng(99).normal(size=(K, D))[y] + rng.normal(size=(rows, D))
    X = 20 * X + 100 if dtype == "uint8" else X
    return Dataset(np.clip(X, 0, 255).astype(dtype) if dtype == "uint8" else X.astype(dtype), y,
                   tuple(map(str, range(K))))  # fmt: skip


def neighbours_of(train: Dataset, count: int) -> KNeighborsClassifier:
    model = KNeighborsClassifier(count, metric="cosine", algorithm="brute")
    return model.fit(train.X.astype(np.float64), train.y)


@every_engine
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_neighbours_are_scikit_learns_by_cosine(engine_name: str, dtype: str) -> None:
    train, rows = made(0, 700, dtype=dtype), made(1, 50, dtype=dtype)
    found = nearest_rows(make_engine(engine_name), train, rows, 20)
    expected = neighbours_of(train, 20).kneighbors(rows.X.astype(np.float64))[0]
    X, Q = (of.X.astype(np.float64) for of in (train, rows))
    lengths = [np.linalg.norm(of, axis=1) for of in (X, Q)]
    cosines = np.einsum("nd,nkd->nk", Q, X[found]) / (lengths[1][:, None] * lengths[0][found])
    np.testing.assert_allclose(1.0 - cosines, expected, atol=1e-6)
    assert all(len(set(of)) == 20 for of in found.tolist())


@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_predictions_are_scikit_learns(seed: int, K: int) -> None:
    train, rows, engine = made(seed, 300, K), made(seed + 100, 80, K), make_engine()
    names = dict(zip((5, 20), vote_scores(engine, train, rows, (5, 20)), strict=True))
    for k, S in names.items():
        theirs = neighbours_of(train, k)
        np.testing.assert_array_equal(S.argmax(axis=1), theirs.predict(rows.X))
        if K == 2:
            auc = roc_auc_score(rows.y, theirs.predict_proba(rows.X)[:, 1])
            assert metric_of("roc_auc").value(scored_rows(rows.y, S)) == pytest.approx(auc, 1e-12)
    means = mean_scores(engine, train, rows)
    theirs = NearestCentroid().fit(train.X, train.y)
    np.testing.assert_array_equal(means.argmax(axis=1), theirs.predict(rows.X))
    dummy = DummyClassifier(strategy="prior").fit(train.X, train.y)
    majority = majority_scores(train, rows.rows)
    np.testing.assert_array_equal(majority.argmax(axis=1), dummy.predict(rows.X))
    np.testing.assert_allclose(np.exp(majority), dummy.predict_proba(rows.X), rtol=1e-12)


def test_the_direction_between_two_class_means_is_their_difference() -> None:
    train, rows = made(0, 200, 2), made(1, 50, 2)
    S = mean_scores(make_engine(), train, rows)
    direction = train.X[train.y == 1].mean(axis=0) - train.X[train.y == 0].mean(axis=0)
    along = rows.X.astype(float) @ direction.astype(float)
    assert np.corrcoef(S[:, 1] - S[:, 0], along)[0, 1] == pytest.approx(1.0, abs=1e-12)


@every_engine
def test_of_equal_angles_the_earlier_row_counts(engine_name: str) -> None:
    train = made(0, 200)
    several = train.take(np.tile(np.arange(200), 4))
    found = nearest_rows(make_engine(engine_name), several, made(1, 30), 20)
    of_one = nearest_rows(make_engine(engine_name), train, made(1, 30), 5)
    for of_row, alone in zip(found.tolist(), of_one.tolist(), strict=True):
        assert of_row == [row + 200 * copy for row in alone for copy in range(4)]


def test_tiles_of_any_size_find_the_same_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    train, rows = made(0, 300), made(1, 40)
    expected = nearest_rows(make_engine(), train, rows, 20)
    for tile, others in ((7, 300), (40, 1), (3, 19), (1000, 1000)):
        monkeypatch.setattr(baselines, "TILE_ROWS", tile)
        monkeypatch.setattr(baselines, "TILE_NEIGHBOURS", others)
        np.testing.assert_array_equal(nearest_rows(make_engine(), train, rows, 20), expected)


def test_rows_sorted_by_class_or_of_any_length_have_the_same_neighbours() -> None:
    train, rows = made(0, 1000), made(1, 30)
    order = np.argsort(train.y, kind="stable")
    found = nearest_rows(make_engine(), train.take(order), rows, 20)
    expected = nearest_rows(make_engine(), train, rows, 20)
    np.testing.assert_array_equal(order[found], expected)
    for size in (2.0**-300, 2.0**300):
        few, many = (replace(of, X=size * of.X.astype(float)) for of in (rows, train))
        np.testing.assert_array_equal(nearest_rows(make_engine(), many, few, 20), expected)


def test_fewer_training_rows_than_neighbours_all_vote() -> None:
    train, rows = made(0, 12), made(1, 10)
    found = nearest_rows(make_engine(), train, rows, 20)
    assert found.shape == (10, 12)
    (S,) = vote_scores(make_engine(), train, rows, (20,))
    votes = np.bincount(train.y, minlength=3)
    np.testing.assert_allclose(np.exp(S), np.tile((votes + 1 / 3) / 13, (10, 1)), rtol=1e-12)


def test_rows_of_zeros_and_constant_features_are_no_trouble() -> None:
    train = made(0, 60)
    X = train.X.astype(float)
    X[::7] = 0.0
    X[:, 2] = 5.0 * (X[:, 2] > 99)
    train = replace(train, X=X)
    rows = replace(made(1, 20), X=np.zeros((20, 6)))
    for found in measure_baselines(
        ol.Splits(train, rows, rows, "x", "x"), "log_loss", make_engine()
    ):
        assert np.isfinite([found.test.loss, found.test.accuracy]).all()
    same = replace(train, X=np.ones((60, 6)))
    for found in measure_baselines(
        ol.Splits(same, rows, rows, "x", "x"), "log_loss", make_engine()
    ):
        assert np.isfinite([found.test.loss, found.test.accuracy]).all()


def test_a_class_without_training_rows_is_never_predicted() -> None:
    rows = made(1, 40)
    train = (whole := made(0, 100)).take(whole.y != 1)
    for S in (
        mean_scores(make_engine(), train, rows),
        majority_scores(train, 40),
        *vote_scores(make_engine(), train, rows, (5,)),
    ):
        assert np.isfinite(S).all()
        assert (S.argmax(axis=1) != 1).all()


def test_a_whole_weight_repeats_a_training_row_and_0_leaves_it_out() -> None:
    train, rows = made(0, 100), made(1, 30)
    weights = np.random.default_rng(0).integers(0, 3, 100)
    weights[:3] = 1
    weighted: Any = replace(train, weights=weights.astype(float))
    often = train.take(np.repeat(np.arange(100), weights))
    engine = make_engine()
    np.testing.assert_allclose(
        mean_scores(engine, weighted, rows), mean_scores(engine, often, rows), rtol=1e-9
    )
    np.testing.assert_allclose(majority_scores(weighted, 2), majority_scores(often, 2), rtol=1e-12)
    left_out: Any = train.take(np.flatnonzero(weights))
    left_out = replace(left_out, weights=weights[weights > 0].astype(float))
    found, expected = (
        measure_baselines(ol.Splits(of, rows, rows, "x", "x"), "accuracy", engine)
        for of in (weighted, left_out)
    )
    assert found == expected


@pytest.mark.parametrize("weights", [None, np.random.default_rng(3).integers(0, 4, 80) + 0.5])
def test_scores_at_hand_are_scored_as_heads_are(weights: NDArray[Any] | None) -> None:
    data = replace(made(0, 80), weights=weights)
    model = ol.solve(data, 0.01)
    engine, rows = make_engine(), rows_of(data, model.scaling)
    (expected,) = score(engine, rows, [(model.W.astype(float), model.b)])
    found = score_of(scored_rows(data.y, model.scores(data.X), data.weights))
    for name in ("loss", "loss_error", "accuracy", "accuracy_error"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9)
    assert (found.rows, found.effective_rows) == (expected.rows, expected.effective_rows)
    assert found.interval == pytest.approx(expected.interval)


def test_neighbours_take_memory_for_a_tile_and_not_for_all_pairs() -> None:
    train, rows = made(0, 20_000, D=2, dtype="float32"), made(1, 5000, D=2, dtype="float32")
    engine = make_engine()
    nearest_rows(engine, train, rows.take(slice(0, 10)), 20)
    tracemalloc.start()
    nearest_rows(engine, train, rows, 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5000 * 20_000 * 4 / 4


@pytest.mark.usefixtures("blank_pages")
def test_a_probe_has_neighbours_in_its_table_and_record(tmp_path: Any) -> None:
    data = made(0, 200)
    sets = {"one": data.X, "two": data.X[:, :2]}
    how: dict[str, Any] = {"l2": [0.1, 0.01], "log": lambda line: None}
    suite = ol.probe(sets, data.y, baselines=True, **how)
    assert [one.name for one in suite.best.baselines] == [
        "majority class", "class means", "5 nearest", "20 nearest",
    ]  # fmt: skip
    splits = ol.split(data.X, data.y)
    expected = measure_baselines(splits, "accuracy", make_engine())
    assert suite["one"].baselines == expected
    assert "without a probe: majority class" in " ".join(suite.verdict)
    plain = ol.probe(sets, data.y, **how)
    assert plain.best.baselines == ()
    np.testing.assert_array_equal(plain["one"].model.W, suite["one"].model.W)
    suite.save(tmp_path / "suite")
    assert ol.Suite.load(tmp_path / "suite")["two"].baselines == suite["two"].baselines
    for options in ({"scoring": "f1_macro", "folds": 3}, {"groups": np.arange(200) // 4}):
        judged = ol.probe(sets, data.y, baselines=True, **how, **options).best
        asked = [(one.metric, one.method) for one in judged.test_metrics]
        assert asked
        for one in judged.baselines:
            assert [(of.metric, of.method) for of in one.test_metrics] == asked


def test_heads_without_baselines_are_not_taken_for_heads_with_them(tmp_path: Any) -> None:
    data = made(0, 120)
    checkpoint = ol.Checkpoint(tmp_path / "run", every=0, resume=True)
    how: dict[str, Any] = {"l2": [0.1], "log": lambda line: None, "checkpoint": checkpoint}
    ol.probe({"one": data.X}, data.y, **how)
    with pytest.raises(ol.SaveError, match="the baselines was not set and is True"):
        ol.probe({"one": data.X}, data.y, baselines=True, **how)
