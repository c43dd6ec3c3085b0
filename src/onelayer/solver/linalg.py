"""The products that the solver needs beside its passes, without BLAS.

BLAS keeps its threads waiting busily for tens of milliseconds after a call, on the cores that the
kernel's threads need next: between two passes one scalar product of 30 000 numbers is enough to
slow the next pass down several times. Scores and weighted sums are matrix products too, so the
engine does the large ones; the small ones are NumPy's own loops. Nothing of the process is changed
for it: other threads keep the BLAS that they had.

LAPACK on one thread: for a few milliseconds, and given back as it was found.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines import Engine, Weights

Floats = NDArray[np.floating]

Float64 = NDArray[np.float64]

# Up to here NumPy's loop is done before an engine's threads have started.
FEW_PRODUCTS = 1 << 19


def inner(a: Floats, b: Floats) -> float:
    """Σ aᵢ bᵢ of two arrays of one shape.

    Example:
        >>> inner(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
        11.0
    """
    return float(np.einsum("i,i->", np.ravel(a), np.ravel(b)))


def norm(a: Floats) -> float:
    """√(Σ aᵢ²), the Frobenius norm of an array of any shape.

    Example:
        >>> norm(np.array([[3.0], [4.0]]))
        5.0
    """
    return math.sqrt(inner(a, a))


def outer_product(engine: Engine, A: Floats, B: Floats) -> Floats:
    """A Bᵀ: the scores of A's rows under the weights B.

    Args:
        engine: what multiplies.
        A: shape (n, D).
        B: shape (m, D), of the same type.

    Returns:
        Shape (n, m), of the same type.

    Example:
        >>> from onelayer.engines import make_engine
        >>> outer_product(make_engine(), np.eye(2), np.array([[1.0, 2.0]]))
        array([[1.],
               [2.]])
    """
    if A.size * len(B) <= FEW_PRODUCTS:
        return np.asarray(np.einsum("nd,md->nm", A, B))
    weights = Weights(np.ascontiguousarray(B)[None], np.zeros((1, len(B)), B.dtype))
    found: Floats = engine.scores(_rows(A), weights)[0]
    return found


def inner_product(engine: Engine, A: Floats, B: Floats) -> Float64:
    """Aᵀ B: the sums of B's rows, weighted by A's columns.

    Args:
        engine: what multiplies, in the type of A.
        A: shape (n, m).
        B: shape (n, D), of the same type.

    Returns:
        Shape (m, D).

    Example:
        >>> from onelayer.engines import make_engine
        >>> inner_product(make_engine(), np.array([[1.0], [2.0]]), np.eye(2))
        array([[1., 2.]])
    """
    if A.size * B.shape[1] <= FEW_PRODUCTS:
        return np.asarray(np.einsum("nm,nd->md", A, B), np.float64)
    found: Float64 = engine.weighted_sums(_rows(B), np.ascontiguousarray(A)[None])[0]
    return found


def _rows(A: Floats) -> Rows:
    """A matrix's rows as an engine reads them: as they are, all of one class."""
    n, D = A.shape
    return Rows(np.ascontiguousarray(A), np.zeros(n, np.int64), np.ones(D), np.zeros(D))


_setting = threading.Lock()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold NumPy's BLAS to one thread while a small matrix is factorised.

    After a call BLAS's threads wait busily, tens of milliseconds in OpenBLAS, on the cores that the
    kernel's threads need next (`onelayer.solver.linalg`); a factorisation of a few hundred
    unknowns gains less from them than that costs. The number of threads belongs to the whole
    process, so other Python threads meet the limit for those milliseconds. Only one of them sets it
    at a time, and sets back what it found, whatever ended the work; who comes meanwhile, or is
    inside already, sets nothing.

    Example:
        >>> import numpy as np
        >>> with one_blas_thread():
        ...     np.linalg.eigvalsh(np.eye(2))
        array([1., 1.])
    """
    if not _setting.acquire(blocking=False):
        yield
        return
    try:
        with _controller().limit(limits=1, user_api="blas"):
            yield
    finally:
        _setting.release()


@cache
def _controller() -> Any:
    """Looks once which BLAS NumPy loaded; that takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
