"""Commands run in this process, in an empty folder."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onelayer import cli
from onelayer.cli import interrupt

Command = Callable[..., tuple[int, str, str]]


def call(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a command in this process: exit code, standard output, standard error."""
    handlers = {number: signal.getsignal(number) for number in interrupt.ENDING}
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["onelayer", *words])
            patch.setattr(sys, "unraisablehook", sys.unraisablehook)
            with pytest.raises(SystemExit) as ended:
                cli.main()
    finally:  # also where a test ends the command by an exception of its own
        for number, handler in handlers.items():
            signal.signal(number, handler)
    printed = capsys.readouterr()
    code = ended.value.code
    assert isinstance(code, int)
    return code, printed.out, printed.err


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Run commands in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: call(*words, capsys=capsys)


@pytest.fixture
def drawn_pages() -> None:
    """Asked for by tests of pages: drawing takes seconds, so other tests leave it out."""


@pytest.fixture(autouse=True)
def _blank_pages(request: pytest.FixtureRequest) -> None:
    if "drawn_pages" not in request.fixturenames:
        request.getfixturevalue("blank_pages")
