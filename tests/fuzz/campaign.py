"""Reads damaged files in child processes: a crash or a hang is that of the case that was begun."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue

ROOT = Path(__file__).resolve().parents[2]
BATCH = 100
# Seconds that a case may take, where the processor may be shared, and a child to be ready.
PATIENCE, READY = 120.0, 300.0
# Cases until a child is replaced: allocators keep some of what large files took.
MAX_CASES = 12_000
WORKER = (sys.executable, "-m", "tests.fuzz.worker")


@dataclass
class Tally:
    """How the cases of one format went: numbers of the cases by how each went, in words."""

    cases: int = 0
    read: int = 0
    refused: int = 0
    faults: dict[str, list[int]] = field(default_factory=dict)

    def add(self, number: int, told: str) -> None:
        self.cases += 1
        if told == "read":
            self.read += 1
        elif told == "refused":
            self.refused += 1
        else:
            self.faults.setdefault(told, []).append(number)

    @property
    def wrong(self) -> int:
        return sum(map(len, self.faults.values()))


class Child:
    """A process that reads damaged files; restarted after one that it did not survive."""

    def __init__(self, seed: int, worker: Sequence[str] = WORKER) -> None:
        self._command = [*worker, str(seed)]
        self._process: subprocess.Popen[str] | None = None
        self._said, self._cases = b"", 0

    def read(self, format_name: str, number: int) -> str:
        """How a case went."""
        self._cases += 1
        if self._cases % MAX_CASES == 0:
            self.close()
        fresh = self._process is None
        process = self._process or self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(f"{format_name} {number}\n")
            process.stdin.flush()
            told = self._line(READY if fresh else PATIENCE)
            told = self._line(PATIENCE) if told == "begin" else told
        except BrokenPipeError:
            told = ""
        if told:
            return told
        if told is None:
            process.kill()
        self.close()
        code = process.returncode
        if told is None:
            return f"hangs: no answer within {PATIENCE:.0f} s"
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"crashes: {name}"

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
        process.stdout.close()

    def _start(self) -> subprocess.Popen[str]:
        # One thread each: the cores are shared by the children.
        threads = dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ONELAYER_THREADS"), "1"
        )
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, **threads}, bufsize=1,
        )  # fmt: skip
        return self._process

    def _line(self, seconds: float) -> str | None:
        """The next line; "" where the process has ended, None where it says nothing in time."""
        assert self._process is not None
        assert self._process.stdout is not None
        stream = self._process.stdout.fileno()
        while b"\n" not in self._said:
            if not select.select([stream], [], [], seconds)[0]:
                return None
            more = os.read(stream, 1 << 16)
            if not more:
                return ""
            self._said += more
        line, _, self._said = self._said.partition(b"\n")
        return line.decode("utf-8", "replace")


def campaign(
    formats: Sequence[str],
    cases: int,
    *,
    first: int = 0,
    seed: int = 0,
    batch: int = BATCH,
    children: int = 2,
    say: Callable[[str], None] = lambda line: None,
    worker: Sequence[str] = WORKER,
) -> dict[str, Tally]:
    """Read the damaged files from `first` to `cases` of each format; a seed gives the same ones."""
    tallies = {name: Tally() for name in formats}
    batches: Queue[tuple[str, range]] = Queue()
    for start in range(first, cases, batch):
        for name in formats:
            batches.put((name, range(start, min(start + batch, cases))))
    lock = threading.Lock()

    def work() -> None:
        child = Child(seed, worker)
        try:
            for name, number in _numbers(batches):
                told = child.read(name, number)
                with lock:
                    known = told in tallies[name].faults
                    tallies[name].add(number, told)
                if told not in ("read", "refused") and not known:
                    say(f"{name} {number}: {told}")
        finally:
            child.close()

    threads = [threading.Thread(target=work) for _ in range(children)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tallies


def _numbers(batches: Queue[tuple[str, range]]) -> Iterator[tuple[str, int]]:
    while True:
        try:
            name, numbers = batches.get_nowait()
        except Empty:
            return
        for number in numbers:
            yield name, number


def lines_of(
    tallies: dict[str, Tally], seed: int, program: str = "tests.fuzz", of: str = "format"
) -> Iterator[str]:
    """A table of counts, and each fault with the command that repeats it."""
    yield f"{of:14} {'cases':>8} {'read':>8} {'refused':>8} {'faults':>8}"
    for name, tally in tallies.items():
        yield f"{name:14} {tally.cases:8d} {tally.read:8d} {tally.refused:8d} {tally.wrong:8d}"
    for name, tally in tallies.items():
        kinds: dict[str, list[tuple[int, str]]] = {}
        for told, numbers in tally.faults.items():
            # Faults of one kind differ in the values that their messages quote.
            kinds.setdefault(told.partition(": ")[0], []).extend((n, told) for n in numbers)
        for some in sorted(kinds.values(), key=len, reverse=True):
            number, told = min(some)
            yield f"\n{name}, {len(some)} times: {told}"
            yield f"  python -m {program} --seed {seed} --case {name.replace(' ', '-')}:{number}"
