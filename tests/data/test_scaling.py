"""Scaling is an affine map fitted on training rows."""

from __future__ import annotations

import numpy as np
import pytest

from onelayer.data import scaling
from onelayer.data.scaling import fit_scaling, resolve_scaling
from onelayer.errors import SettingsError


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


def test_statistics_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).normal(1e3, 1, (50, 3))
    whole = fit_scaling("standardize", X)
    monkeypatch.setattr(scaling, "BLOCK_ROWS", 7)
    np.testing.assert_allclose(fit_scaling("standardize", X).scale, whole.scale, rtol=1e-10)


def test_float32_scaling_agrees_with_float64_to_its_rounding() -> None:
    X = np.random.default_rng(0).integers(0, 256, (20, 5)).astype(np.uint8)
    fitted = fit_scaling("standardize", X)
    largest = np.abs(fitted.offset).max() + np.abs(fitted.scale).max() * 255
    single = fitted.apply(X, np.float32)
    assert single.dtype == np.float32
    np.testing.assert_allclose(
        single, fitted.apply(X), rtol=0, atol=4 * np.finfo(np.float32).eps * largest
    )


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
