"""python -m tests.kill.ranks [KILLS] [SEED]: kill one of three ranks under torchrun, compare.

torchrun starts all of them again, and they go on from the last checkpoint without being told to.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RANKS = 3
OPTIONS = (
    *("train", "--data", "digits", "--engine", "torch", "--device", "cpu", "--seeds", "2"),
    *("--learning-rate", "0.1,0.3", "--l2", "0", "--batch-size", "8", "--shuffle-seed", "5"),
    *("--checkpoint-every", "0.1"),
)
# What a run folder holds but times.
SAME = "weights.safetensors"


def start(
    folder: Path, *options: str, ranks: int, restarts: int = 0, epochs: int = 4
) -> subprocess.Popen[str]:
    """Start a sweep on so many ranks; its output is to be read from the process."""
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    program += ["--nproc-per-node", str(ranks), "--max-restarts", str(restarts)]
    program += ["--monitor-interval", "0.1", "-m", "onelayer", *OPTIONS]
    return subprocess.Popen(
        [*program, "--epochs", str(epochs), "--out", str(folder), *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> str:
    """What a sweep that ends well has printed."""
    words, _ = process.communicate(timeout=300)
    assert process.returncode == 0, words
    return words


def kill_rank(launcher: int, rank: int) -> bool:
    """SIGKILL the process of that rank; whether there was one."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children")
    for child in children.read_text().split() if children.exists() else ():
        try:
            told = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            if f"RANK={rank}".encode() in told:
                os.kill(int(child), signal.SIGKILL)
                return True
        except (OSError, ProcessLookupError):
            continue
    return False


def kill_in_the_midst(process: subprocess.Popen[str], folder: Path, rank: int, wait: float) -> bool:
    """Kill a rank so many seconds after a checkpoint is there; whether training still went on."""
    while process.poll() is None and not any(folder.glob("checkpoints/*.safetensors")):
        time.sleep(0.01)
    time.sleep(wait)
    return process.poll() is None and kill_rank(process.pid, rank)


def main(kills: int, seed: int) -> None:
    """One kill a sweep, at a random moment of it; stops at the first result that differs."""
    drawn, started, done = random.Random(seed), time.monotonic(), 0
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        began = time.monotonic()
        ended(start(place / "whole", ranks=RANKS))
        whole, seconds = (place / "whole" / SAME).read_bytes(), time.monotonic() - began
        for number in range(10 * kills):
            folder = place / str(number)
            process = start(folder, ranks=RANKS, restarts=3)
            killed = kill_in_the_midst(
                process, folder, drawn.randrange(RANKS), drawn.uniform(0, seconds / 2)
            )
            words = ended(process)
            assert (folder / SAME).read_bytes() == whole, words
            done += killed
            print(f"{done} kills, {number + 1} sweeps ended with the same bits", flush=True)
            if done == kills:
                break
    print(f"seed {seed}, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [20, 0][len(given) :]))
