"""The benchmarks are not installed; their tests import them from the checkout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if TYPE_CHECKING:
    from benchmarks.harness.rounds import Session


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """BLAS and OpenMP have one thread: the tests' products are small, and the cores shared."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """One thread, the engine without compiled code, and a folder of the module's own."""
    from benchmarks.harness.processes import make_conditions
    from benchmarks.harness.rounds import Session

    return Session(make_conditions(1, "reference", tmp_path_factory.mktemp("bench")))
