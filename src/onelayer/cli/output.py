"""What commands print: results on standard output, notes and errors on standard error.

Processes that were started together speak once: the first one prints and writes for all. A note
that cannot be written is lost, and standard output that cannot be written ends the command.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import progress as rich
from rich.console import Console

from onelayer.data.formats.base import is_pattern, match_pattern
from onelayer.data.progress import ProgressLines, spelled, terminal
from onelayer.engines.processes import leads, processes, rank
from onelayer.errors import UNPRINTABLE, SettingsError, home_path
from onelayer.report.table import Table
from onelayer.solver.path import PathProgress
from onelayer.training.loop import Progress

BROKEN_PIPE = 141  # what shells expect of a command whose reader is gone

console = terminal()
err = terminal(stderr=True)


class OutputError(Exception):
    """Standard output cannot be written, for this OSError."""


class _Stream:
    """A standard stream; `refuse` is called with what it cannot be written for."""

    def __init__(self, stream: Any, refuse: Callable[[OSError], object]) -> None:
        self._stream, self._refuse = stream, refuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(spelled(text, self._stream.encoding))
        except OSError as error:
            self._refuse(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._refuse(error)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Stand in for streams that are closed, and for what cannot be written to them."""

    def end(error: OSError) -> None:
        raise OutputError(error)

    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the next file to be opened would become the stream
            os.dup2(null, number)
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nothing,
        redirect_stdout(_Stream(sys.stdout or nothing, end)),
        redirect_stderr(_Stream(sys.stderr or nothing, lambda error: None)),
    ):
        try:
            yield
        except OutputError as error:
            reason: OSError = error.args[0]
            with suppress(OSError):  # what is left to be written is dropped
                os.dup2(null, sys.stdout.fileno())
            if reason.errno == errno.EPIPE:
                sys.exit(BROKEN_PIPE)
            print_error(
                f"standard output cannot be written ({reason.strerror}); files that were saved "
                "are whole."
            )
            sys.exit(1)
        finally:
            os.close(null)


def note(message: str) -> None:
    """Print a note on standard error."""
    _print_marked(err, "note:", "yellow", [message])


def _print_marked(to: Console, mark: str, style: str, lines: list[str]) -> None:
    to.print(mark, style=style, end=" ")
    for line in lines:
        to.print(line, soft_wrap=True)


def print_line(text: str) -> None:
    """Print a line as it is: not wrapped, not coloured."""
    console.print(text, soft_wrap=True)


def print_table(table: Table) -> None:
    """Print a table; one that is wider than the terminal is not cut."""
    console.print(table, crop=False)


def print_json(values: Any) -> None:
    """Print figures as JSON on standard output; a number that is not finite becomes null."""
    ascii_ = not console.encoding.startswith("utf")
    text = json.dumps(_plain(values), indent=2, ensure_ascii=ascii_, allow_nan=False)
    for line in text.split("\n"):
        print(UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", line))
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


@contextmanager
def progress_bar(doing: str, unit: str) -> Iterator[Callable[[Progress | PathProgress], None]]:
    """A bar with the time left, once work is done of a total; no terminal: a line now and then."""
    if not err.is_terminal:
        lines = ProgressLines(doing, unit)
        yield lambda now: lines.show(now.done, now.total)
        return
    # A whole line fits in, of millions of epochs as well; else the figures would be cut.
    wide = err.width >= 70
    columns = (
        rich.TextColumn("{task.description}"),
        *([rich.BarColumn()] if wide else []),
        rich.TextColumn("{task.completed}/{task.total}" + f" {unit}" * wide),
        *([rich.TimeElapsedColumn()] if wide else []),
        rich.TextColumn("ETA"),
        rich.TimeRemainingColumn(),
    )
    bar = rich.Progress(*columns, console=err)
    task = bar.add_task(doing, total=None)
    with err.status(doing) as spinner:

        def show(now: Progress | PathProgress) -> None:
            spinner.stop()
            bar.start()
            bar.update(task, completed=now.done, total=now.total)

        try:
            yield show
        finally:
            if bar.live.is_started:
                bar.stop()


def refuse_overwriting(out: Path, *inputs: object) -> None:
    """Raise `SettingsError` where an output is a file that the command reads, by whatever name."""
    if not out.is_file():
        return
    there = os.stat(out)
    for named in map(str, filter(None, inputs)):
        ends = [len(named), *(i for i, letter in enumerate(named) if letter == ":")]
        for path in (home_path(named[:end]) for end in ends):
            found = [*path.rglob("*")] if path.is_dir() else [path]
            found = match_pattern(path) if is_pattern(path) else found
            for file in found:
                if file.is_file() and os.path.samestat(os.stat(file), there):
                    same = "" if file == out else f" (as {file})"
                    raise SettingsError(
                        f"{out} is read by this command{same} and would be overwritten; name "
                        "another output."
                    )


@contextmanager
def written_once(path: Path) -> Iterator[Path]:
    """The path itself for the first process; a temporary file for the others."""
    if leads():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / path.name


def print_error(message: str) -> None:
    """Print why the command failed: once, by the process that failed first."""
    if processes() > 1 and not _is_first_to_fail():
        return
    text = message if leads() else f"process {rank()}: {message}"
    to = err if leads() else terminal(file=sys.__stderr__)
    _print_marked(to, "error:", "red", text.split("\n"))


def _is_first_to_fail() -> bool:
    try:
        from onelayer.engines.torch.distributed import is_first_to_fail
    except ModuleNotFoundError:
        return leads()
    return is_first_to_fail()


def silence_other_processes() -> None:
    """Discard what processes other than the first print; tracebacks are shown from any."""
    try:
        if leads():
            return
    except SettingsError as error:  # variables of a launcher that is none
        _print_marked(err, "error:", "red", [str(error)])
        raise SystemExit(2) from None
    sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    sys.excepthook = lambda *error: traceback.print_exception(*error, file=sys.__stderr__)
