"""A command that gets a signal ends with one line, or is done."""

from __future__ import annotations

import pytest

from tests.faults.signals import GOOD, run_cases


@pytest.mark.slow
def test_six_signals_at_random_moments_end_commands_as_they_should() -> None:
    """`python -m tests.faults.signals 300` is the long version."""
    faults: list[str] = []
    ends = run_cases(6, seed=1, log=faults.append)
    assert ends.total() == 6
    assert [kind for kind in ends if kind not in GOOD] == [], faults
