"""One rank of a measurement: a process that trains with the torch engine and times its steps.

Started by `benchmarks.cluster.measure` with torchrun's variables set; rank 0 prints one line of
JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass

import numpy as np

from onelayer.data.rows import Rows
from onelayer.engines import Method, State, Steps, Weights, make_engine

ROUNDS = 3


@dataclass(frozen=True)
class Shape:
    """What is timed: B rows of D features a step, C classes of one run, `steps` steps a round."""

    batch_size: int
    features: int
    columns: int
    steps: int


def time_steps(shape: Shape) -> float:
    """Median seconds of a step over rounds of an epoch each, the first not counted."""
    rng = np.random.default_rng(0)
    count = shape.batch_size * shape.steps
    X = rng.normal(size=(count, shape.features)).astype(np.float32)
    y = rng.integers(0, shape.columns, count)
    rows = Rows(X, y, np.ones(shape.features), np.zeros(shape.features))
    start = Weights(
        np.zeros((1, shape.columns, shape.features), np.float32),
        np.zeros((1, shape.columns), np.float32),
    )
    trainer = make_engine("torch", 1, device="cpu", distributed=True).begin(
        State(start), Method.plain(np.zeros(1))
    )
    steps = Steps.constant(np.array([0.01]), count, shape.batch_size)
    seconds = []
    for _ in range(1 + ROUNDS):
        started = time.perf_counter()
        trainer.epoch(rows, steps)
        seconds.append((time.perf_counter() - started) / shape.steps)
    return float(np.median(seconds[1:]))


def time_message() -> float:
    """Seconds of an all-reduce of one number: the latency of its messages."""
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        return 0.0
    number = torch.zeros(1)
    seconds = []
    for _ in range(50):
        started = time.perf_counter()
        distributed.all_reduce(number)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[5:]))


def main() -> None:
    """Time the shapes that the arguments hold as JSON."""
    shapes = [Shape(*shape) for shape in json.loads(sys.argv[1])]
    seconds = [time_steps(shape) for shape in shapes]
    found = {"seconds": seconds, "message": time_message()}
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
