"""Commands in children with limits: what they say, how they end, and what they leave behind.

A child is forked from a process that has imported everything, so a command takes a tenth of a
second. It has a group of its own, and no terminal.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

# Seconds of the clock that a command may take before it counts as a hang.
PATIENCE = 60.0

# Lines that are no error: what was noticed, and what goes on.
NOTES = ("note:", "warning:")

# Exit codes: done, an expected error, a wrong setting or usage, and what a signal ends.
ENDS = (0, 1, 2, 128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGHUP)


class FaultError(AssertionError):
    """What must not be, in words."""


@dataclass(frozen=True)
class Said:
    """How a command ended: its exit code, or minus the signal, and its two streams."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """Lines on standard error that are no notes."""
        return [
            line for line in self.err.splitlines() if line.strip() and not line.startswith(NOTES)
        ]

    def end(self) -> str:
        """ "done" or "refused"; a `FaultError` for every other end."""
        shown = f"{' '.join(map(repr, self.words))}: {self.err[-600:]!r}"
        if "Traceback" in self.err or "Exception ignored" in self.err:
            last = [line for line in self.err.splitlines() if line.strip()][-1]
            raise FaultError(f"traceback: {last:.200} ({shown})")
        if self.code not in ENDS:
            raise FaultError(f"ends with {self.code}: {shown}")
        if self.code and len(self.errors) != 1:
            raise FaultError(f"{len(self.errors)} lines of error: {shown}")
        if not self.code and any(line.startswith("error:") for line in self.errors):
            raise FaultError(f"an error and exit code 0: {shown}")
        return "refused" if self.code else "read"


def run(
    words: Sequence[str],
    folder: Path,
    *,
    kill_after: float | None = None,
    before: Callable[[], None] | None = None,
    environment: Mapping[str, str] | None = None,
    patience: float = PATIENCE,
) -> Said:
    """Run a command in a folder; `before` is called in its process, ahead of it."""
    from onelayer import cli

    files = [os.memfd_create(name) for name in ("out", "err")]
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, file in enumerate(files, start=1):
                os.dup2(file, number)
            sys.stdout, sys.stderr = (
                os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
                for number in (1, 2)
            )
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.chdir(folder)
            # What is kept elsewhere is gone with the case.
            os.environ.update({"TMPDIR": str(folder.parent)} | dict(environment or {}))
            tempfile.tempdir = None
            sys.argv = ["onelayer", *words]
            if before is not None:
                before()
            try:
                cli.main()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    started, status = time.monotonic(), None
    while status is None:
        done, found = os.waitpid(child, os.WNOHANG)
        status = found if done else None
        spent = time.monotonic() - started
        if status is None and spent > (patience if kill_after is None else kill_after):
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if kill_after is None:
                raise FaultError(f"hangs: {' '.join(map(repr, words))}, {patience:.0f} s")
        time.sleep(0.002)
    with suppress(ProcessLookupError):  # what it has started
        os.killpg(child, signal.SIGKILL)
    texts = []
    for file in files:
        os.lseek(file, 0, os.SEEK_SET)
        with os.fdopen(file, "rb") as stream:
            texts.append(stream.read().decode("utf-8", "replace"))
    return Said(tuple(words), os.waitstatus_to_exitcode(status), *texts)


@dataclass(frozen=True)
class Case:
    """One case: an empty folder to work in, what it draws by, and what all cases share."""

    folder: Path
    rng: Random
    made: Path  # rows.npz, run, path, model.safetensors and killed, which nobody may change

    def run(self, *words: str, **how: Any) -> Said:
        """Run a command in the folder."""
        return run(words, self.folder, **how)

    def mine(self, *names: str) -> dict[Path, Any]:
        """Write files that are the user's own, and return what there is now."""
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(f"my own {name}")
        return snapshot(self.folder)


def snapshot(folder: Path) -> dict[Path, Any]:
    """What is in a folder: links by their target, files by content, others by their kind."""
    found: dict[Path, Any] = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        if path.is_symlink():
            found[path] = os.readlink(path)
        elif path.is_file():
            found[path] = (status.st_mode, path.read_bytes())
        else:
            found[path] = (status.st_mode, status.st_rdev)
    return found


def require_unchanged(before: Mapping[Path, Any], now: Mapping[Path, Any]) -> None:
    """A `FaultError` for what is missing or other than it was."""
    for path, content in before.items():
        if path not in now:
            raise FaultError(f"lost: {path.name}")
        if now[path] != content:
            raise FaultError(f"changed: {path.name}")


def require_tidy(folder: Path) -> None:
    """A `FaultError` for what a command that was not killed leaves beside its output."""
    left = [path.name for path in folder.rglob(".*") if not path.name.startswith(".keep")]
    if left:
        raise FaultError(f"left behind: {left}")


def records_of(folder: Path) -> dict[str, bytes]:
    """The files of a run folder that hold its records."""
    names = ("settings.json", "weights.safetensors")
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
