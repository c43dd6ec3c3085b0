"""scikit-learn's own checks, every one of them, for every solver: none may fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks

from onelayer.sklearn import (
    LogisticRegression,
    LogisticRegressionCV,
    SoftmaxClassifier,
    SoftmaxClassifierCV,
)

# scikit-learn's checks warn of what they are about to try.
pytestmark = pytest.mark.filterwarnings(
    "default::sklearn.exceptions.ConvergenceWarning",
    "default::sklearn.exceptions.SkipTestWarning",
    "ignore:The least populated class:UserWarning",
)

SILENT = {"l1_ratios": (0,), "scoring": "accuracy", "use_legacy_attributes": False}

BY_OTHER_WAYS = [
    SoftmaxClassifier(scaling="standardize", class_weight="balanced"),
    SoftmaxClassifier(solver="minibatch", scaling="standardize", class_weight="balanced"),
    SoftmaxClassifierCV(l2s=3, cv=3),
    LogisticRegression(class_weight="balanced", solver="newton-cholesky"),
    LogisticRegressionCV(Cs=3, cv=3, **SILENT),
]


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [SoftmaxClassifier(), SoftmaxClassifier(solver="minibatch"), LogisticRegression()]
)
def test_scikit_learns_check(
    estimator: BaseEstimator, check: Callable[[BaseEstimator], None]
) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(BY_OTHER_WAYS)  # type: ignore[untyped-decorator]
def test_scikit_learns_check_of_other_ways(
    estimator: BaseEstimator, check: Callable[[BaseEstimator], None]
) -> None:
    check(estimator)
