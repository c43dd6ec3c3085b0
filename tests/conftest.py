"""What all tests share: a small data set, and a word at the end on what could not be tested."""

from __future__ import annotations

import pytest

from onelayer.data import Splits
from tests.made_data import make_splits


@pytest.fixture
def splits() -> Splits:
    return make_splits()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end, where it is read, what could not be tested here and why."""
    reasons = {
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    }
    if reasons:
        terminalreporter.section("NOT TESTED HERE", bold=True, yellow=True)
        for reason in sorted(reasons):
            terminalreporter.line(reason, yellow=True)
