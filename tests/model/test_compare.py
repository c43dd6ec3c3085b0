"""Comparisons of models on the same rows: statsmodels' values, their level, and their sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import onelayer as ol
from onelayer.model.compare import Comparison, holm, mcnemar
from onelayer.model.intervals import bootstrap
from onelayer.model.metrics import metric_of
from onelayer.model.scored_rows import scored_rows
from tests.model.coverage import draw

DATA = ol.load("digits")
STRONG, WEAK, WEAKER = (ol.solve(DATA, l2=l2) for l2 in (0.001, 1.0, 10.0))


@pytest.mark.parametrize(
    ("b", "c", "expected"),
    [
        (1, 9, 0.021484375),
        (0, 5, 0.0625),
        (121, 59, 4.4344492637551645e-06),
        (7, 7, 1.0),
        (3, 4, 1.0),
        (20, 45, 0.0026263768106840374),
        (1000, 1100, 0.03072070786424249),
    ],
)
def test_mcnemars_exact_p_is_that_of_statsmodels_0_15(b: int, c: int, expected: float) -> None:
    assert mcnemar(b, c) == pytest.approx(expected, rel=1e-11)
    assert mcnemar(c, b) == mcnemar(b, c)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.2, 0.8, 0.5], [0.6, 1.0, 1.0]),
        ([0.001, 0.001, 0.04, 0.9, 0.02], [0.005, 0.005, 0.08, 0.9, 0.06]),
    ],
)
def test_holms_correction_is_that_of_statsmodels_0_15(
    p: Sequence[float], expected: Sequence[float]
) -> None:
    assert holm(p) == pytest.approx(expected, rel=1e-12)


def test_two_models_are_compared_on_the_same_rows() -> None:
    found = ol.compare(STRONG, WEAK, DATA, resamples=300)
    right, beside = (m.predict(DATA.test, indices=True) == DATA.test.y for m in (STRONG, WEAK))
    (one,) = found.differences
    assert (one.only_right, one.only_wrong) == (
        int((right & ~beside).sum()),
        int((beside & ~right).sum()),
    )
    assert found.difference == pytest.approx(right.mean() - beside.mean(), abs=1e-12)
    assert one.low < found.difference < one.high
    assert found.p == mcnemar(one.only_right, one.only_wrong)
    assert found.test == "McNemar's exact test"
    assert repr(found).endswith("a is better than b by more than chance explains.")


def test_a_model_differs_from_itself_by_nothing() -> None:
    for scoring in ("accuracy", "f1_macro", "neg_log_loss"):
        found = ol.compare(STRONG, STRONG, DATA, scoring=scoring, resamples=100)
        assert (found.difference, found.p) == (0.0, 1.0)
        assert "chance alone may explain this: 400 rows cannot tell the two apart" in repr(found)


def test_the_lower_loss_is_the_better_one() -> None:
    found = ol.compare(STRONG, WEAK, DATA, scoring="neg_log_loss", resamples=200)
    assert found.difference < 0.0
    assert "a is better than b" in repr(found)
    assert found.test.startswith("paired bootstrap, BCa")


def test_several_models_are_compared_with_the_best_of_them_by_holms_method() -> None:
    found = ol.compare(WEAKER, [WEAK, STRONG], DATA, names=["w2", "w1", "s"], resamples=100)
    assert found.reference == "s"
    assert [one.name for one in found.differences] == ["w2", "w1"]
    assert [one.p_holm for one in found.differences] == holm([one.p for one in found.differences])
    assert "Holm" in repr(found)


def test_models_of_other_features_are_compared_on_their_own_views_of_the_same_rows() -> None:
    halves = [
        ol.split(DATA.train.X[:, part], DATA.train.labels) for part in (slice(32), slice(32, 64))
    ]
    models = [ol.solve(half, l2=0.001) for half in halves]
    found = ol.compare(models[0], models[1], halves, resamples=100)
    for model, half, value in zip(
        models, halves, (found.differences[0].value, found.reference_value), strict=True
    ):
        assert value == pytest.approx(model.evaluate(half).accuracy, abs=1e-12)
    with pytest.raises(ol.SettingsError, match="one for each of the 2 models, but there are 1"):
        ol.compare(models[0], models[1], halves[:1])
    other = halves[1].test.take(slice(None, None, -1))
    with pytest.raises(ol.DataError, match="on the same rows, but the labels of"):
        ol.compare(models[0], models[1], [halves[0], other])


def test_classes_are_met_by_name() -> None:
    order = np.arange(10)[::-1]
    mirrored = ol.Model(
        STRONG.W[order], STRONG.b[order], STRONG.scaling, tuple(STRONG.class_names[::-1])
    )
    found = ol.compare(mirrored, STRONG, DATA.test, scoring="roc_auc_ovr", resamples=100)
    assert found.difference == pytest.approx(0.0, abs=1e-12)


def test_rows_of_groups_are_compared_by_the_bootstrap_of_groups() -> None:
    groups = np.arange(DATA.test.rows) // 4
    found = ol.compare(STRONG, WEAK, DATA, groups=groups, resamples=200)
    assert found.test == found.interval == "paired grouped bootstrap, BCa, 200 resamples, seed 0"


def test_rows_that_a_model_was_fitted_to_are_left_out() -> None:
    both = ol.Dataset(
        np.concatenate([DATA.train.X, DATA.test.X]),
        np.concatenate([DATA.train.y, DATA.test.y]),
        DATA.train.class_names,
        max_value=DATA.train.max_value,
    )
    assert ol.compare(STRONG, WEAK, both, resamples=100).rows == DATA.test.rows
    included = ol.compare(STRONG, WEAK, both, include_training_rows=True, resamples=100)
    assert included.rows == both.rows


def test_what_cannot_be_compared_is_one_sentence() -> None:
    other = ol.Model(np.eye(64)[:2], np.zeros(2), class_names=("0", "x"))
    with pytest.raises(ol.DataError, match="the same classes"):
        ol.compare(STRONG, other, DATA)
    with pytest.raises(ol.SettingsError, match="two models or more"):
        ol.compare(STRONG, [], DATA)
    with pytest.raises(ol.SettingsError, match=r"2 different names, .* but 'x', 'x' was given"):
        ol.compare(STRONG, WEAK, DATA, names=["x", "x"])
    with pytest.raises(ol.SettingsError, match="roc_auc is for two classes"):
        ol.compare(STRONG, WEAK, DATA, scoring="roc_auc")


def test_chance_alone_is_called_a_difference_as_often_as_p_says() -> None:
    low, sets = 0, 200
    metric = metric_of("roc_auc")
    for i in range(sets):
        random = np.random.default_rng(i)
        y, S = draw(random, 100, 2)
        a, b = (metric.of(scored_rows(y, S + random.normal(size=S.shape))) for _ in range(2))
        (found,) = bootstrap([lambda w, a=a, b=b: a(w) - b(w)], y, resamples=100, seed=i)  # type: ignore[misc]
        low += found.p < 0.05
    assert 0.01 <= low / sets <= 0.11


def test_a_comparison_is_a_record() -> None:
    found = ol.compare(STRONG, WEAK, DATA, resamples=100)
    assert isinstance(found, Comparison)
    assert (found.metric, found.reference, found.rows) == ("accuracy", "b", 400)
