"""python -m tests.kill.worker KIND RUN [N]: a small sweep, λ path or suite with many checkpoints.

A suite, or one with few shots, ends itself by SIGKILL after N solutions.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from onelayer.experiments.probe import probe
from onelayer.files.atomic import writing
from onelayer.files.manifest import read_manifest
from onelayer.files.saved import Saved
from onelayer.solver import PathProgress, solve_path
from onelayer.training.checkpoint import Checkpoint
from onelayer.training.run import grid
from onelayer.training.run_folder import save_records
from onelayer.training.sweep import sweep
from tests.made_data import make_dataset, make_splits

RUNS = grid(
    learning_rate=[0.05, 0.4, 300.0], l2=[0.0, 0.05], batch_size=[4, 7], epochs=15,
    shuffle=[True, False], shuffle_seed=3, momentum=0.5,
)  # fmt: skip

ROWS = make_dataset(400, seed=1)
SETS = {f"layer{i}": np.asarray(ROWS.X[:, : 4 * i]) for i in (1, 2, 3)}


def die_after(solutions: int) -> Callable[[PathProgress], None]:
    """A callback that ends this process at its n-th solution, before anything else is done."""
    left = [solutions]

    def on_progress(_: PathProgress) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return on_progress


def suite(kept: Checkpoint, solutions: int = 0, shots: tuple[int, ...] = ()) -> Saved:
    """Three feature sets of three λ; the work ends by SIGKILL after so many of them.

    Each shot takes six solutions more.
    """
    return probe(
        SETS, ROWS.y, l2=[1.0, 0.1, 0.01], shots=shots, repeats=2, folds=2, checkpoint=kept,
        on_progress=die_after(solutions),
    )  # fmt: skip


KINDS: dict[str, Callable[[Checkpoint], Saved]] = {
    "sweep": lambda kept: sweep(make_splits(), RUNS, checkpoint=kept),
    "path": lambda kept: solve_path(
        make_splits(20_000), [10.0**-i for i in range(8)], folds=4, tol=1e-9, checkpoint=kept
    ),
}


def main(kind: str, folder: Path, solutions: int = 0) -> None:
    """Train, solve or probe, or resume it, unless it has ended already."""
    warnings.simplefilter("ignore", UserWarning)
    if read_manifest(folder) is not None:
        with writing(folder):  # files that a kill left waiting are moved to their places
            return
    if kind in ("suite", "shots"):
        shots = (1, 2, 5) if kind == "shots" else ()
        save_records(suite(Checkpoint(folder, every=0.0, resume=True), solutions, shots), folder)
        return
    save_records(KINDS[kind](Checkpoint(folder, every=0.01, resume=True)), folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
