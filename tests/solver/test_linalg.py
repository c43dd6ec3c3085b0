"""Products by the engine are the products; BLAS is left as it was found."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from onelayer import load
from onelayer.engines import ENGINE_NAMES, make_engine
from onelayer.solver import solve
from onelayer.solver.linalg import (
    _blas,
    inner,
    inner_product,
    inverse_of_gram,
    inverse_of_lower,
    norm,
    one_blas_thread,
    outer_product,
)

sizes = st.integers(1, 40)
engines = pytest.mark.parametrize("engine_name", ENGINE_NAMES)


@engines
@given(n=sizes, m=sizes, D=st.integers(1, 600), dtype=st.sampled_from(["float32", "float64"]))
def test_both_products_are_those_of_the_matrices(
    engine_name: str, n: int, m: int, D: int, dtype: str
) -> None:
    engine, rng = make_engine(engine_name), np.random.default_rng([n, m, D])
    A, B, C = (rng.normal(size=s).astype(dtype) for s in ((n, D), (m, D), (n, m)))
    allowed = 8 * np.finfo(dtype).eps * np.sqrt(max(n, m, D)) * 20
    np.testing.assert_allclose(outer_product(engine, A, B), A @ B.T, atol=allowed)
    np.testing.assert_allclose(inner_product(engine, C, A), C.T @ A, atol=allowed)


@given(shape=st.tuples(sizes, sizes))
def test_inner_products_and_norms_take_any_shape_and_stride(shape: tuple[int, int]) -> None:
    a, b = np.random.default_rng(shape).normal(size=(2, *shape))
    assert inner(a, b) == pytest.approx(float(np.sum(a * b)), rel=1e-12, abs=1e-12)
    assert inner(a.T, b.T) == pytest.approx(inner(a, b), rel=1e-12, abs=1e-12)
    assert norm(a[:, ::2]) == pytest.approx(float(np.linalg.norm(a[:, ::2])), rel=1e-14)


@pytest.mark.parametrize("rows", [20, 200])
def test_the_inverse_of_a_gram_matrix_is_positive_in_any_units_and_of_any_rank(rows: int) -> None:
    rng = np.random.default_rng(0)
    units = np.exp(rng.uniform(-9.0, 9.0, 80))
    X = rng.normal(size=(rows, 80)).astype(np.float32)
    A = np.asarray(X.T @ X, np.float64)  # of float32 rounding
    found = inverse_of_gram(A * units * units[:, None]) * units * units[:, None]
    assert np.linalg.eigvalsh((found + found.T) / 2)[0] > 0.0
    v = rng.normal(size=rows) @ X
    np.testing.assert_allclose(A @ (found @ v), v, atol=2e-4 * np.abs(v).max())


def _threads() -> list[int]:
    """Of NumPy's BLAS, and of those that were loaded before the first solution."""
    return [library.get_num_threads() for library in _blas()]


@pytest.fixture
def two_threads() -> Iterator[None]:
    """BLAS with two threads, as a user may have set it."""
    with threadpool_limits(2, user_api="blas"):
        yield


def _nothing() -> None:
    pass


def _fail() -> None:
    raise RuntimeError


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("body", [_nothing, _fail, _interrupt])
def test_blas_gets_its_threads_back_however_the_work_ends(
    two_threads: None, body: Callable[[], None]
) -> None:
    try:
        with one_blas_thread(), one_blas_thread():
            assert set(_threads()) == {1}
            body()
    except (RuntimeError, KeyboardInterrupt):
        pass
    assert set(_threads()) == {2}


def test_threads_that_come_and_go_in_any_order_leave_blas_as_it_was(two_threads: None) -> None:
    entered, may_leave = threading.Event(), threading.Event()

    def stay() -> None:
        with one_blas_thread():
            entered.set()
            may_leave.wait(10)

    for others_leave_first in (True, False):
        other = threading.Thread(target=stay)
        with one_blas_thread():
            other.start()
            assert entered.wait(10)
            if others_leave_first:
                may_leave.set()
                other.join()
                assert set(_threads()) == {1}
        may_leave.set()
        other.join()
        assert set(_threads()) == {2}
        entered.clear()
        may_leave.clear()


def test_solving_leaves_blas_as_it_was(two_threads: None) -> None:
    solve(load("digits").train, l2=0.01)
    assert set(_threads()) == {2}


def test_a_lower_triangle_is_inverted_by_halves_to_all_of_its_digits() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 48, 49, 131):
        L = np.linalg.cholesky(np.cov(rng.standard_normal((n, 3 * n))).reshape(n, n))
        inverse = inverse_of_lower(L)
        np.testing.assert_allclose(inverse @ L, np.eye(n), atol=1e-12)
        assert not np.triu(inverse, 1).any()
