"""Messages and progress bars on the standard error stream, while data are downloaded and read."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from onelayer.errors import DataError, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, TaskID

# Is called with a message of one line.
Log = Callable[[str], None]


# A notebook shows a bar after this time.
NOTEBOOK_SECONDS = 1.0

# A log file gets no more than a line in this time.
LINE_SECONDS = 5.0

# Columns of a terminal that every table fits in.
WIDTH = 80

# What stands for letters of onelayer's own words on a terminal that lacks them.
_SPELLED = str.maketrans(
    {
        **{"η": "eta", "λ": "lambda", "ε": "epsilon", "μ": "mu", "γ": "gamma", "Σ": "sum"},
        **{"±": "+-", "−": "-", "–": "-", "×": "x", "‖": "|", "∂": "d", "∇": "grad", "∞": "inf"},
        **{"≥": ">=", "≤": "<=", "…": "...", "⁻": "-", "ᵀ": "'", "²": "^2", "→": "->", "◄": "<"},
        **{"½": "1/2", "∕": "/", "·": "*", "ℓ": "l", "₀": "0", "₁": "1", "₂": "2", "σ": "sigma"},
        **{"\u2011": "-", "\u2060": ""},
    }
)


def spelled(text: str, encoding: str | None) -> str:
    """Text in letters of an encoding; those that are no letters of it are spelled or escaped."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = "".join(
            letter
            if letter.encode(encoding, "ignore")
            else letter.translate(_SPELLED).encode(encoding, "backslashreplace").decode(encoding)
            for letter in text
        )
    return text


def print_line(line: str) -> None:
    """Print a line on the standard error stream."""
    with suppress(OSError):  # a full disk under a log is no reason to stop
        terminal(stderr=True).print(line, soft_wrap=True)


def terminal(**options: Any) -> Console:
    """A console of rich to which every text is data: neither markup nor a control character."""
    from rich.console import Console, ConsoleDimensions
    from rich.text import Text

    class Terminal(Console):
        @property  # type: ignore[misc]  # nothing sets it
        def size(self) -> ConsoleDimensions:
            """At least WIDTH columns for tables, whose figures would else be cut."""
            width, height = super().size
            return ConsoleDimensions(width if self.stderr and width else max(width, WIDTH), height)

        def render_str(self, text: str, **how: Any) -> Text:
            return super().render_str(spelled(printable(text), self.encoding), **how)

    # In a notebook rich would show what a caller wants as text, or writes to a stream.
    how = {"markup": False, "emoji": False, "highlight": False, "force_jupyter": False}
    return Terminal(**how | options)


def quiet(line: str) -> None:
    """Say nothing: the log of who has said it already, or of what is not the user's."""


class ProgressLines:
    """Progress in a log file: a line every tenth of the work, LINE_SECONDS apart or more."""

    def __init__(self, doing: str, unit: str) -> None:
        self._doing, self._unit = doing, unit
        self._begun = self._last = time.monotonic()
        # Where work that is resumed stands when it is first shown, and when that was.
        self._first: tuple[int, float] | None = None

    def show(self, done: int, total: int) -> None:
        """Print a line where one is due."""
        now = time.monotonic()
        if self._first is None:
            soon = now - self._begun < LINE_SECONDS
            self._first = (done, now) if soon else (0, self._begun)
            self._tenth = 10 * self._first[0] // max(total, 1)
        tenth = 10 * done // max(total, 1)
        if now - self._last < LINE_SECONDS or tenth <= self._tenth:
            return
        self._last, self._tenth = now, tenth
        before, since = self._first
        left = (now - since) * (total - done) / max(done - before, 1)
        spent = _clock(now - self._begun)
        print_line(f"{self._doing}: {done} of {total} {self._unit}, {spent}, ETA {_clock(left)}")


class NotebookBar:
    """A bar under a notebook's cell, once work has taken NOTEBOOK_SECONDS; gone when it is done."""

    def __init__(self, doing: str) -> None:
        self._doing, self._begun, self._last = doing, time.monotonic(), 0.0
        self._shown: Any = None

    def __call__(self, now: Any) -> None:
        """Show what is done of the total."""
        from IPython.display import HTML, display

        at, ended = time.monotonic(), now.done >= now.total
        if self._shown is None and not ended and at - self._begun >= NOTEBOOK_SECONDS:
            self._shown = display(HTML(""), display_id=True)
        if self._shown is not None and (ended or at - self._last >= 0.1):
            left = _clock((at - self._begun) * (now.total - now.done) / max(now.done, 1))
            words = f"{self._doing}: {now.done} of {now.total}, ETA {left}"
            bar = f"<progress value={now.done} max={now.total}></progress> {words}"
            self._shown.update(HTML("" if ended else bar))
            self._last = at


def notebook_bar(doing: str) -> NotebookBar | None:
    """What shows progress where nobody says how: a bar in a notebook, elsewhere nothing."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return NotebookBar(doing) if hasattr(shell, "kernel") else None


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


@contextmanager
def counting(label: str, total: int | None, *, show: bool) -> Iterator[Callable[[], None]]:
    """Show a bar while the block works; yield what to call after each of its `total` steps."""
    from rich import progress

    if show and total is not None and not terminal(stderr=True).is_terminal:
        lines, steps = ProgressLines(label, "files"), itertools.count(1)
        yield lambda: lines.show(next(steps), total)
        return
    eta = () if total is None else ("ETA", progress.TimeRemainingColumn())
    with _bar(show, progress.TimeElapsedColumn(), *eta) as bar:
        task = bar.add_task(printable(label), total=total)
        yield lambda: bar.advance(task)


@contextmanager
def downloading(label: str, most: int, *, show: bool) -> Iterator[DownloadBar]:
    """Show a bar while the block downloads, which is stopped after `most` bytes."""
    from rich import progress

    speed = progress.DownloadColumn(), progress.TransferSpeedColumn()
    with _bar(show, *speed, "ETA", progress.TimeRemainingColumn()) as bar:
        yield DownloadBar(bar, bar.add_task(printable(label), total=None), most)


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
    from rich.progress import BarColumn, Progress, TextColumn

    console = terminal(stderr=True)
    # In a log file a bar would leave blank lines and nothing else.
    hidden = not (show and console.is_terminal)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *columns)
    return Progress(*columns, console=console, transient=True, disable=hidden)
