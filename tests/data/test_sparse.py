"""Sparse rows are the rows of the same values as an array."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from onelayer.data.dataset import Dataset
from onelayer.data.fingerprints import row_fingerprints
from onelayer.data.sparse import SparseRows, sparse_rows
from onelayer.errors import DataError


def _made(rows: int = 7, features: int = 11, dtype: Any = np.float64) -> NDArray[Any]:
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(rows, features)) * (rng.random((rows, features)) < 0.3)
    return np.asarray(dense.astype(dtype))


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok", "bsr"])
@pytest.mark.parametrize("of", ["array", "matrix"])
def test_every_format_of_scipy_gives_the_rows_that_it_holds(kind: str, of: str) -> None:
    dense = _made()
    X = SparseRows.of(getattr(sparse, f"{kind}_{of}")(dense))
    assert (X.shape, len(X), X.ndim) == ((7, 11), 7, 2)
    np.testing.assert_array_equal(X.toarray(), dense)
    np.testing.assert_array_equal(X.to_scipy().toarray(), dense)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_csr_of_floats_is_not_copied(dtype: Any, index: Any) -> None:
    given = sparse.csr_array(_made(dtype=dtype))
    given.indices, given.indptr = given.indices.astype(index), given.indptr.astype(index)
    X = SparseRows.of(given)
    assert np.shares_memory(X.values, given.data)
    assert np.shares_memory(X.indices, given.indices)
    assert (X.dtype, X.indices.dtype) == (dtype, index)


@pytest.mark.parametrize(
    ("largest", "dtype", "kept"),
    [(3, "int8", "float32"), (1 << 24, "int32", "float32"), ((1 << 24) + 1, "int64", "float64")],
)
def test_counts_become_the_smallest_floats_that_hold_them(
    largest: int, dtype: str, kept: str
) -> None:
    X = SparseRows.of(sparse.csr_array(np.array([[0, largest], [2, 0]], dtype)))
    assert X.dtype == kept
    assert X.toarray().tolist() == [[0, largest], [2, 0]]


def test_columns_are_sorted_and_values_of_one_place_are_summed() -> None:
    values, columns = np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([4, 0, 4, 2, 1])
    X = SparseRows(values, columns, np.array([0, 3, 3, 5]), 5)
    assert X.toarray().tolist() == [[2, 0, 0, 0, 4], [0] * 5, [0, 5, 4, 0, 0]]
    assert columns.tolist() == [4, 0, 4, 2, 1]
    assert X.indices.tolist() == [0, 4, 1, 2]


def test_order_is_checked_across_blocks_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onelayer.data.sparse.BLOCK_VALUES", 3)
    dense = _made(rows=9, features=6)
    given = sparse.csr_array(dense)
    assert np.shares_memory(SparseRows.of(given).values, given.data)
    for place in range(1, given.nnz):
        if place not in given.indptr:
            swapped = given.copy()
            for array in (swapped.data, swapped.indices):
                array[[place - 1, place]] = array[[place, place - 1]]
            np.testing.assert_array_equal(SparseRows.of(swapped).toarray(), dense)


@given(st.data())
def test_choices_of_rows_are_those_of_an_array(data: st.DataObject) -> None:
    dense = _made(rows=6)
    X = SparseRows.of(sparse.csr_array(dense))
    rows = data.draw(
        st.one_of(
            st.slices(6),
            st.lists(st.integers(-6, 5)).map(lambda of: np.array(of, np.int64)),
            st.lists(st.booleans(), min_size=6, max_size=6).map(np.array),
        )
    )
    found = X[rows]
    np.testing.assert_array_equal(found.toarray(), dense[rows])
    np.testing.assert_array_equal(found.fingerprints(), row_fingerprints(dense[rows]))
    np.testing.assert_array_equal(SparseRows.stack([found, X]).toarray()[len(found) :], dense)
    assert found.nbytes == found.nnz * 12 + 8 * (len(found) + 1)


def test_a_slice_is_a_view() -> None:
    X = SparseRows.of(sparse.csr_array(_made()))
    assert np.shares_memory(X[2:5].values, X.values)
    assert X[2:5].nnz == np.count_nonzero(_made()[2:5])
    assert X[5:2].shape == (0, 11)


def test_columns_are_chosen_as_of_an_array() -> None:
    dense = _made()
    X = SparseRows.of(sparse.csr_array(dense))[1:]
    np.testing.assert_array_equal(X.take_columns([5, 0, 9]).toarray(), dense[1:, [5, 0, 9]])


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_and_ranges_of_columns_count_what_is_not_stored_as_zero(
    weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onelayer.data.sparse.BLOCK_VALUES", 5)
    dense = np.column_stack([_made(rows=20), np.full(20, 2.0), np.full(20, -3.0)])
    X = SparseRows.of(sparse.csr_array(dense))
    w = np.arange(20.0) if weighted else np.ones(20)
    given = w if weighted else None
    mean = w @ dense / w.sum()
    np.testing.assert_allclose(X.column_sums(given), w @ dense, rtol=1e-14)
    np.testing.assert_allclose(X.column_squares(None, given), w @ dense**2, rtol=1e-14)
    about = X.column_squares(mean, given)
    np.testing.assert_allclose(about, w @ (dense - mean) ** 2, rtol=1e-13, atol=1e-25)
    low, high = X.column_ranges
    np.testing.assert_array_equal((low, high), (dense.min(axis=0), dense.max(axis=0)))


@given(
    kind=st.sampled_from(["bytes", "halves", "float32", "float64"]),
    features=st.integers(1, 20),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_fingerprints_are_those_of_the_same_rows_as_an_array(
    kind: str, features: int, dtype: Any
) -> None:
    rng = np.random.default_rng(features)
    numbers: dict[str, NDArray[Any]] = {
        "bytes": rng.integers(0, 256, (9, features)),
        "halves": rng.integers(-4, 4, (9, features)) / 2,
        "float32": rng.normal(size=(9, features)).astype(np.float32),
        "float64": rng.normal(size=(9, features)),
    }
    dense = (numbers[kind] * (rng.random((9, features)) < 0.5)).astype(dtype)
    dense[0] = -0.0
    X = SparseRows.of(sparse.csr_array(dense))
    np.testing.assert_array_equal(X.fingerprints(), row_fingerprints(dense))


def test_stored_zeros_of_either_sign_and_numbers_above_a_byte_are_known_as_in_an_array() -> None:
    dense = np.array([[0.5, -0.0, 3.0], [256.0, 1.0, 0.0]], np.float32)
    X = SparseRows(dense.ravel(), np.tile(np.arange(3), 2), np.array([0, 3, 6]), 3)
    np.testing.assert_array_equal(X.fingerprints(), row_fingerprints(dense))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": np.array([1.0, np.nan, 2.0])}, "row 1, column 0 is nan"),
        ({"values": np.array([1.0, np.inf, 2.0])}, "row 1, column 0 is inf"),
        (
            {"indices": np.array([1, 0, 4])},
            "indices of sparse rows must be 0 to 3, but row 1 has 4",
        ),
        ({"indices": np.array([1, -1, 2])}, "but row 1 has -1"),
        ({"indices": np.array([1, 2])}, "but there are 2"),
        ({"indptr": np.array([0, 2, 1])}, "must ascend from 0 to the number of stored values, 3"),
        ({"indptr": np.array([0, 1, 4])}, "must ascend from 0 to the number of stored values, 3"),
        ({"values": np.array([1, 2, 3j])}, "must be integers, float32 or float64, not complex128"),
        ({"values": np.array([1, 2, 1 << 60])}, "beyond what float64 holds exactly"),
    ],
)
def test_what_is_no_rows_is_refused_in_one_sentence(change: dict[str, Any], words: str) -> None:
    parts = {
        "values": np.ones(3), "indices": np.array([1, 0, 2]), "indptr": np.array([0, 1, 3]),
    } | change  # fmt: skip
    with pytest.raises(DataError, match=words) as caught:
        SparseRows(**parts, features=4, where="mail")
    assert str(caught.value).startswith("mail: ")


def test_rows_are_not_made_dense_by_accident() -> None:
    with pytest.raises(TypeError, match="toarray"):
        np.asarray(SparseRows.of(sparse.csr_array(_made())))


def test_a_data_set_carries_sparse_rows() -> None:
    dense = _made()
    y = np.arange(7) % 2
    data = Dataset(sparse.csc_matrix(dense), y, ("a", "b"))
    assert sparse_rows(data.X) is not None
    assert (data.rows, data.features) == (7, 11)
    np.testing.assert_array_equal(data.fingerprints, Dataset(dense, y, ("a", "b")).fingerprints)
    for rows in (slice(1, 4), [5, 2], y == 1):
        X = sparse_rows(data.take(rows).X)
        assert X is not None
        np.testing.assert_array_equal(X.toarray(), dense[rows])
    assert sparse_rows(dense) is None
    with pytest.raises(DataError, match=r"mail: .* row 0, column 1 is nan"):
        Dataset(sparse.csr_array([[0.0, np.nan]]), np.zeros(1, int), ("a", "b"), name="mail")
    with pytest.raises(DataError, match="rows must be numbers from 0 to 6"):
        data.take([7])


def test_onelayer_imports_no_scipy_for_them() -> None:
    code = "import onelayer, onelayer.data.sparse, sys; sys.exit('scipy.sparse' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
