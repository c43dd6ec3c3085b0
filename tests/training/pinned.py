"""SHA-256 of the weights, histories and evaluations of small trainings, by name.

`python -m tests.training.pinned THREADS[,THREADS]... [ROWS]` prints those of its instruction
set, ONELAYER_ISA; with a number of rows that of the report's four settings after an epoch on so
many rows of CIFAR-10.
Features are whole numbers and their fractions, so that no C library has a part in them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any, cast
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from onelayer import Run, load, train
from onelayer.data import Dataset, Splits
from onelayer.data.rows import Rows
from onelayer.data.sparse import SparseRows
from onelayer.engines import Engine, State, Steps, Weights, make_engine
from onelayer.experiments.reproduce import EXPERIMENTS, digest
from onelayer.training.run import method_arrays
from tests.data.streaming.counted_rows import CountedRows, even

N, D, K = 157, 60, 5

RUN = Run(learning_rate=0.05, batch_size=16, epochs=3)

# Each beside a plain run of another seed.
RUNS = {
    "plain": RUN,
    "l2": replace(RUN, l2=0.1),
    "file order": replace(RUN, shuffle=False),
    "momentum": replace(RUN, momentum=0.9),
    "Nesterov": replace(RUN, momentum=0.5, nesterov=True, l2=0.01),
    "cosine": replace(RUN, schedule="cosine", warmup=0.5),
    "step": replace(RUN, schedule="step:1:0.3"),
    "cyclical": replace(RUN, schedule="cyclical:0.1:1"),
    "tail average": replace(RUN, averaging="tail:0.5"),
    "ema": replace(RUN, averaging="ema:0.99", momentum=0.9),
    "flips": replace(RUN, flip_seed=3),
    "sigmoid": replace(RUN, loss="sigmoid", learning_rate=0.5),
    "smoothing": replace(RUN, label_smoothing=0.1),
    "sigmoid and smoothing": replace(RUN, loss="sigmoid", label_smoothing=0.2),
    "patience": replace(RUN, patience=1, learning_rate=2.0, epochs=8),
    "diverged": replace(RUN, learning_rate=1e30),
    "vanishing weights": replace(RUN, learning_rate=0.5, l2=0.99, epochs=30),
    "automatic rate": replace(RUN, learning_rate="auto"),
}

# Each beside a plain run, and all of them in float64.
L1_RUNS = {
    "l1": replace(RUN, l1=0.01),
    "l1 and momentum": replace(RUN, l1=0.02, l2=0.01, momentum=0.9, averaging="tail:0.5"),
    "l1 and Nesterov": replace(RUN, l1=0.02, momentum=0.5, nesterov=True, schedule="cosine"),
}
GROUPED_RUNS = {
    f"grouped {name}": replace(run, l1=2 * run.l1, grouped=True) for name, run in L1_RUNS.items()
}


def _dataset(rows: int, first: int, dtype: str = "uint8", classes: int = K) -> Dataset:
    rng = np.random.default_rng(first)
    y = np.arange(rows) % classes
    X = rng.integers(0, 128, (rows, D)) + np.where(np.arange(D) % classes == y[:, None], 128, 0)
    X[:, 7] = 0  # a pixel that is always black: its weights shrink for ever under l2
    of_type = X.astype(np.uint8) if dtype == "uint8" else (X / 64.0 - 1.0).astype(dtype)
    largest = 255.0 if dtype == "uint8" else 1.0
    return Dataset(of_type, y, tuple("abcde"[:classes]), image_shape=(1, 6, 10), max_value=largest)


def splits(dtype: str = "uint8", classes: int = K) -> Splits:
    """Training, validation and test rows of images, as bytes or as floats around 0."""
    rows = enumerate((N, 43, 50))
    trained_on, validation, test = (_dataset(count, first, dtype, classes) for first, count in rows)
    return Splits(trained_on, validation, test, name="made", source="")


def _in_files(part: Dataset) -> Dataset:
    return replace(part, X=cast(NDArray[Any], CountedRows(part.X, even(part.rows, 16))))


def _sparse(part: Dataset) -> Dataset:
    X: Any = part.X
    stored: Any = SparseRows.of(sparse.csr_array(np.where(X >= 100, X / 256.0, 0.0)))
    return replace(part, X=stored, image_shape=None, max_value=1.0)


def _digest(*arrays: NDArray[Any]) -> str:
    return sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def trained(engine: Engine, data: Splits, *runs: Run, **options: Any) -> str:
    """The digest of runs that are trained side by side."""
    return digest(train(data, runs, engine=engine, certify=False, **options))


def _weighted(engine: Engine) -> str:
    """Rows of weights, which only the engine's callers give, over one epoch, and evaluated."""
    part, rng = _dataset(N, 0), np.random.default_rng(1)
    scale, offset = np.full(D, 1 / 256), np.linspace(-1.0, 0.0, D)
    rows = Rows(part.X, part.y, scale, offset, weights=rng.integers(0, 4, N) / 4.0)
    start = Weights(np.zeros((2, K, D), np.float32), np.zeros((2, K), np.float32))
    method = method_arrays([RUN, replace(RUN, loss="sigmoid")])
    trainer = engine.begin(State(start), method)
    trainer.epoch(rows, Steps(batch_size=16, learning_rate=np.full((10, 2), 0.125)))
    weights = trainer.weights()
    measured = engine.evaluate(rows, weights, method)
    figures, gradient = engine.classify(rows, weights), engine.gradient(rows, weights)
    scores = engine.scores(rows, weights)
    return _digest(*weights, *measured[:3], figures.confidence, figures.loss, *gradient[:3], scores)


def digests(engine: Engine) -> Iterator[tuple[str, str]]:
    """The name and the digest of each training."""
    data = splits()
    for name, run in RUNS.items():
        yield name, trained(engine, data, run, replace(run, seed=1))
    yield "float64", trained(engine, data, *RUNS.values(), dtype="float64")
    for dtype in ("float16", "float32", "float64"):
        yield f"{dtype} rows", trained(engine, splits(dtype), RUN, scaling="standardize")
    with patch("onelayer.data.streaming.TILE_BYTES", 16 * D):
        streamed = replace(data, train=_in_files(data.train))
        yield "streamed", trained(engine, streamed, RUN, replace(RUN, momentum=0.9))
    for classes in (2, 3):  # few columns are summed by other code
        yield f"{classes} classes", trained(engine, splits(classes=classes), RUN)
    yield "row weights", _weighted(engine)
    for name, run in L1_RUNS.items():
        yield name, trained(engine, data, run, replace(RUN, seed=1))
    yield "l1 in float64", trained(engine, data, *L1_RUNS.values(), dtype="float64")
    for name, run in GROUPED_RUNS.items():
        yield name, trained(engine, data, run, replace(RUN, seed=1))
    several = (*GROUPED_RUNS.values(), *L1_RUNS.values())
    yield "grouped l1 in float64", trained(engine, data, *several, dtype="float64")
    train_rows, validation, test = map(_sparse, (data.train, data.validation, data.test))
    sparse_rows = Splits(train_rows, validation, test, name="made", source="")
    on_rows, lazy = (engine, sparse_rows), replace(L1_RUNS["l1"], schedule="cosine")
    yield "l1 of sparse rows", trained(*on_rows, lazy, replace(RUN, seed=1), scaling="none")
    yield "l1 of sparse rows, every step", trained(*on_rows, *L1_RUNS.values(), scaling="none")
    lazy = replace(GROUPED_RUNS["grouped l1"], schedule="cosine")
    yield "grouped l1 of sparse rows", trained(*on_rows, lazy, L1_RUNS["l1"], scaling="none")
    yield "grouped l1 of sparse rows, every step", trained(*on_rows, *several, scaling="none")
    yield "digits", trained(engine, load("digits"), RUN, replace(RUN, l2=0.01, batch_size=50))


def of_cifar10(engine: Engine, rows: int) -> str:
    """The digest of the report's four settings after an epoch on the first rows of each part."""
    data = load()
    first = {
        name: getattr(data, name).take(slice(rows)) for name in ("train", "validation", "test")
    }
    runs = [
        Run(each.learning_rate, each.l2, batch_size=100, epochs=1, shuffle=False)
        for each in EXPERIMENTS
    ]
    return trained(engine, replace(data, **first), *runs)


def main() -> None:
    """Print the digests of this process."""
    numbers, *cifar10 = sys.argv[1:]
    found: dict[str, set[str]] = {}
    for threads in map(int, numbers.split(",")):
        engine = make_engine("native", threads=threads)
        one = [("", of_cifar10(engine, *map(int, cifar10)))] if cifar10 else digests(engine)
        for name, value in one:
            found.setdefault(name, set()).add(value)
    print(json.dumps({name: " or ".join(each) for name, each in found.items()}, indent=4))


if __name__ == "__main__":
    main()
