"""A sweep or λ path that is killed at random moments and resumed each time has the same bits."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from onelayer.files.manifest import CHECKPOINTS
from onelayer.training.checkpoint import unfinished
from tests.kill.campaign import campaign


@pytest.mark.parametrize("kind", ["sweep", pytest.param("path", marks=pytest.mark.slow)])
def test_what_is_killed_five_times_ends_with_the_bits_of_an_undisturbed_one(
    kind: str, tmp_path: Path
) -> None:
    """`python -m tests.kill 100` is the long version, of the command line."""

    def command(folder: Path) -> list[str]:
        return [sys.executable, "-m", "tests.kill.worker", kind, str(folder)]

    *_, tally = campaign(command, tmp_path, kills=5, seed=0)
    assert tally.kills.total() == 5
    assert tally.ended >= 1


@pytest.mark.parametrize(
    ("kind", "every", "finished"),
    [("suite", 2, [0, 1, 1, 2]), ("shots", 16, [0, 1, 2, 2])],
)
def test_a_suite_that_is_killed_again_and_again_ends_with_the_same_bits(
    kind: str, every: int, finished: list[int], tmp_path: Path
) -> None:
    """SIGKILL comes before a finished head is written, in its λ path, or in its few shots."""

    def work(folder: Path, solutions: int) -> int:
        words = [sys.executable, "-m", "tests.kill.worker", kind, str(folder), str(solutions)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert work(whole, 0) == 0
    heads = []
    while work(killed, every):
        found = unfinished(killed)
        assert found is not None
        heads.append(found.done)
    assert heads == finished
    tables = ("few_shots.parquet",) if kind == "shots" else ()
    for name in ("weights.safetensors", "held_out.parquet", *tables):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (killed / CHECKPOINTS).exists()
