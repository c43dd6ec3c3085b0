"""What a solver does with its points between two passes, beside NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from onelayer.engines.native import add_penalty, combination, products, without_shared

# One block, its end and beyond; and so many entries that threads share them.
SIZES = [(1, 1), (3, 31), (2, 2048), (5, 2049), (7, 70_000)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "n"), SIZES)
def test_products_and_combinations_are_numpys_on_any_number_of_threads(
    m: int, n: int, dtype: str
) -> None:
    rng = np.random.default_rng(n)
    rows, x = rng.normal(size=(m, n)).astype(dtype), rng.normal(size=n).astype(dtype)
    factors, wide = rng.normal(size=m), rows.astype(np.float64)
    found, combined = products(rows, x, 1), combination(rows, factors, x, -0.5, 1)
    np.testing.assert_allclose(found, wide @ x, atol=1e-12 * n)
    np.testing.assert_allclose(combined, factors @ wide - 0.5 * x, atol=1e-13)
    np.testing.assert_array_equal(products(rows, x, 3), found)
    np.testing.assert_array_equal(combination(rows, factors, x, -0.5, 3), combined)


@pytest.mark.parametrize("absent", [[], [2], [0, 4]])
@pytest.mark.parametrize("features", [1, 63, 64, 130, 60_000])
def test_a_point_loses_what_its_present_classes_share_and_gains_the_penalty(
    features: int, absent: list[int]
) -> None:
    rng, K = np.random.default_rng(features), 5
    at, present = rng.normal(size=(K, features + 1)), np.ones(K, bool)
    present[absent] = False
    G, g = rng.normal(size=(present.sum(), features)), rng.normal(size=present.sum())
    bends = rng.uniform(0.1, 2.0, features)

    expected = at.copy()
    expected[present] -= at[present].mean(axis=0)
    for wide, threads in ((True, 1), (True, 3), (False, 1)):
        moved, W, b = without_shared(at, present, wide, threads)
        assert W.dtype == (np.float64 if wide else np.float32)
        np.testing.assert_array_equal(moved, np.column_stack([W, b]))
        np.testing.assert_allclose(moved, expected, atol=1e-14 if wide else 1e-6)

    slope = np.column_stack([bends * at[:, :-1], np.zeros(K)])
    slope[present] += np.column_stack([G, g])
    slope[present] -= slope[present].mean(axis=0)
    gradient, value, squares = add_penalty(at, present, G, g, bends, 1)
    np.testing.assert_allclose(gradient, slope, atol=1e-14)
    assert value == pytest.approx(0.5 * np.sum(bends * at[:, :-1] ** 2), rel=1e-13)
    assert squares == pytest.approx(np.sum(slope[:, :-1] ** 2), rel=1e-13)
    again = add_penalty(at, present, G, g, bends, 3)
    np.testing.assert_array_equal(again[0], gradient)
    assert again[1:] == (value, squares)


def test_a_point_without_a_present_class_is_refused() -> None:
    with pytest.raises(ValueError, match="present: expected at least one class, got none"):
        without_shared(np.zeros((2, 3)), np.zeros(2, bool), True, 1)
    with pytest.raises(ValueError, match=r"x: expected shape \(3,\) = \(n,\), got shape \(2,\)"):
        products(np.zeros((1, 3)), np.zeros(2), 1)
