"""The λ path with folds: each fold's models are those that fitting it alone gives."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import get_scorer, make_scorer, matthews_corrcoef
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, cross_val_score
from sklearn.preprocessing import StandardScaler

from onelayer.sklearn import SoftmaxClassifier, SoftmaxClassifierCV

L2S = [1.0, 0.1, 0.01, 0.001]


@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
def test_each_score_is_that_of_a_model_of_the_fold_alone(load: object) -> None:
    X, y = load(return_X_y=True)  # type: ignore[operator]
    X = StandardScaler().fit_transform(X)
    path = SoftmaxClassifierCV(L2S[::-1], cv=3, tol=1e-10).fit(X, y)
    assert path.l2s_.tolist() == L2S
    for i, l2 in enumerate(L2S):
        for fold, (kept, held_out) in enumerate(StratifiedKFold(3).split(X, y)):
            alone = SoftmaxClassifier(l2, tol=1e-10).fit(X[kept], y[kept])
            p = alone.predict_proba(X[held_out])[np.arange(len(held_out)), y[held_out]]
            assert path.loss_path_[i, fold] == pytest.approx(-np.log(p).mean(), rel=1e-4)
            accuracy = alone.score(X[held_out], y[held_out])
            assert path.accuracy_path_[i, fold] == pytest.approx(accuracy)
    chosen = SoftmaxClassifier(path.l2_, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(path.coef_, chosen.coef_, rtol=1e-3, atol=1e-5)
    assert path.l2_ == L2S[int(path.accuracy_path_.mean(axis=1).argmax())]
    assert path.gap_ == path.gap_path_[L2S.index(path.l2_)]


def test_groups_are_kept_together_in_the_folds() -> None:
    X, y = load_iris(return_X_y=True)
    groups = np.arange(150) % 7
    splits = list(GroupKFold(3).split(X, y, groups))
    named = SoftmaxClassifierCV(L2S, cv=splits).fit(X, y)
    found = SoftmaxClassifierCV(L2S, cv=GroupKFold(3)).fit(X, y, groups=groups)
    np.testing.assert_array_equal(found.loss_path_, named.loss_path_)


def test_it_chooses_what_logistic_regression_cv_chooses_by_loss() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    folds = StratifiedKFold(5)
    ours = SoftmaxClassifierCV(L2S, cv=folds, scoring="neg_log_loss").fit(X, y)
    kept = len(X) * 0.8
    theirs = LogisticRegressionCV(
        Cs=[1.0 / (2.0 * l2 * kept) for l2 in L2S], cv=folds, scoring="neg_log_loss",
        l1_ratios=(0.0,), use_legacy_attributes=False,
    ).fit(X, y)  # fmt: skip
    assert 1.0 / (2.0 * theirs.C_ * kept) == pytest.approx(ours.l2_)


def test_one_standard_error_chooses_no_smaller_a_penalty() -> None:
    X, y = load_iris(return_X_y=True)
    best = SoftmaxClassifierCV(L2S, cv=KFold(5, shuffle=True, random_state=0)).fit(X, y)
    simple = SoftmaxClassifierCV(
        L2S, cv=KFold(5, shuffle=True, random_state=0), rule="one-standard-error"
    ).fit(X, y)
    assert simple.l2_ >= best.l2_
    assert best.accuracy_path_.shape == (4, 5)


@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
def test_a_number_of_values_takes_them_from_the_data(load: object) -> None:
    X, y = load(return_X_y=True)  # type: ignore[operator]
    small, large = (SoftmaxClassifierCV(9, cv=3, scaling="none").fit(f * X, y) for f in (0.1, 1))
    np.testing.assert_allclose(large.l2s_, 100 * small.l2s_, rtol=1e-2)
    np.testing.assert_allclose(large.l2s_[1:] / large.l2s_[:-1], 10**-0.5)
    assert large.l2_ > large.l2s_[-1]
    nothing = SoftmaxClassifier(large.l2s_[0]).fit(X, y).predict_proba(X)
    shares = np.bincount(y) / len(y)
    assert np.log(nothing[np.arange(len(y)), y]).mean() < 0.95 * float(shares @ np.log(shares))


def test_a_fold_without_weight_is_refused() -> None:
    X, y = load_iris(return_X_y=True)
    weights = np.ones(150)
    weights[:50] = 0.0
    with pytest.raises(ValueError, match="fold 0 has 100 and 0"):
        SoftmaxClassifierCV(2, cv=KFold(3)).fit(X, y, sample_weight=weights)


def test_a_path_that_ran_out_of_passes_says_so() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="max_passes"):
        SoftmaxClassifierCV(2, cv=2, max_passes=1, tol=1e-12).fit(X, y)


@pytest.mark.parametrize("scoring", ["f1_macro", "roc_auc_ovr", "neg_brier_score"])
def test_l2_is_chosen_by_scikit_learns_scores(scoring: str) -> None:
    X, y = load_iris(return_X_y=True)
    folds = StratifiedKFold(3)
    ours = SoftmaxClassifierCV([1.0, 0.01, 0.0001], cv=folds, scoring=scoring).fit(X, y)
    sign = -1.0 if scoring.startswith("neg_") else 1.0
    for l2, found in zip(ours.l2s_, ours.score_path_, strict=True):
        theirs = cross_val_score(SoftmaxClassifier(l2=l2), X, y, cv=folds, scoring=scoring)
        np.testing.assert_allclose(found, sign * theirs, atol=2e-3)
    assert ours.l2_ == ours.l2s_[np.argmax(sign * ours.score_path_.mean(axis=1))]


@pytest.mark.parametrize(
    ("load", "scoring"),
    [
        (load_iris, "accuracy"),
        (load_iris, "neg_log_loss"),
        (load_iris, "roc_auc_ovr"),
        (load_breast_cancer, "roc_auc"),
        (load_breast_cancer, "neg_brier_score"),
        (load_breast_cancer, "f1_macro"),
    ],
)
def test_its_score_is_the_metric_that_was_asked_for(load: object, scoring: str) -> None:
    X, y = load(return_X_y=True)  # type: ignore[operator]
    X = StandardScaler().fit_transform(X)
    model = SoftmaxClassifierCV([1.0, 0.1], cv=3, scoring=scoring).fit(X[::2], y[::2])
    chosen = SoftmaxClassifier(model.l2_).fit(X[::2], y[::2])
    w = np.linspace(0.0, 2.0, len(y))
    for options in ({}, {"sample_weight": w}):
        expected = get_scorer(scoring)(chosen, X, y, **options)
        assert model.score(X, y, **options) == pytest.approx(expected, rel=1e-4)
    model.set_params(scoring="log_loss")  # larger is better, as of neg_log_loss
    assert model.score(X, y) == pytest.approx(get_scorer("neg_log_loss")(chosen, X, y), rel=1e-3)


def test_a_score_of_other_labels_is_refused_but_for_accuracy() -> None:
    X, y = load_iris(return_X_y=True)
    model = SoftmaxClassifierCV([0.1], cv=3).fit(X, y)
    assert model.score(X, np.where(y == 0, 7, y)) < 0.7
    model.set_params(scoring="f1_macro")
    with pytest.raises(ValueError, match="the model has no class 7"):
        model.score(X, np.where(y == 0, 7, y))


@pytest.mark.parametrize("scoring", ["f1", "jaccard", make_scorer(matthews_corrcoef)])
def test_scorers_that_it_lacks_are_those_of_logistic_regression_cv(scoring: object) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    with pytest.raises(ValueError, match=r"sklearn\.LogisticRegressionCV takes") as caught:
        SoftmaxClassifierCV([0.1], scoring=scoring).fit(X, y)  # type: ignore[arg-type]
    assert "f1_macro" in str(caught.value)
    assert "hamming_loss" not in str(caught.value)  # of many labels a row


def test_a_fold_without_a_class_is_one_sentence() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="fold 0 have none of '1'"):
        SoftmaxClassifierCV([1.0], cv=KFold(3), scoring="roc_auc_ovr").fit(X, y)
