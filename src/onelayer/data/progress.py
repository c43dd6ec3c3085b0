"""Messages and progress bars on the standard error stream, while data are downloaded and read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from onelayer.errors import DataError

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

Log = Callable[[str], None]

"""Is called with a message of one line."""


# Control characters, which a terminal obeys; those that end or reorder a line; and what neither
# UTF-8 nor XML can hold, which ends the process that draws it.
_UNPRINTABLE = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def printable(text: str) -> str:
    """Text as any terminal and page can show it: other characters, which names hold, are U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", text)


def print_line(line: str) -> None:
    """Print a line on the standard error stream; brackets in it are no markup."""
    from rich.console import Console

    Console(stderr=True).print(printable(line), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def counting(label: str, total: int | None, *, show: bool) -> Iterator[Callable[[], None]]:
    """Show a bar while the block works; yield what to call after each of its `total` steps."""
    from rich import progress

    eta = () if total is None else ("ETA", progress.TimeRemainingColumn())
    with _bar(show, progress.TimeElapsedColumn(), *eta) as bar:
        task = bar.add_task(label, total=total)
        yield lambda: bar.advance(task)


@contextmanager
def downloading(label: str, most: int, *, show: bool) -> Iterator[DownloadBar]:
    """Show a bar while the block downloads, which is stopped after `most` bytes."""
    from rich import progress

    speed = progress.DownloadColumn(), progress.TransferSpeedColumn()
    with _bar(show, *speed, "ETA", progress.TimeRemainingColumn()) as bar:
        yield DownloadBar(bar, bar.add_task(label, total=None), most)


class DownloadBar:
    """What pooch takes for its progress bar; it also stops a download that never ends."""

    def __init__(self, bar: Progress, task: TaskID, most: int) -> None:
        self._bar, self._task, self._most, self._total, self._done = bar, task, most, 0, 0

    @property
    def total(self) -> int:
        """Bytes that the server announced, 0 when it did not."""
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        # Set at the start of each attempt, so that a retry begins at zero.
        self._total, self._done = total, 0
        self._bar.reset(self._task, total=total or None)

    def update(self, count: int) -> None:
        """Count further bytes."""
        self._done += count
        if self._done > self._most:
            raise DataError(f"more than the expected {self._most} bytes came; it was stopped")
        self._bar.update(self._task, completed=self._done)

    def reset(self) -> None:
        """Begin at zero."""
        self._done = 0

    def close(self) -> None:
        """Do nothing: the bar is closed by who opened it."""


def _bar(show: bool, *columns: ProgressColumn | str) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress

    console = Console(stderr=True)
    # In a log file a bar would leave blank lines and nothing else.
    hidden = not (show and console.is_terminal)
    columns = ("{task.description}", BarColumn(), *columns)
    return Progress(*columns, console=console, transient=True, disable=hidden)
