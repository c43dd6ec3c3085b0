"""A share holds every class in its proportion, is the same for a seed, and loses no row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.data import load
from onelayer.data.split import cut_share, stratified_order
from onelayer.errors import DataError

from .own_making import Array


@given(
    counts=st.lists(st.integers(2, 40), min_size=2, max_size=6),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
)
def test_each_class_gives_its_share_to_within_half_a_row_or_one(
    counts: list[int], share: float, seed: int
) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    kept, cut = cut_share(y, share, seed, "made")
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, cut])), np.arange(len(y)))
    for label, count in enumerate(counts):
        given_up = np.count_nonzero(y[cut] == label)
        assert 1 <= given_up <= count - 1
        assert abs(given_up - share * count) <= 0.5 or given_up in (1, count - 1)
    again = cut_share(y, share, seed, "made")[1]
    np.testing.assert_array_equal(cut, again)


@given(counts=st.lists(st.integers(1, 50), min_size=2, max_size=5), seed=st.integers(0, 99))
def test_every_stretch_of_the_order_holds_each_class_by_its_share(
    counts: list[int], seed: int
) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    order = stratified_order(y, seed)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(y)))
    for label, count in enumerate(counts):
        so_far = np.cumsum(y[order] == label)
        expected = np.arange(1, len(y) + 1) * count / len(y)
        assert np.abs(so_far - expected).max() <= len(counts)


def test_a_class_of_one_row_stays_and_a_set_of_such_is_refused() -> None:
    kept, _ = cut_share(np.array([0, 0, 0, 1]), 0.5, 0, "made")
    assert 3 in kept
    with pytest.raises(
        DataError, match=r"made: .* each of the 3 rows is the only one of its class"
    ):
        cut_share(np.arange(3), 0.5, 0, "made")


def stored(folder: Path, rows: int = 100) -> tuple[Path, Array]:
    X = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    np.savez(folder / "a.npz", X=X, y=np.arange(rows) % 5)
    return folder / "a.npz", X


def test_the_test_share_is_cut_first_so_validation_does_not_change_it(tmp_path: Path) -> None:
    path, X = stored(tmp_path)
    one, other = load(path), load(path, validation=0.5)
    np.testing.assert_array_equal(one.test.X, other.test.X)
    assert (one.train.rows, one.validation.rows, one.test.rows) == (65, 15, 20)
    assert (other.train.rows, other.validation.rows, other.test.rows) == (40, 40, 20)
    every = np.concatenate([one.train.X, one.validation.X, one.test.X])
    np.testing.assert_array_equal(np.sort(every, axis=0), X)


def test_another_seed_gives_another_split_and_the_same_seed_the_same(tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    np.testing.assert_array_equal(load(path, seed=3).test.X, load(path, seed=3).test.X)
    assert (load(path, seed=3).test.X != load(path).test.X).any()


def test_rows_keep_their_labels_through_the_split(tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    for part in (load(path).train, load(path).validation, load(path).test):
        np.testing.assert_array_equal(part.y, part.X[:, 0] // 2 % 5)
        assert np.bincount(part.y).tolist() == [part.rows // 5] * 5


def test_a_test_set_that_is_given_is_kept_apart_as_it_is(tmp_path: Path) -> None:
    path, X = stored(tmp_path)
    np.savez(tmp_path / "t.npz", X=X[::-1] + 1000, y=np.arange(100) % 5)
    splits = load(path, test=tmp_path / "t.npz")
    np.testing.assert_array_equal(splits.test.X, X[::-1] + 1000)
    assert splits.train.rows + splits.validation.rows == 100
    assert splits.source.endswith("validation rows a share of 0.2, stratified, with seed 0.")


def test_a_large_file_says_that_it_is_copied_and_how_not_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = stored(tmp_path)
    monkeypatch.setattr("onelayer.data.split._LARGE", 100)
    said: list[str] = []
    load(path, report=said.append)
    assert "copied into memory to be split; to avoid that give test and validation" in said[0]
    assert "--stream" in said[0]


def test_rows_that_lie_class_by_class_are_said_to_do_so(tmp_path: Path) -> None:
    X = np.arange(40, dtype=np.float32).reshape(20, 2)
    for name in ("a", "b", "c"):
        np.savez(tmp_path / f"{name}.npz", X=X, y=np.repeat([0, 1], 10))
    said: list[str] = []
    load(
        tmp_path / "a.npz",
        validation=tmp_path / "b.npz",
        test=tmp_path / "c.npz",
        report=said.append,
    )
    assert "lie class by class" in said[0]
    load(tmp_path / "a.npz", report=said.append)
    assert len(said) == 1, "a share's rows are mixed"
