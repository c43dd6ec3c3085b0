"""Rows in files for an engine that knows arrays only: it is given them a tile at a time.

Tiles hold whole batches, so a step is the engine's own, on the same rows as from memory and to the
same bits; sums over all rows are sums over tiles, and agree to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onelayer.engines.choice import make_engine
from onelayer.engines.descent import Method, State, Steps, Weights
from onelayer.engines.protocol import Engine, Evaluation, FullGradient, Trainer
from onelayer.engines.rows import Rows
from onelayer.engines.tiling import batches, tiles
from onelayer.stored import stored_rows


def streaming(engine: Engine | None = None) -> Engine:
    """An engine that takes rows in files as well as arrays.

    Args:
        engine: what does the arithmetic; None is the default engine.

    Returns:
        The engine, which for arrays is that one itself.

    Example:
        >>> streaming().name
        'native'
    """
    engine = make_engine() if engine is None else engine
    return engine if isinstance(engine, StreamedEngine) else StreamedEngine(engine)


class StreamedEngine:
    """An engine of arrays, given rows in files by tiles that are read ahead."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def name(self) -> str:
        """The name of the engine that does the arithmetic."""
        return self._engine.name

    def describe(self) -> dict[str, str]:
        """What may change the last bits of a result."""
        return self._engine.describe()

    def begin(self, state: State, method: Method) -> Trainer:
        """Start R runs from a copy of where they stand."""
        return _StreamedTrainer(self._engine.begin(state, method), len(state.weights.W))

    def gradient(self, rows: Rows, weights: Weights) -> FullGradient:
        """Mean cross-entropy over all rows and its gradient, without the l2 term, in one pass."""
        if stored_rows(rows.X) is None:
            return self._engine.gradient(rows, weights)
        loss, G, g = np.zeros(len(weights.W)), np.zeros(weights.W.shape), np.zeros(weights.b.shape)
        mass = rows.mass
        for _, tile in _tiles(rows):
            if not (share := tile.mass / mass):
                continue
            part = self._engine.gradient(tile, weights)
            loss += share * part.loss
            G += share * part.W
            g += share * part.b
        return FullGradient(loss, G, g)

    def scores(self, rows: Rows, weights: Weights) -> NDArray[np.floating]:
        """Scores W x + b of every row, shape (R, N, K), in the type of the weights."""
        if stored_rows(rows.X) is None:
            return self._engine.scores(rows, weights)
        runs, classes, _ = weights.W.shape
        scores = np.empty((runs, rows.count, classes), weights.W.dtype)
        for place, tile in _tiles(rows):
            scores[:, place] = self._engine.scores(tile, weights)
        return scores

    def weighted_sums(self, rows: Rows, factors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Σ over rows of factors (R, N, K) times the scaled row, shape (R, K, D)."""
        if stored_rows(rows.X) is None:
            return self._engine.weighted_sums(rows, factors)
        sums = np.zeros((len(factors), factors.shape[2], rows.X.shape[1]))
        for place, tile in _tiles(rows):
            sums += self._engine.weighted_sums(tile, factors[:, place])
        return sums


class _StreamedTrainer:
    """R runs in training; see `onelayer.engines.protocol.Trainer`."""

    def __init__(self, trainer: Trainer, runs: int) -> None:
        self._trainer, self._runs = trainer, runs

    def epoch(self, rows: Rows, steps: Steps) -> None:
        """Take one step for each batch; Ctrl-C ends after a whole step and keeps it."""
        X = stored_rows(rows.X)
        if X is None:
            self._trainer.epoch(rows, steps)
            return
        for tile, part in batches(rows, X, steps):
            self._trainer.epoch(tile, part)

    def evaluate(self, rows: Rows) -> Evaluation:
        """Loss and number of right rows of each run's model."""
        if stored_rows(rows.X) is None:
            return self._trainer.evaluate(rows)
        loss, correct, mass = np.zeros(self._runs), np.zeros(self._runs, np.int64), rows.mass
        for _, tile in _tiles(rows):
            if share := tile.mass / mass:
                part = self._trainer.evaluate(tile)
                loss += share * part.loss
            else:  # rows of no weight are counted all the same
                part = self._trainer.evaluate(replace(tile, weights=None))
            correct += part.correct
        return Evaluation(loss, correct)

    def predict(self, rows: Rows) -> NDArray[np.int64]:
        """Class index of the largest score, shape (R, N)."""
        if stored_rows(rows.X) is None:
            return self._trainer.predict(rows)
        predicted = np.empty((self._runs, rows.count), np.int64)
        for place, tile in _tiles(rows):
            predicted[:, place] = self._trainer.predict(tile)
        return predicted

    def weights(self) -> Weights:
        """A copy of each run's model as it is now."""
        return self._trainer.weights()

    def state(self) -> State:
        """A copy of where the runs stand."""
        return self._trainer.state()


def _tiles(rows: Rows) -> Iterator[tuple[slice, Rows]]:
    return tiles(rows, rows.count)
