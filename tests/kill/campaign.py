"""Kill a command that resumes itself, again and again, until it ends; then compare its files."""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from onelayer.files.manifest import CHECKPOINTS, COMMITTED, STAGING, read_manifest
from onelayer.training.checkpoint import unfinished

# What must be the same, byte for byte, where it is there; the other files hold times.
COMPARED = ("weights.safetensors", "history.parquet", "held_out.parquet")
# A process that has not ended after so many times the whole duration hangs.
PATIENCE = 100


@dataclass
class Tally:
    """What a campaign saw.

    Attributes:
        kills: by what was going on when they came.
        ended: sweeps that came to their end and to the same bits.
    """

    kills: Counter[str] = field(default_factory=Counter)
    ended: int = 0


def run_whole(command: Callable[[Path], list[str]], folder: Path) -> float:
    """Run a command undisturbed; return its seconds."""
    started = time.monotonic()
    done = subprocess.run(command(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - started


def campaign(
    command: Callable[[Path], list[str]], place: Path, *, kills: int, seed: int
) -> Iterator[Tally]:
    """Kill so many processes at random moments, each resuming the one before it.

    A sweep that ends before its kill is compared with an undisturbed one, and the next is begun;
    the last is brought to its end.

    Args:
        command: the words of a command that trains in a folder and goes on from what is there.
        place: an empty folder.
        kills: how many.
        seed: draws the moments.

    Yields:
        What was seen so far, after every process.

    Raises:
        AssertionError: when a sweep fails, loses progress, or ends with other bits.
    """
    drawn, tally = random.Random(seed), Tally()
    whole = place / "whole"
    seconds = run_whole(command, whole)
    expected = {name: (whole / name).read_bytes() for name in COMPARED if (whole / name).exists()}
    folder, done, under_way = place / "killed-0", 0, False
    while under_way or tally.kills.total() < kills:
        last = tally.kills.total() >= kills
        moment = PATIENCE * seconds if last else drawn.uniform(0.0, seconds)
        started = time.monotonic()
        said = _run_until(command(folder), moment)
        under_way = said is None
        if done == 0 and said is not None:
            seconds = time.monotonic() - started  # the machine may be busier, or idler, than it was
        if said is None:
            assert not last, "it hangs"
            tally.kills[_doing(folder, done)] += 1
            done = _progress(folder, done)
        else:
            _check(folder, expected, said)
            tally.ended += 1
            folder, done = place / f"killed-{tally.ended}", 0
        yield tally


def _run_until(words: list[str], moment: float) -> tuple[int, str] | None:
    """Run until that moment; return its code and its errors when it ended before, else None."""
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _, said = process.communicate(timeout=moment)
            return process.returncode, said
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None


def _doing(folder: Path, before: int) -> str:
    """What was going on when the kill came."""
    if (folder / COMMITTED).exists():
        return "while it was moved into place"
    if (folder / STAGING).exists():
        return "while it was written"
    if any((folder / CHECKPOINTS).glob(".*.part")):
        return "in the middle of a checkpoint"
    found = unfinished(folder)
    return "in training" if found is not None and found.done > before else "before training went on"


def _progress(folder: Path, before: int) -> int:
    """Run-epochs in the newest checkpoint: never fewer than before."""
    found = unfinished(folder)
    if found is None:
        finished = read_manifest(folder) is not None
        assert before == 0 or finished, f"{folder}: its checkpoints are gone"
        return before
    assert found.done >= before, f"{folder}: from {before} back to {found.done} epochs"
    return found.done


def _check(folder: Path, expected: dict[str, bytes], said: tuple[int, str]) -> None:
    code, errors = said
    assert code == 0, errors
    for name, content in expected.items():
        assert (folder / name).read_bytes() == content, f"{folder / name} has other bits"
    last = [path.name.partition("-")[0] for path in folder.glob(f"{CHECKPOINTS}/*")]
    assert len(last) == len(set(last)), f"{folder} keeps more than its last states: {last}"
    left = [path.name for place in (folder, folder.parent) for path in place.glob(".*")]
    assert not left, f"left behind: {left}"
