"""How many threads the kernel takes where nobody says so."""

from __future__ import annotations

import joblib
import pytest

from onelayer import _native
from onelayer.engines.native import NativeEngine

CORES = 8


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "default_threads", lambda: CORES)
    for name in ("ONELAYER_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def threads_taken(_: int = 0) -> int:
    return int(NativeEngine().describe()["threads"])


@pytest.mark.parametrize(
    ("value", "taken"), [("3", 3), ("2,4", 2), ("100", CORES), ("", CORES), ("many", CORES)]
)
def test_omp_num_threads_is_the_most(
    value: str, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert threads_taken() == CORES
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads_taken() == taken
    monkeypatch.setenv("ONELAYER_THREADS", "8")
    assert threads_taken() == CORES


def test_each_of_joblibs_threads_takes_one() -> None:
    taken = joblib.Parallel(n_jobs=2, backend="threading")(
        joblib.delayed(threads_taken)(i) for i in range(2)
    )
    assert taken == [1, 1]
    assert threads_taken() == CORES


@pytest.mark.parametrize(("value", "taken"), [("4", 4), (None, 1)])
def test_a_process_of_joblibs_takes_what_joblib_leaves_it(
    value: str | None, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    nested = joblib.parallel.SequentialBackend(nesting_level=1)
    with joblib.parallel_config(backend=nested):
        assert threads_taken() == taken
