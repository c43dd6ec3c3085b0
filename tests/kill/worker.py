"""python -m tests.kill.worker RUN: a small sweep that writes checkpoints as often as it can."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from onelayer.files.manifest import MANIFEST_FILE
from onelayer.training.checkpoint import Checkpoint
from onelayer.training.run import grid
from onelayer.training.run_folder import save_records
from onelayer.training.sweep import sweep
from tests.made_data import make_splits

RUNS = grid(
    learning_rate=[0.05, 0.4, 300.0], l2=[0.0, 0.05], batch_size=[4, 7], epochs=15,
    shuffle=[True, False], shuffle_seed=3, momentum=0.5,
)  # fmt: skip


def main(folder: Path) -> None:
    """Train, or go on, unless it has ended already."""
    warnings.simplefilter("ignore", UserWarning)
    if (folder / MANIFEST_FILE).exists():
        return
    checkpoint = Checkpoint(folder, every=0.01, resume=True)
    save_records(sweep(make_splits(), RUNS, checkpoint=checkpoint), folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
