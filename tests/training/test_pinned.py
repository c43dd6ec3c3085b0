"""Training ends in the same bits on every machine: SHA-256 sums that no machine may change.

A change of the arithmetic itself changes them: `python -m tests.training.pinned 1` prints the new
ones for pinned.json, which every instruction set must confirm.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from onelayer import _native, load
from onelayer.engines import make_engine
from onelayer.errors import SourceError
from tests.training.pinned import RUN, digests, splits, trained

PINNED = json.loads((Path(__file__).parent / "pinned.json").read_text(encoding="utf-8"))

# The report's four settings on CIFAR-10 after an epoch from one seed, by rows. The sum of all
# epochs from eight seeds is that of `reproduce`, tests/experiments/test_reproduce.py.
CIFAR10 = {
    1000: "573873423311111ce6c95e6e0ff37b7507c74c0dc3f3174670b3bd767ab680dd",
    10_000: "06ce77957c3329ad17a93e168083c52f6ab4f25594a3091de79f9af6f2d0c7e4",
}

SETS = _native.supported_instruction_sets()

# By the names of several versions of NumPy, which ignores those that it does not know.
VECTOR_CODE = (
    "X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512_SKX AVX512_ICL AVX512_SPR ASIMDHP ASIMDFHM SVE"
)


def printed(instruction_set: str, *arguments: object) -> dict[str, str]:
    """Digests by another process, without the vector code of NumPy and with OpenBLAS's oldest."""
    environment = {
        "ONELAYER_ISA": instruction_set,
        "NPY_DISABLE_CPU_FEATURES": VECTOR_CODE,
        "OPENBLAS_CORETYPE": "Nehalem" if platform.machine() == "x86_64" else "ARMV8",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.training.pinned", *map(str, arguments)],
        env=os.environ | environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.filterwarnings("ignore::onelayer.errors.LearningRateWarning")
def test_pinned_sums_hold_here() -> None:
    assert dict(digests(make_engine("native", threads=2))) == PINNED


@pytest.mark.slow
@pytest.mark.parametrize("instruction_set", SETS)
def test_pinned_sums_hold_on_every_instruction_set_and_number_of_threads(
    instruction_set: str,
) -> None:
    assert printed(instruction_set, "1,2,3") == PINNED


@pytest.fixture(scope="module")
def _cifar10() -> None:
    try:
        load()
    except SourceError as error:
        pytest.skip(f"THE PINNED SUMS OF CIFAR-10 WERE NOT TESTED: {error}")


@pytest.mark.slow
@pytest.mark.usefixtures("_cifar10")
@pytest.mark.parametrize(
    ("instruction_set", "rows"),
    [
        *((name, 10_000) for name in SETS if name != "portable"),  # which takes 30 s
        *((name, 1000) for name in SETS),
    ],
)
def test_pinned_sums_of_the_four_settings_hold(instruction_set: str, rows: int) -> None:
    assert printed(instruction_set, 2, rows) == {"": CIFAR10[rows]}


def test_pinned_sums_hold_where_the_caller_rounds_otherwise() -> None:
    data, engine = splits(), make_engine("native", threads=2)
    library = ctypes.CDLL(None)
    train_epoch = _native.train_epoch
    upward = 0x800 if platform.machine() == "x86_64" else 0x400000

    def rounded_upward(**arguments: object) -> int:
        library.fesetround(upward)
        try:
            return train_epoch(**arguments)  # type: ignore[arg-type]
        finally:
            library.fesetround(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_native, "train_epoch", rounded_upward)
        upward_sum = trained(engine, data, RUN, replace(RUN, seed=1))
    assert upward_sum == PINNED["plain"]
