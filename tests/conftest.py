"""What all tests share: a small data set, and a word at the end on what could not be tested."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from onelayer.data import Splits
from tests.examples import DEFAULT
from tests.made_data import make_splits

# Machines that run tests are shared, so no example has a deadline. CI draws the same examples each
# time; new ones are looked for where somebody is there to read what was found.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
# `make check` asks for it by name.
settings.register_profile("quick", settings(), max_examples=DEFAULT // 5)

# The engine torch is tested as itself: "auto" takes the native one where there is no GPU.
os.environ["ONELAYER_DEVICE"] = "cpu"


# What starts processes or browsers, draws pages or trains for seconds. `make check` runs the rest.
ROOT = Path(__file__).parents[1]
SLOW = [
    *(ROOT / "tests" / name for name in ("benchmarks", "cli", "experiments", "kill", "report")),
    *(ROOT / "tests" / name for name in ("test_documents.py", "test_package.py", "test_types.py")),
    *(ROOT / "tests" / name for name in ("engines/torch", "native/test_process.py")),
    ROOT / "tests" / "data" / "datasets" / "test_real.py",
    *(ROOT / "src" / "onelayer" / name for name in ("report", "files/saved.py")),
]


@cache
def slow_as_a_whole(file: Path) -> bool:
    return any(file.is_relative_to(slow) for slow in SLOW)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where slow tests are left out, do not import what is slow as a whole."""
    left_out = config.option.markexpr == "not slow" and slow_as_a_whole(collection_path)
    return True if left_out else None  # None: other plugins may have a reason


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, by where they stand; files that hold any come first."""
    for item in items:
        if slow_as_a_whole(item.path):
            item.add_marker("slow")
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow_files)


@pytest.fixture
def blank_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that save and do not look at the page, which takes a second or more to draw."""
    monkeypatch.setattr("onelayer.report.page.write_report", blank_page)


def blank_page(_: object, folder: Path) -> None:
    """Stands for the page of a run folder."""
    (folder / "report.html").write_text("")


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
