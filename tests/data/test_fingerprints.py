"""A row's fingerprint depends on its values alone, and tells rows apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onelayer.data.fingerprints import (
    _factors,
    chances,
    count_shared,
    distinct,
    mixed,
    row_fingerprints,
    text_fingerprints,
)


@pytest.mark.parametrize("features", [1, 3, 8, 13])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", "int32", ">f4"])
def test_the_same_values_have_the_same_fingerprint_in_every_storage_type(
    dtype: str, features: int
) -> None:
    X = np.random.default_rng(0).integers(0, 256, (50, features))
    np.testing.assert_array_equal(
        row_fingerprints(X.astype(dtype)), row_fingerprints(X.astype(np.float64))
    )


def test_fractions_are_the_same_rows_in_the_types_that_hold_them() -> None:
    X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float16)
    X[7] = np.arange(6)  # one row of bytes among the others
    expected = row_fingerprints(X)
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(row_fingerprints(X.astype(dtype)), expected)
    assert (row_fingerprints(X * np.float64(1 + 2**-40))[:7] != expected[:7]).all()


@pytest.mark.parametrize("features", [1, 5, 255, 256, 700])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_a_fingerprint_is_the_sum_of_products_of_words(dtype: str, features: int) -> None:
    """By whole numbers of Python, modulo 2⁶⁴; each row is of the narrowest type."""
    rng, whole = np.random.default_rng(features), 1 << 64
    X = rng.normal(size=(3, features)) if dtype != "uint8" else rng.integers(0, 256, (3, features))
    X = X.astype(dtype)
    words = np.pad(X, ((0, 0), (0, -features % 8))).view("<u8")
    factors = zip(*(part.tolist() for part in _factors(words.shape[1])), strict=True)
    totals = np.zeros(3, object)
    for column, (first, second) in zip(words.T.tolist(), factors, strict=True):
        of_rows = [word * first % whole for word in column]
        totals += [(product ^ (product >> 32)) * second for product in of_rows]
    expected = mixed(np.array([int(total) % whole for total in totals], np.uint64))
    np.testing.assert_array_equal(row_fingerprints(X), expected)
    np.testing.assert_array_equal(row_fingerprints(X[::-1]), expected[::-1])
    np.testing.assert_array_equal(row_fingerprints(X, np.array([2, 0])), expected[[2, 0]])


def test_distinct_fingerprints_ascend() -> None:
    found = np.array([5, 2**64 - 1, 0, 5, 0], np.uint64)
    np.testing.assert_array_equal(distinct(found), np.unique(found))
    assert not len(distinct(found[:0]))


def test_a_zero_of_either_sign_is_the_same_value() -> None:
    X = np.array([[0.5, 0.0], [0.5, -0.0], [0.0, 1.0], [-0.0, 1.0]])
    first, second = row_fingerprints(X).reshape(2, 2).T
    np.testing.assert_array_equal(first, second)


def test_blocks_and_company_change_no_fingerprint() -> None:
    X = np.random.default_rng(0).normal(size=(9000, 5)).astype(np.float32)
    whole = row_fingerprints(X)
    np.testing.assert_array_equal(whole[3000:], row_fingerprints(X[3000:]))
    np.testing.assert_array_equal(whole[::-1], row_fingerprints(X[::-1].copy()))


def _rows(kind: str) -> Any:
    if kind == "one high bit in any of the bytes":  # the least that products could tell apart
        return np.concatenate([np.zeros((1, 64), np.uint8), 128 * np.eye(64, dtype=np.uint8)])
    if kind == "two high bits in any of the bytes":
        pairs = np.array([(i, j) for i in range(64) for j in range(i)])
        X = np.zeros((len(pairs), 64), np.uint8)
        X[np.arange(len(pairs))[:, None], pairs] = 128
        return X
    if kind == "permuted columns":
        return np.stack(
            [np.random.default_rng(i).permutation(np.arange(12.0)) for i in range(2000)]
        )
    return np.linspace(-1e300, 1e300, 3000).reshape(-1, 1)


@pytest.mark.parametrize(
    "kind",
    [
        "one high bit in any of the bytes",
        "two high bits in any of the bytes",
        "permuted columns",
        "large numbers",
    ],
)
def test_rows_that_differ_have_different_fingerprints(kind: str) -> None:
    X = _rows(kind)
    assert len(np.unique(row_fingerprints(X))) == len(np.unique(X, axis=0))


@pytest.mark.parametrize("features", [3, 100])
def test_rows_among_others_are_counted_whatever_their_middle_holds(features: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, (60, features), dtype=np.uint8)
    X[:, features // 4 : -(features // 4)] = 0  # what is looked at first is the same in all rows
    others = np.concatenate([X[:5], rng.integers(0, 3, (40, features), dtype=np.uint8)])
    seen = {bytes(row) for row in others}
    [count, of_last] = count_shared(others, X, others[3:9])
    assert count == sum(bytes(row) in seen for row in X) >= 5
    assert of_last == 6
    assert count_shared(others, X + 100) == [0]


def test_a_name_has_its_fingerprint_beside_longer_names() -> None:
    few = text_fingerprints(np.array(["a", "b7"]))
    more = text_fingerprints(np.array(["a", "b7", "a much longer name", "b"], object))
    np.testing.assert_array_equal(few, more[:2])
    assert len(set(more.tolist())) == 4
    np.testing.assert_array_equal(
        text_fingerprints(np.array([7, 12])), text_fingerprints(np.array(["7", "12"]))
    )


def test_chances_are_even_and_follow_the_keys() -> None:
    rows = row_fingerprints(np.arange(20_000, dtype=np.float64).reshape(-1, 1))
    drawn = chances(rows, 0, 1)
    # 1000 ± 31 in each of 20 bins; five standard deviations.
    assert np.abs(np.histogram(drawn, 20, (0.0, 1.0))[0] - 1000).max() < 155
    np.testing.assert_array_equal(chances(rows[5:], 0, 1), drawn[5:])
    for other in (chances(rows, 1, 1), chances(rows, 0, 2)):
        assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.04
