"""LAPACK on one thread: for a few milliseconds, and given back as it was found."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_setting = threading.Lock()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold NumPy's BLAS to one thread while a small matrix is factorised.

    After a call BLAS's threads wait busily, tens of milliseconds in OpenBLAS, on the cores that the
    kernel's threads need next (`onelayer.optimum.products`); a factorisation of a few hundred
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
