"""Intervals: seeded, of whole groups, and of the coverage that they claim."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from onelayer import SettingsError
from onelayer.model.intervals import (
    Float64,
    bootstrap,
    standard_error,
    student_p,
    student_quantile,
)
from onelayer.model.metrics import measure, metric_of, metrics_of
from onelayer.model.scored_rows import scored_rows
from tests.model.coverage import coverage, draw


@pytest.mark.slow
def test_intervals_cover_what_they_claim() -> None:
    found = coverage(["roc_auc", "f1_macro"], classes=2, rows=100, sets=120, resamples=200)
    for name, covered in found.items():
        assert 0.88 < covered < 0.99, name


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    rows = scored_rows(*draw(np.random.default_rng(0), 60, 3))
    first, again, other = (
        measure(metrics_of("f1_macro"), rows, seed=seed, resamples=200)[0] for seed in (0, 0, 1)
    )
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)


def test_resamples_keep_the_rows_of_each_class() -> None:
    y = np.array([0, 1, 0, 1, 1, 2])
    sums = [lambda w, k=k: (w * (y == k)[:, None]).sum(axis=0) for k in range(3)]
    for k, of_class in enumerate(bootstrap(sums, y, resamples=150)):
        assert (of_class.values == np.count_nonzero(y == k)).all()


def test_groups_are_drawn_whole() -> None:
    groups = np.array(["a", "b", "a", "c", "b", "a"])

    def apart(w: Float64) -> Float64:
        parts = (w[groups == g] for g in "abc")
        return np.asarray(np.sum([abs(part - part[0]).sum(axis=0) for part in parts], axis=0))

    (found,) = bootstrap([apart], np.zeros(6, int), groups=groups, resamples=150)
    assert (found.values == 0.0).all()
    with pytest.raises(SettingsError, match="two or more"):
        bootstrap([apart], np.zeros(6, int), groups=["a"] * 6)


def test_intervals_of_groups_are_wider_where_their_rows_agree() -> None:
    y, S = draw(np.random.default_rng(0), 60, 2)
    rows = scored_rows(np.repeat(y, 5), np.repeat(S, 5, axis=0))
    groups = np.repeat(np.arange(len(y)), 5)
    each, whole = (
        measure(metrics_of("log_loss"), rows, groups=g, resamples=300)[0] for g in (None, groups)
    )
    assert whole.high - whole.low > 1.8 * (each.high - each.low)


def test_the_error_of_a_mean_is_that_of_its_rows() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=4000), np.zeros(4000, int)
    error = standard_error(lambda w: (x @ w) / w.sum(axis=0), y)
    assert error == pytest.approx(x.std() / np.sqrt(4000), rel=0.25)


def test_a_perfect_ranking_has_a_figure_and_an_interval_of_no_width() -> None:
    rows = scored_rows([0, 1] * 20, [[1.0, 0.0], [0.0, 1.0]] * 20)
    (found,) = measure([metric_of("roc_auc")], rows, resamples=100)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_an_undefined_figure_has_no_interval() -> None:
    rows = scored_rows([1, 1], [[1.0, 0.0], [0.0, 1.0]])
    (found,) = measure([metric_of("roc_auc")], rows, resamples=100)
    assert np.isnan([found.value, found.low, found.high]).all()


@pytest.mark.parametrize(("resamples", "seed"), [(99, 0), (2000, -1), (2000, 0.5)])
def test_too_few_resamples_and_wrong_seeds_are_refused(resamples: int, seed: int) -> None:
    with pytest.raises(SettingsError):
        bootstrap([], np.zeros(3, int), resamples=resamples, seed=seed)


@pytest.mark.parametrize("freedom", [1, 2, 5, 11, 29, 1000])
def test_p_and_quantiles_of_students_t_are_scipys(freedom: int) -> None:
    for t in (0.0, 0.01, -0.7, 1.0, 2.2, 22.84, -1e4):
        expected = 2.0 * stats.t.sf(abs(t), freedom)
        assert student_p(t, freedom) == pytest.approx(expected, rel=1e-10, abs=1e-290)
    for level in (0.5, 0.9, 0.95, 0.9999):
        expected = stats.t.ppf((1.0 + level) / 2.0, freedom)
        assert student_quantile(level, freedom) == pytest.approx(expected, rel=1e-10)
    assert np.isnan(student_p(np.nan, freedom))
