"""What the ranks of a crew are asked to do, each with an engine of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data import Dataset
from onelayer.data.rows import Rows
from onelayer.engines import Engine, State
from onelayer.engines.torch import distributed as cluster
from onelayer.training.checkpoint import Checkpoint
from onelayer.training.loop import train
from onelayer.training.run import Run
from tests.engines.torch.drawn import Problem, trained
from tests.made_data import make_splits


def trajectory(engine: Engine, problem: Problem, tile_bytes: int) -> Any:
    """Where the runs end, what was measured, what they predict."""
    from onelayer.engines.torch import device as devices

    before = devices.TILE_BYTES["cpu"]
    devices.TILE_BYTES["cpu"] = tile_bytes
    try:
        return trained(engine, problem)
    finally:
        devices.TILE_BYTES["cpu"] = before


def full_passes(engine: Engine, problem: Problem, rows: Rows, factors: NDArray[Any]) -> Any:
    """Every full pass over the rows."""
    weights = problem.state.weights
    trainer = engine.begin(State(weights), problem.method)
    return (
        *engine.gradient(rows, weights)[:3], engine.scores(rows, weights),
        engine.weighted_sums(rows, factors), *trainer.evaluate(rows),
        *engine.evaluate(rows, weights), *engine.classify(rows, weights)[1:3],
        *engine.class_sums(rows, weights.b.shape[1]),
    )  # fmt: skip


def read_rows(engine: Engine, path: str, problem: Problem) -> list[int]:
    """Which rows of a mapped file were looked at in an epoch, a row a page."""
    seen: list[int] = []

    class Watched(np.ndarray):
        def __getitem__(self, choice: Any) -> Any:
            seen.extend(np.arange(len(self))[choice].ravel().tolist())
            return np.asarray(self).__getitem__(choice)

    mapped = np.load(path, mmap_mode="r").view(Watched)
    rows = Rows(mapped, problem.rows.y, problem.rows.scale, problem.rows.offset)
    trainer = engine.begin(problem.state, problem.method)
    engine._machine.ranks.check_same = lambda rows: None  # type: ignore[attr-defined]
    trainer.epoch(rows, problem.passes[0])
    return seen


def result(engine: Engine) -> tuple[NDArray[Any], NDArray[Any], list[float]]:
    """A whole training with its certificates, as `train` gives it."""
    runs = [Run(0.1, l2, batch_size=7, epochs=3, shuffle_seed=1) for l2 in (0.0, 0.01)]
    made = train(make_splits(), runs, engine=engine, dtype="float64", curvature_of=[0])
    return made.W, made.history.validation_loss, [c.cost + c.lower_bound for c in made.certificates]


def interrupted(
    engine: Engine, rank: int, presses: int, after: int, folder: str = ""
) -> tuple[str, NDArray[Any]]:
    """Ctrl-C at one rank after some epochs: how the training ends, and with what.

    With a folder it goes on from the checkpoints there, and writes its own into it.
    """
    epochs = 0

    def progress(now: Any) -> None:
        nonlocal epochs
        epochs += 1
        if rank == presses and epochs == after:
            cluster._CTRL_C.pressed = True

    runs = [Run(0.1, batch_size=7, epochs=9)]
    kept = Checkpoint(folder, every=0, resume=True) if folder else None
    made = train(
        make_splits(), runs, engine=engine, dtype="float64", on_progress=progress, checkpoint=kept
    )
    return f"{made.outcomes[0].status} {made.outcomes[0].epochs}", made.W


def own_rows(engine: Engine, dataset: Dataset, W: NDArray[Any]) -> Any:
    """A gradient on rows that may differ from rank to rank."""
    from onelayer.engines import Weights

    rows = Rows(dataset.X, dataset.y, np.ones(dataset.features), np.zeros(dataset.features))
    return engine.gradient(rows, Weights(W, np.zeros(W.shape[:2])))[:3]
