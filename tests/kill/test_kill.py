"""A sweep or λ path that is killed at random moments and resumed each time has the same bits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

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
