"""The process that trains for one epoch and tells how long it took, as JSON on its last line.

Run as `python -m benchmarks.streaming.worker FOLDER (files | first | memory) WEIGHTS`: all shards
from their files, the first one from its file, or the first one from memory. The clock runs over
the epoch alone, and the weights go to a file.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.memory import peak_bytes
from onelayer import load
from onelayer.data import Dataset
from onelayer.data.rows import rows_of
from onelayer.data.scaling import fit_scaling
from onelayer.engines import Method, State, Steps, Weights, make_engine, streaming

LEARNING_RATES = np.geomspace(1e-4, 1e-2, 8)
BATCH_SIZE = 512


def train(dataset: Dataset, classes: int) -> tuple[float, Weights]:
    """Seconds and weights of one epoch of 8 runs in the order of the rows."""
    runs = len(LEARNING_RATES)
    shape = (runs, classes, dataset.features)
    start = Weights(np.zeros(shape, np.float32), np.zeros(shape[:2], np.float32))
    rows = rows_of(dataset, fit_scaling("none", dataset.X, dataset.max_value))
    trainer = streaming(make_engine()).begin(State(start), Method.plain(np.full(runs, 1e-4)))
    steps = Steps.constant(LEARNING_RATES, rows.count, BATCH_SIZE)
    started = time.perf_counter()
    trainer.epoch(rows, steps)
    return time.perf_counter() - started, trainer.weights()


def main(folder: Path, what: str, to: Path) -> None:
    """Train as said."""
    every = what == "files"
    X, y = ("X-*.npy", "y.npy") if every else ("X-00.npy", "y-first.npy")
    # Small parts of their own, so that none is cut off the rows that are trained on.
    few, labels = folder / "few.npy", folder / "few-labels.npy"
    splits = load(
        str(folder / X), labels=folder / y, validation=few, validation_labels=labels,
        test=few, test_labels=labels, stream=what != "memory", progress=False,
    )  # fmt: skip
    seconds, weights = train(splits.train, len(splits.train.class_names))
    np.save(to, weights.W)
    print(json.dumps({"seconds": seconds, "peak": peak_bytes()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
