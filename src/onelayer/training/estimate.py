"""Estimates memory and time of a pass over rows that stay in their files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onelayer.data import Dataset, Splits
from onelayer.data.dataset import require_rows, training_rows
from onelayer.data.memory import format_bytes, resident_memory
from onelayer.data.rows import Rows
from onelayer.data.streaming import stored_rows, tile_memory
from onelayer.engines import Engine, State, Steps, Weights, streaming
from onelayer.errors import SettingsError, known_options
from onelayer.training.run import Run, fit_batches, method_arrays

# Copies of W that training or the solver holds at its peak: state, record, what is measured of it
# in float64, and remembered steps.
COPIES = 12


@dataclass(frozen=True)
class Estimate:
    """An estimate, from one tile of rows that was read and worked on.

    Attributes:
        rows: N.
        features: D.
        dtype: of the features as they are read.
        nbytes: of all features, as they are read.
        memory: bytes of this process at its peak.
        read_seconds: to read all rows once.
        work_seconds: of arithmetic in one pass.
        tile_rows: how many rows were measured.
        doing: what a pass does, in words.
    """

    rows: int
    features: int
    dtype: str
    nbytes: int
    memory: int
    read_seconds: float
    work_seconds: float
    tile_rows: int
    doing: str

    @property
    def seconds(self) -> float:
        """Of one pass: reading and arithmetic go on at the same time."""
        return max(self.read_seconds, self.work_seconds)

    @property
    def sentence(self) -> str:
        """The estimate in words."""
        return (
            f"{self.rows:,} rows of {self.features:,} {self.dtype} features, "
            f"{format_bytes(self.nbytes)}; about {format_bytes(self.memory)} of memory in all; "
            f"{self.doing} takes about {self.seconds:.2g} s a pass ({self.read_seconds:.2g} s to "
            f"read, {self.work_seconds:.2g} s to calculate, at the same time), measured on "
            f"{self.tile_rows:,} rows."
        )


@known_options
def estimate(
    data: Dataset | Splits, runs: Sequence[Run] = (), *, engine: Engine | str | None = None
) -> Estimate:
    """Estimate memory and time of a pass over all rows, from one tile that is read and worked on.

    Files that are still in the system's cache are read faster than later.

    Args:
        data: rows that stay in their files; of splits the training rows.
        runs: the settings that are to be trained together; none for a pass of the solver.
        engine: what does the arithmetic, or its name; None is "native".

    Raises:
        SettingsError: for rows in memory.

    Example:
        >>> import tempfile
        >>> from onelayer import Run, load
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/X.npy", np.ones((50, 4), np.float16))
        ...     np.save(f"{folder}/y.npy", np.arange(50) % 2)
        ...     splits = load(f"{folder}/X.npy", labels=f"{folder}/y.npy", stream=True,
        ...                   log=lambda line: None)
        ...     found = estimate(splits, [Run(0.1, batch_size=10)])
        >>> found.nbytes, found.doing
        (256, 'training 1 run')
    """
    require_rows("estimate", data)
    dataset = training_rows(data)
    X = stored_rows(dataset.X)
    if X is None:
        raise SettingsError(f"{dataset.name}: the rows are in memory; only files are estimated.")
    runs = fit_batches(runs, len(X))
    N, D, K, R = len(X), X.shape[1], dataset.classes, len(runs)
    started = time.perf_counter()
    tile = X[: X.tile_rows]
    read = time.perf_counter()
    rows = Rows(tile, dataset.y[: len(tile)], np.ones(D), np.zeros(D))
    _pass(streaming(engine), rows, runs, K)
    worked = time.perf_counter()
    times, ordered = N / len(tile), any(run.shuffle for run in runs)
    batch = max((run.batch for run in runs), default=1)
    return Estimate(
        rows=N,
        features=D,
        dtype=str(X.dtype),
        nbytes=X.nbytes,
        memory=resident_memory()
        + tile_memory(X, ordered=ordered, batch=min(batch, N))
        + COPIES * max(1, R) * K * (D + 1) * 4
        # Bytes of each row's number: its place in a shuffled order, and what finds windows in it.
        + (40 * N if ordered else 0),
        read_seconds=(read - started) * times,
        work_seconds=(worked - read) * times,
        tile_rows=len(tile),
        doing=f"training {R} run{'s' if R > 1 else ''}" if runs else "the solver",
    )


def _pass(engine: Engine, rows: Rows, runs: Sequence[Run], classes: int) -> None:
    """One pass over rows in memory, of the runs or of the solver."""
    shape = max(1, len(runs)), classes, rows.X.shape[1]
    weights = Weights(np.zeros(shape, np.float32), np.zeros(shape[:2], np.float32))
    if not runs:
        engine.gradient(rows, weights)
        return
    trainer = engine.begin(State(weights), method_arrays(runs))
    batch = min(runs[0].batch, rows.count)
    trainer.epoch(rows, Steps.constant(np.full(len(runs), 1e-6), rows.count, batch))
