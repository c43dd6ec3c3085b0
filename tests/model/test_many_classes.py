"""Many classes: memory holds what is returned, and no scores of all rows beside it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from onelayer.data import Dataset
from onelayer.model.evaluation import MATRIX_CLASSES, Evaluation
from onelayer.model.model import Model
from onelayer.sklearn.classifier import SoftmaxClassifier
from tests.peak_memory import peak_growth

N, D, K = 4000, 3, 2000
RNG = np.random.default_rng(0)
X, Y, W = RNG.normal(size=(N, D)), RNG.integers(0, K, N), RNG.normal(size=(K, D))
SCORES = 8 * N * K


@pytest.fixture(scope="module")
def model() -> Model:
    made = Model(W, np.zeros(K))
    made.predict(X[:100])
    return made


@pytest.fixture(scope="module")
def estimator(model: Model) -> SoftmaxClassifier:
    return SoftmaxClassifier.from_model(model)


def test_memory_that_was_freed_before_counts_again() -> None:
    """The process is warm: a peak that need not rise would let every bound below hold."""

    def small_blocks() -> list[NDArray[np.float64]]:
        return [np.ones(1 << 12) for _ in range(SCORES >> 15)]

    kept = small_blocks()[-1]  # keeps what was freed in the heap
    assert peak_growth(small_blocks) > 0.9 * SCORES
    assert peak_growth(lambda: X.astype(np.float32) @ W.T.astype(np.float32)) > 0.45 * SCORES
    assert kept.all()


def test_classes_and_figures_of_rows_take_no_scores_of_all_rows(
    model: Model, estimator: SoftmaxClassifier
) -> None:
    rows = Dataset(X, Y, model.class_names)
    for call in (
        lambda: model.predict(X), lambda: estimator.predict(X), lambda: model.evaluate(rows),
    ):  # fmt: skip
        assert peak_growth(call) < SCORES / 4


def test_probabilities_take_their_own_memory_alone(
    model: Model, estimator: SoftmaxClassifier
) -> None:
    for call in (lambda: model.predict_proba(X), lambda: estimator.predict_proba(X)):
        assert peak_growth(call) < 1.25 * SCORES


def test_all_give_the_classes_of_the_largest_scores(
    model: Model, estimator: SoftmaxClassifier
) -> None:
    best = (X @ W.T).argmax(axis=1)
    np.testing.assert_array_equal(model.predict(X), best)
    np.testing.assert_array_equal(estimator.predict(X), best)
    np.testing.assert_array_equal(model.predict_proba(X).argmax(axis=1), best)


def test_an_evaluation_counts_pairs_of_classes_and_no_matrix_of_them(model: Model) -> None:
    evaluated = model.evaluate(Dataset(X, Y, model.class_names))
    best = (X @ W.T).argmax(axis=1)
    assert evaluated.rows == evaluated.pairs[:, 2].sum() == N
    assert evaluated.correct == (best == Y).sum()
    np.testing.assert_array_equal(evaluated.support, np.bincount(Y, minlength=K))
    np.testing.assert_array_equal(evaluated.confusion.sum(axis=0), np.bincount(best, minlength=K))
    assert K > MATRIX_CLASSES
    told = json.loads(json.dumps(evaluated.as_dict()))
    assert told["pairs"] == evaluated.pairs.tolist()
    assert "confusion" not in told


def test_figures_of_fifty_thousand_classes_need_no_matrix(model: Model) -> None:
    many = 50_000
    pairs = np.array([[0, 0, 3], [7, many - 1, 1], [many - 1, many - 1, 4]])
    names = tuple(map(str, range(many)))
    curve = model.evaluate(Dataset(X[:9], Y[:9], model.class_names)).reliability
    evaluated = Evaluation(names, pairs, 1.0, None, curve)
    assert peak_growth(lambda: (evaluated.accuracy, evaluated.f1, evaluated.omissions)) < 1 << 26
    assert evaluated.accuracy == 7 / 8
    assert evaluated.precision[many - 1] == 4 / 5
    assert evaluated.recall[7] == 0
