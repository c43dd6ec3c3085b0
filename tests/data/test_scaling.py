"""Scaling is an affine map fitted on training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onelayer.data import scaling
from onelayer.data.scaling import (
    fit_scaling,
    note_other_range,
    resolve_scaling,
    warn_of_lost_digits,
)
from onelayer.errors import SettingsError
from tests.data.streaming.counted_rows import CountedRows, even


def test_unit_scaling_divides_bytes_by_255_and_nothing_else() -> None:
    X = np.arange(256, dtype=np.uint8).reshape(-1, 2)
    np.testing.assert_array_equal(fit_scaling("unit", X, 255.0).apply(X), X * (1 / 255.0))


def test_no_scaling_leaves_the_stored_values() -> None:
    X = np.array([[3, 200]], np.uint8)
    np.testing.assert_array_equal(fit_scaling("none", X, 255.0).apply(X), [[3.0, 200.0]])


@pytest.mark.parametrize("rows", [2, 5, 1024, 1025, 3000])
def test_standardised_training_rows_have_mean_0_and_deviation_1(rows: int) -> None:
    X = np.random.default_rng(rows).integers(0, 256, (rows, 4)).astype(np.uint8)
    X[:, 3] = 7
    scaled = fit_scaling("standardize", X).apply(X)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=0), [1, 1, 1, 0], atol=1e-12)


@pytest.mark.parametrize("value", [14.62, 0.1, -1e8 - 0.1, 1e-200])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_feature_that_is_constant_up_to_rounding_is_only_centred(
    value: float, weighted: bool
) -> None:
    rng = np.random.default_rng(0)
    X = np.full((1000, 3), value)
    X[:, 1] = np.nextafter(value, rng.choice([-np.inf, np.inf], 1000))
    X[:, 2] = rng.normal(size=1000)
    weights = rng.integers(1, 4, 1000).astype(float) if weighted else None
    if weights is not None:
        X[5, :2], weights[5] = 3.0, 0.0  # a row that does not count
    fitted = fit_scaling("standardize", X, weights=weights)
    np.testing.assert_array_equal(fitted.scale[:2], 1.0)
    other = fitted.apply(X + 0.01)[10]
    np.testing.assert_allclose(other[:2], 0.01, rtol=1e-5)


def test_a_small_deviation_of_large_values_is_no_rounding() -> None:
    X = np.full((1000, 1), 1.7e9)
    X[3] += 0.01
    assert fit_scaling("standardize", X).scale[0] == pytest.approx(1.0 / X.std(), rel=1e-6)


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e-20, 1e20, 1e160, 1e307])
def test_statistics_of_numbers_of_any_size_neither_overflow_nor_vanish(size: float) -> None:
    X = np.random.default_rng(0).normal(size=(300, 2))
    one, other = fit_scaling("standardize", X), fit_scaling("standardize", size * X)
    np.testing.assert_allclose(other.apply(size * X), one.apply(X), rtol=0, atol=1e-14)


def test_statistics_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).normal(1e3, 1, (50, 3))
    whole = fit_scaling("standardize", X)
    monkeypatch.setattr(scaling, "BLOCK_ROWS", 7)
    np.testing.assert_allclose(fit_scaling("standardize", X).scale, whole.scale, rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_the_range_is_that_of_the_values_whatever_their_signs(dtype: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)) * 10.0 ** rng.integers(-7, 3, (300, 4))
    X[:, 1], X[:, 2], X[5, 3] = np.abs(X[:, 1]), -np.abs(X[:, 2]), np.inf
    X = X.astype(dtype) if dtype != "uint8" else rng.integers(0, 256, X.shape, np.uint8)
    span = scaling._Span(4)
    span.add(X, None)
    np.testing.assert_array_equal(span.low, X.min(axis=0))
    np.testing.assert_array_equal(span.high, X.max(axis=0))


def test_the_range_of_rows_in_files_is_that_of_all_of_them() -> None:
    X = np.repeat(np.linspace(-1.0, 3.0, 300_000), 4).reshape(-1, 4)
    stored: Any = CountedRows(X, even(len(X), 1000))
    found = fit_scaling("none", stored)
    assert stored.read_rows < len(X) / 10
    np.testing.assert_array_equal([found.low, found.high], [[-1.0] * 4, [3.0] * 4])


def test_float32_scaling_agrees_with_float64_to_its_rounding() -> None:
    X = np.random.default_rng(0).integers(0, 256, (20, 5)).astype(np.uint8)
    fitted = fit_scaling("standardize", X)
    largest = np.abs(fitted.offset).max() + np.abs(fitted.scale).max() * 255
    single = fitted.apply(X, np.float32)
    assert single.dtype == np.float32
    np.testing.assert_allclose(
        single, fitted.apply(X), rtol=0, atol=4 * np.finfo(np.float32).eps * largest
    )


@pytest.mark.parametrize("name", ["none", "unit"])
@pytest.mark.parametrize("size", [1e-300, 1e-20, 1e20, 1e300])
def test_unscaled_features_of_extreme_size_are_refused_in_one_sentence(
    name: str, size: float
) -> None:
    X = size * np.random.default_rng(0).uniform(-2.0, 2.0, (5000, 3))
    with pytest.raises(
        SettingsError, match=r"the largest feature is [0-9e.+-]* \(feature [0-2]\), too far from 1"
    ):
        fit_scaling(name, X)
    fit_scaling(name, np.zeros((4, 3)))


def test_one_huge_value_is_refused_whatever_row_holds_it_and_whatever_the_row_weighs() -> None:
    X, weights = np.ones((5000, 3), np.float32), np.ones(5000)
    X[4321, 1], weights[4321] = 1e17, 0.0  # its scores would be no numbers, and 0 times them
    for given in (None, weights):
        with pytest.raises(SettingsError, match=r"the largest feature is 1e\+17 \(feature 1\)"):
            fit_scaling("none", X, weights=given)


def test_a_feature_that_an_outlier_flattens_is_told() -> None:
    X = np.random.default_rng(0).normal(size=(5000, 3))
    X[1, 2] = 1e18
    with pytest.warns(UserWarning, match=r"1 feature, such as c \(.*; look for outliers in it"):
        warn_of_lost_digits(fit_scaling("standardize", X), X, ("a", "b", "c"))


@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e-40), ("float64", 1e-310)])
def test_a_feature_of_subnormal_numbers_is_refused_by_name(dtype: str, size: float) -> None:
    X = np.random.default_rng(0).normal(size=(50, 3))
    X[:, 1] *= size
    with pytest.raises(SettingsError, match=f"feature 1 varies by .*, less than {dtype} can hold"):
        fit_scaling("standardize", X.astype(dtype))


def test_an_unknown_scaling_is_refused_with_the_choices() -> None:
    with pytest.raises(SettingsError, match="none, unit, standardize, but 'max' was given"):
        fit_scaling("max", np.zeros((1, 1)))


@pytest.mark.parametrize(
    ("dtype", "max_value", "name"),
    [
        ("uint8", 255.0, "unit"),
        ("uint8", 1.0, "unit"),
        ("float32", 16.0, "unit"),
        ("float32", 1.0, "standardize"),
        ("float16", 1.0, "standardize"),
    ],
)
def test_auto_is_unit_where_the_range_is_known_and_standardize_elsewhere(
    dtype: str, max_value: float, name: str
) -> None:
    X = np.array([[1, 2], [3, 5]], dtype)
    assert resolve_scaling("auto", X, max_value) == name
    fitted, expected = fit_scaling("auto", X, max_value), fit_scaling(name, X, max_value)
    assert fitted.name == name
    np.testing.assert_array_equal(fitted.scale, expected.scale)
    np.testing.assert_array_equal(fitted.offset, expected.offset)


def test_a_float32_feature_that_only_rounding_moves_counts_as_constant_and_is_told() -> None:
    X = np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    X[:, 1] = np.linalg.norm(X, axis=1)  # 1, but for rounding
    X[:, 1] = np.where(np.arange(2000) % 2, np.float32(1.0), np.nextafter(np.float32(1), 2))
    with pytest.warns(
        UserWarning, match=r"1 feature of float32 differs by .*, such as 1 \(1 to 1\.0000001"
    ):
        fitted = fit_scaling("standardize", X)
    assert fitted.scale[1] == 1.0
    assert abs(fitted.apply(X + np.float32(0.01))[:, 1]).max() < 0.011
    X[0, 1] = 1.00001  # which is no rounding
    assert fit_scaling("standardize", X).scale[1] == pytest.approx(1 / X[:, 1].std(dtype=float))


def test_few_rows_of_one_number_computed_in_several_ways_are_constant() -> None:
    X = np.full((5, 2), 14.62)
    X[:2, 0] += 20 * np.spacing(14.62)
    np.testing.assert_array_equal(fit_scaling("standardize", X).scale, 1.0)


def test_the_extremes_of_columns_spare_no_note_of_another_range(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng, notes = np.random.default_rng(0), []
    for _ in range(300):
        rows, met = (rng.normal(size=(30, 3)) * 10.0 ** rng.integers(-2, 3, 3) for _ in range(2))
        met[rng.random(met.shape) < rng.choice([0.0, 0.5, 0.97])] = 0.0
        met[0] = rng.choice([0.0, np.nan, 1e9])
        rows[:, 0] = rng.choice([0.0, rows[0, 0]])
        fitted = fit_scaling("none", rows)
        found: list[list[str]] = [[], []]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            given = fitted, met.astype(rng.choice(["float16", "float64"])), None
            note_other_range(*given, found[0].append)
            with monkeypatch.context() as patch:
                patch.setattr(scaling, "_are_in_range", lambda *_: False)
                note_other_range(*given, found[1].append)
        assert found[0] == found[1]
        notes.append(len(found[0]))
    assert 0.1 < np.mean(notes) < 0.9
