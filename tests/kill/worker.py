"""python -m tests.kill.worker KIND RUN: a small sweep or λ path with many checkpoints."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from onelayer.files.manifest import read_manifest
from onelayer.files.saved import Saved
from onelayer.solver import solve_path
from onelayer.training.checkpoint import Checkpoint
from onelayer.training.run import grid
from onelayer.training.run_folder import save_records
from onelayer.training.sweep import sweep
from tests.made_data import make_splits

RUNS = grid(
    learning_rate=[0.05, 0.4, 300.0], l2=[0.0, 0.05], batch_size=[4, 7], epochs=15,
    shuffle=[True, False], shuffle_seed=3, momentum=0.5,
)  # fmt: skip

KINDS: dict[str, Callable[[Checkpoint], Saved]] = {
    "sweep": lambda kept: sweep(make_splits(), RUNS, checkpoint=kept),
    "path": lambda kept: solve_path(
        make_splits(20_000), [10.0**-i for i in range(8)], folds=4, tol=1e-9, checkpoint=kept
    ),
}


def main(kind: str, folder: Path) -> None:
    """Train or solve, or resume it, unless it has ended already."""
    warnings.simplefilter("ignore", UserWarning)
    if read_manifest(folder) is not None:  # also where its files still wait to be moved
        return
    save_records(KINDS[kind](Checkpoint(folder, every=0.01, resume=True)), folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
