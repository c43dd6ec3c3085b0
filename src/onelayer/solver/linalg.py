"""Products and factorisations between passes, without waking BLAS's threads.

After a call BLAS keeps its threads waiting busily for tens of milliseconds, on the cores that the
kernel's threads need next: one scalar product of 30 000 numbers slows the next pass down several
times. So the engine does large products, as scores or weighted sums; BLAS held to one thread does
the others and factorisations, and NumPy's own loops the smallest.
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
from onelayer.errors import SettingsError

Floats = NDArray[np.floating]

Float64 = NDArray[np.float64]

# Up to this many products NumPy's loop ends before a library is called, and BLAS on one thread
# before an engine's threads have met.
FEW_PRODUCTS, THREAD_PRODUCTS = 1 << 15, 1 << 22

# Rounding of a float32 Gram matrix, relative to its diagonal, for each √n.
RIDGE = 5e-7

# A triangle of so few rows is inverted as any matrix.
FEW_PIVOTS = 48

# BLAS takes one thread for scalar products of so few entries.
FEW_ENTRIES = 8192


def inner(a: Floats, b: Floats) -> float:
    """Σ aᵢ bᵢ of two arrays of one shape."""
    if a.size <= FEW_ENTRIES:
        return float(np.vdot(a, b))
    if a.ndim == 2 and not (a.flags.c_contiguous and b.flags.c_contiguous):  # not to be copied
        return float(np.einsum("nd,nd->", a, b))
    return float(np.einsum("i,i->", np.ravel(a), np.ravel(b)))


def norm(a: Floats) -> float:
    """√(Σ aᵢ²), the Frobenius norm of an array of any shape."""
    return math.sqrt(inner(a, a))


def matvec(A: Floats, x: Float64) -> Float64:
    """A x of a matrix (n, D)."""
    return np.asarray(np.einsum("nd,d->n", A, x))


def outer_product(engine: Engine, A: Floats, B: Floats) -> Floats:
    """A Bᵀ of A (n, D) and B (m, D): the scores of A's rows under the weights B.

    Example:
        >>> from onelayer.engines import make_engine
        >>> outer_product(make_engine(), np.eye(2), np.array([[1.0, 2.0]]))
        array([[1.],
               [2.]])
    """
    if A.size * len(B) <= FEW_PRODUCTS:
        return np.asarray(np.einsum("nd,md->nm", A, B))
    if A.size * len(B) <= THREAD_PRODUCTS:
        with one_blas_thread():
            return np.asarray(A @ B.T)
    weights = Weights(np.ascontiguousarray(B)[None], np.zeros((1, len(B)), B.dtype))
    product: Floats = engine.scores(_rows(A), weights)[0]
    return product


def inner_product(engine: Engine, A: Floats, B: Floats) -> Float64:
    """Aᵀ B of A (n, m) and B (n, D): the sums of B's rows, weighted by A's columns.

    Example:
        >>> from onelayer.engines import make_engine
        >>> inner_product(make_engine(), np.array([[1.0], [2.0]]), np.eye(2))
        array([[1., 2.]])
    """
    if A.size * B.shape[1] <= FEW_PRODUCTS:
        return np.asarray(np.einsum("nm,nd->md", A, B), np.float64)
    if A.size * B.shape[1] <= THREAD_PRODUCTS:
        with one_blas_thread():
            return np.asarray(A.T @ B, np.float64)
    product: Float64 = engine.weighted_sums(_rows(B), np.ascontiguousarray(A)[None])[0]
    return product


def inverse_of_gram(A: Float64) -> Float64:
    """A⁻¹ of Gram matrices A (…, n, n) of float32, with a ridge above what rounding left there.

    It is relative to each diagonal entry, so features of any size are alike.

    Example:
        >>> inverse_of_gram(np.diag([1.0, 2.0])).round(4)
        array([[1. , 0. ],
               [0. , 0.5]])
    """
    scaled, unit = _unit_gram(A)
    return np.asarray(np.linalg.inv(scaled) * (unit[..., :, None] * unit[..., None, :]))


def factor_of_inverse(A: Float64) -> Float64:
    """R with A⁻¹ = Rᵀ R, of one Gram matrix as `inverse_of_gram` takes it, in half of the time.

    Example:
        >>> factor_of_inverse(np.diag([1.0, 4.0])).round(4)
        array([[1. , 0. ],
               [0. , 0.5]])
    """
    scaled, unit = _unit_gram(A)
    return inverse_of_lower(np.linalg.cholesky(scaled)) * unit


def _unit_gram(A: Float64) -> tuple[Float64, Float64]:
    """Gram matrices with unit diagonals and a ridge, and what features were multiplied by."""
    n, diagonal = A.shape[-1], A.diagonal(axis1=-2, axis2=-1)
    unit = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    scaled = A * (unit[..., :, None] * unit[..., None, :])
    scaled.reshape(-1, n * n)[:, :: n + 1] = 1.0 + RIDGE * math.sqrt(n)
    return scaled, unit


def inverse_of_lower(L: Floats) -> Float64:
    """L⁻¹ of a lower triangle, by halves: mostly products, where NumPy's inverse would pivot.

    Example:
        >>> inverse_of_lower(np.array([[1.0, 0.0], [1.0, 2.0]]))
        array([[ 1. ,  0. ],
               [-0.5,  0.5]])
    """
    if len(L) <= FEW_PIVOTS:
        return np.asarray(np.linalg.inv(L))
    half, inverse = len(L) // 2, np.zeros_like(L, np.float64)
    inverse[:half, :half] = top = inverse_of_lower(L[:half, :half])
    inverse[half:, half:] = bottom = inverse_of_lower(L[half:, half:])
    inverse[half:, :half] = -bottom @ L[half:, :half] @ top
    return inverse


def eigen_of_gram(A: Float64) -> tuple[Float64, NDArray[np.float32]]:
    """Eigenvalues of A and eigenvectors, one a column, with the ridge of `inverse_of_gram`.

    They invert A plus any multiple of the identity for the price of a product. Values that are
    rounding are 0.

    Example:
        >>> eigen_of_gram(np.diag([1.0, 2.0]))[0].round(4)
        array([1., 2.])
    """
    n = len(A)
    values, vectors = np.linalg.eigh(A + RIDGE * math.sqrt(n) * np.diag(A.diagonal()))
    values[values <= n * np.finfo(np.float64).eps * values[-1]] = 0.0
    return values, vectors.astype(np.float32)


def _rows(A: Floats) -> Rows:
    """A matrix's rows as an engine reads them: unscaled, all of one class."""
    n, D = A.shape
    return Rows(np.ascontiguousarray(A), np.zeros(n, np.int64), np.ones(D), np.zeros(D))


def require_finite(A: Floats) -> Floats:
    """The matrix itself; a SettingsError where squares of the features left the numbers."""
    if np.isfinite(A).all():
        return A
    raise SettingsError(
        "the features, as they are scaled and weighted, leave the range of numbers; use "
        "scaling='standardize', or multiply them by a constant that brings them near 1."
    )


_setting = threading.Lock()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold NumPy's BLAS to one thread while a small matrix is factorised.

    The number of threads belongs to the whole process, so other Python threads meet the limit for
    those milliseconds. Only one thread sets it at a time, and restores what it found whatever
    ended the work; a thread that comes meanwhile, or is inside already, sets nothing.
    """
    if not _setting.acquire(blocking=False):
        yield
        return
    before: list[tuple[Any, int]] = []
    try:
        for library in _blas():
            before.append((library, library.get_num_threads()))
            library.set_num_threads(1)
        yield
    finally:
        for library, threads in before:
            library.set_num_threads(threads)
        _setting.release()


@cache
def _blas() -> list[Any]:
    """Finds out once which BLAS NumPy loaded; that takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    libraries = ThreadpoolController().lib_controllers
    return [library for library in libraries if library.user_api == "blas"]
