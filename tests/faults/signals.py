"""python -m tests.faults.signals [CASES] [SEED]: signals at random moments over every command.

Each command runs in a child on a terminal of its own, and gets Ctrl-C, SIGTERM or SIGHUP while it
imports, reads, trains, solves, draws or writes. It must end at once with one line and 128 + n, or
be done with what it has to do; training is then resumed and must have the bits of an undisturbed
run. Every other end is a fault.
"""

from __future__ import annotations

import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from tests.made_data import make_dataset

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

DATA = ("--data", "rows.npz")
TRAINED = ("--epochs", "30", "--batch-size", "10", *DATA, "--checkpoint-every", "0.05")

# Commands that train: interrupted, they are resumed and compared.
RESUMED = {
    "train one": ("train", "--lr", "0.05", "--certify", *TRAINED),
    "train many": ("train", "--lr", "0.05,0.1", "--l2", "0,0.1", *TRAINED),
    "solve": ("solve", *DATA, "--l2", "1e-4:1:6", "--folds", "3", "--checkpoint-every", "0.05"),
    "reproduce": ("reproduce", "--data", "digits", "--seeds", "1", "--checkpoint-every", "0.05"),
}
OTHERS = {
    "best-linear": (
        *("best-linear", "--data", "digits", "--moves", "0", "--no-flips", "--epochs", "20"),
        *("--seeds", "2", "--folds", "2", "--out", "{out}/m.safetensors"),
    ),
    "evaluate": ("evaluate", "run"),
    "predict": ("predict", "run", "digits:test", "{out}/p.csv"),
    "inspect": ("inspect", "run", "--out", "{out}/t.png"),
    "export": ("export", "run", "{out}/m.onnx"),
    "certify": ("certify", "run"),
    "check-gradient": ("check-gradient", "--data", "digits"),
    "suggest": ("suggest-learning-rate", "--data", "digits"),
    "report": ("report", "run"),
    "rerun": ("rerun", "run", "--out", "{out}"),
    "data list": ("data", "list"),
}

# Python's own words where Ctrl-C comes while it starts up, before it has read a line of onelayer.
_STARTING = "Could not import runpy module"

# Ends that are as they should be; every other one is a fault.
GOOD = ("finished", "one line", "one line, then resumed to the same bits", "ended before Python")

PATIENCE = 300.0

# What a terminal is told: to hide and to show its cursor, and all else that is no text.
_CURSOR = re.compile(r"\x1b\[\?25([lh])")
_ESCAPES = re.compile(r"\x1b\[[?0-9;]*[a-zA-Z]|\r")


def run_cases(
    count: int, seed: int = 0, log: Callable[[str], None] = lambda line: None
) -> Counter[str]:
    """Give so many commands a signal; how they ended, by kind. Faults are logged with their words.

    Example of a result: Counter({"one line": 60, "finished": 30}); `GOOD` names what is no fault.
    """
    drawn, ends = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        _prepare(place)
        seconds: dict[str, float] = {}
        for case in range(count):
            name = drawn.choice([*RESUMED, *OTHERS])
            number = drawn.choice(SIGNALS)
            moment = drawn.random()
            if name not in seconds:
                seconds[name] = _run_whole(place, name)
            out = f"out-{case}"
            ended = _end_of(place, name, number, moment * seconds[name], out)
            kind, said = ended
            ends[kind] += 1
            if kind not in GOOD:
                log(f"case {case}: {name}, {number.name} at {moment:.2f}: {kind}\n{said}")
            shutil.rmtree(place / out, ignore_errors=True)
    return ends


def _prepare(place: Path) -> None:
    rows = make_dataset(400, seed=1)
    np.savez(place / "rows.npz", X=rows.X, y=rows.y)
    words = ("train", "--data", "digits", "--lr", "0.05", "--epochs", "2", "--out", "run")
    assert _start(place, words).wait(PATIENCE) == 0


def _run_whole(place: Path, name: str) -> float:
    """Run a command undisturbed into the folder "whole NAME"; its seconds."""
    started = time.monotonic()
    process = _start(place, _words(name, f"whole {name}"))
    assert process.wait(PATIENCE) == 0, name
    return time.monotonic() - started


def _words(name: str, out: str) -> tuple[str, ...]:
    if name in RESUMED:
        return (*RESUMED[name], "--out", out)
    return tuple(word.replace("{out}", out) for word in OTHERS[name])


def _start(
    place: Path, words: tuple[str, ...], errors: int | None = None
) -> subprocess.Popen[bytes]:
    # A background shell has its children ignore Ctrl-C, and they would hand that down.
    def listen() -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    return subprocess.Popen(
        [sys.executable, "-m", "onelayer", *words],
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if errors is None else errors,
        preexec_fn=listen,
    )


def _end_of(
    place: Path, name: str, number: signal.Signals, moment: float, out: str
) -> tuple[str, str]:
    """How a command ended that got a signal, and what it said."""
    terminal = _Terminal()
    process = _start(place, _words(name, out), terminal.errors)
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    process.send_signal(number)
    try:
        code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "hangs", terminal.text()
    text = terminal.text()
    words = [line for line in _ESCAPES.sub("", text).splitlines() if line.strip()]
    cursor = _CURSOR.findall(text)
    if text.startswith(_STARTING) and "onelayer" not in text:
        return "ended before Python", text
    if "Traceback" in text or "Exception ignored" in text:
        return "traceback", text
    if cursor and cursor[-1] != "h":
        return "no cursor", text
    if code == -number and not words:
        return "ended before Python", text
    if code == 0:
        return ("finished" if _is_whole(place, name, out) else "finished with other bits"), text
    if code != 128 + number:
        return f"exit code {code}", text
    if sum("interrupted" in line for line in words) != 1:
        return "not one line", text
    if name not in RESUMED:
        return "one line", text
    resumed = _start(place, (*_words(name, out), "--resume")).wait(PATIENCE)
    if resumed != 0 or not _is_whole(place, name, out):
        return f"resumed to exit code {resumed} and other bits", text
    return "one line, then resumed to the same bits", text


def _is_whole(place: Path, name: str, out: str) -> bool:
    """Whether a finished command has written what the undisturbed one has."""
    if name not in RESUMED:
        return True
    weights = [place / folder / "weights.safetensors" for folder in (out, f"whole {name}")]
    return weights[0].is_file() and weights[0].read_bytes() == weights[1].read_bytes()


class _Terminal:
    """A terminal to write errors on."""

    def __init__(self) -> None:
        self._reader, self.errors = pty.openpty()
        self._pieces: list[bytes] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def text(self) -> str:
        """What was written, once the process has ended."""
        os.close(self.errors)
        self._thread.join(PATIENCE)
        os.close(self._reader)
        return b"".join(self._pieces).decode(errors="replace")

    def _read(self) -> None:
        with suppress(OSError):  # the end, on Linux
            while piece := os.read(self._reader, 65536):
                self._pieces.append(piece)


def main(count: int, seed: int) -> None:
    """Run cases and print how they ended; exit code 1 where there are faults."""
    started = time.monotonic()
    ends = run_cases(count, seed, lambda line: print(line, flush=True))
    print(f"seed {seed}, {count} signals, {time.monotonic() - started:.0f} s:")
    for kind, times in ends.most_common():
        print(f"  {times:5d} {kind}")
    sys.exit(any(kind not in GOOD for kind in ends))


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [100, 0][len(given) :]))
