"""Rows in files for engines that know arrays only: they get them a tile at a time, read ahead.

Scores of rows with offsets, s = W x + b + o, are the engine's own with the offsets added, a tile of
them at a time.

Tiles hold whole batches, so a step is the engine's own, on the same rows as from memory and to the
same bits; sums over all rows are sums over tiles, and agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from onelayer.data.memory import available_memory, format_bytes
from onelayer.data.rows import Rows
from onelayer.data.streaming import StoredRows, Tile, iter_tiles, stored_rows, tile_memory
from onelayer.engines import base
from onelayer.engines.factory import make_engine
from onelayer.errors import SettingsError
from onelayer.objective.loss import softmax_and_log_sum

T = TypeVar("T", bound=np.generic)

# Entries of the scores of a tile of rows with offsets.
OFFSET_ENTRIES = 1 << 17


def tiles(rows: Rows, most: int) -> Iterator[tuple[slice, Rows]]:
    """The rows of a full pass, at most `most` at a time: their places in the pass, and the rows.

    Their X is an array; where rows are in files it is overwritten after the next tile is asked for.

    Example:
        >>> import numpy as np
        >>> rows = Rows(np.eye(3), np.arange(3), np.ones(3), np.zeros(3))
        >>> [(place.start, tile.labels.tolist()) for place, tile in tiles(rows, most=2)]
        [(0, [0, 1]), (2, [2])]
    """
    X = stored_rows(rows.X)
    if X is None:
        for start in range(0, rows.count, most):
            stop = min(start + most, rows.count)
            yield slice(start, stop), rows.part(start, stop)
        return
    for tile, held in iter_tiles(X, rows.index, most=most):
        yield slice(tile.start, tile.stop), _in_memory(rows, tile, held, tile.order)


def loaded(rows: Rows, places: NDArray[np.int64]) -> Rows:
    """A few rows by their places (n,) in a full pass; those in files are read into memory."""
    chosen = rows.only(places)
    if stored_rows(rows.X) is None or chosen.index is None:
        return chosen
    return replace(
        rows, X=rows.X[chosen.index], y=chosen.labels, weights=chosen.row_weights,
        score_offsets=chosen.row_offsets, index=np.arange(len(places)),
    )  # fmt: skip


def batches(rows: Rows, X: StoredRows, steps: base.Steps) -> Iterator[tuple[Rows, base.Steps]]:
    """Whole batches of a pass over rows in files, in order: rows in memory, and their steps.

    Raises SettingsError for a batch that does not fit in memory.
    """
    size = steps.batch_size
    _check_batch(X, size, ordered=steps.order is not None)
    for tile, held in iter_tiles(X, steps.order, batch=size):
        part = steps.part(tile.start // size, -(-tile.stop // size))
        yield _in_memory(rows, tile, held, None), replace(part, order=tile.order)


def _in_memory(rows: Rows, tile: Tile, held: NDArray[Any], index: NDArray[Any] | None) -> Rows:
    indices = tile.indices
    weights = None if rows.weights is None else rows.weights[indices]
    offsets = None if rows.score_offsets is None else rows.score_offsets[indices]
    y = rows.y[indices]
    return replace(rows, X=held, y=y, weights=weights, score_offsets=offsets, index=index)


def _check_batch(X: StoredRows, size: int, *, ordered: bool) -> None:
    needed, left = tile_memory(X, ordered=ordered, batch=min(size, len(X))), available_memory()
    if needed > left:
        most = int(size * left / needed / 2)
        raise SettingsError(
            f"batch_size {size} of {X.where} takes {format_bytes(needed)}, because two "
            f"batches are in memory at once, but {format_bytes(left)} are available; take at most "
            f"{max(most, 1)}."
        )


def streaming(engine: base.Engine | str | None = None) -> base.Engine:
    """An engine, or the one of that name, that takes rows in files as well; None is "native".

    Example:
        >>> streaming().name
        'native'
    """
    if engine is None or isinstance(engine, str):
        engine = make_engine(engine or "native")
    return engine if isinstance(engine, StreamedEngine) else StreamedEngine(engine)


class StreamedEngine(base.Engine):
    """An engine of arrays, given rows in files by tiles that are read ahead."""

    def __init__(self, engine: base.Engine) -> None:
        self._engine = engine

    @property
    def name(self) -> str:
        return self._engine.name

    def describe(self) -> dict[str, str]:
        return self._engine.describe()

    def begin(self, state: base.State, method: base.Method) -> base.Trainer:
        return _StreamedTrainer(self._engine.begin(state, method))

    def gradient(self, rows: Rows, weights: base.Weights) -> base.FullGradient:
        if rows.score_offsets is not None:
            return self._gradient_with_offsets(rows, weights)
        if stored_rows(rows.X) is None:
            return self._engine.gradient(rows, weights)
        runs, mass = len(weights.W), rows.mass
        shapes = runs, weights.W.shape, weights.b.shape, runs
        sums = base.FullGradient(*(np.zeros(shape) for shape in shapes))
        for _, tile in tiles(rows, rows.count):
            if not (share := tile.mass / mass):
                continue
            for total, part in zip(sums, self._engine.gradient(tile, weights), strict=True):
                if total is None or part is None:
                    sums = sums._replace(rounded=None)
                else:
                    total += share * part
        return sums

    def _tiles_with_offsets(
        self, rows: Rows, weights: base.Weights
    ) -> Iterator[tuple[slice, Rows, NDArray[np.floating]]]:
        """Rows a tile at a time without their offsets, and their scores with them, (R, n, K)."""
        for place, tile in tiles(rows, max(1, OFFSET_ENTRIES // weights.b.size)):
            bare, S = replace(tile, score_offsets=None), self.scores(tile, weights)
            yield place, bare, S

    def _gradient_with_offsets(self, rows: Rows, weights: base.Weights) -> base.FullGradient:
        loss, W, b = (np.zeros(s) for s in (len(weights.W), weights.W.shape, weights.b.shape))
        for _, tile, S in self._tiles_with_offsets(rows, weights):
            each, y = np.arange(tile.count), tile.labels
            fractions = np.full(tile.count, 1.0 / rows.mass)
            if tile.row_weights is not None:
                fractions = tile.row_weights / rows.mass
            S -= S.max(axis=2, keepdims=True)  # so that the loss is a difference of small numbers
            R, log_sum = softmax_and_log_sum(S)
            loss += (log_sum - S[:, each, y]) @ fractions
            R[:, each, y] -= 1.0
            R *= fractions[:, None].astype(R.dtype)
            b += R.sum(axis=1, dtype=np.float64)
            W += self._engine.weighted_sums(tile, R)
        return base.FullGradient(loss, W, b)

    def evaluate(
        self, rows: Rows, weights: base.Weights, method: base.Method | None = None
    ) -> base.Evaluation:
        if rows.score_offsets is not None:
            found, weighted = self.classify(rows, weights), rows.row_weights
            fractions = np.ones(rows.count) if weighted is None else weighted
            right, loss = found.classes == rows.labels, found.loss
            loss = np.where(fractions > 0.0, loss, 0.0)
            loss, square, accuracy = (of @ fractions / rows.mass for of in (loss, loss**2, right))
            return base.Evaluation(loss, square, accuracy, right.sum(axis=1))
        return _evaluated(rows, lambda tile: self._engine.evaluate(tile, weights, method))

    def classify(self, rows: Rows, weights: base.Weights) -> base.RowFigures:
        if rows.score_offsets is not None:
            K, parts = weights.b.shape[1], list[list[NDArray[Any]]]()
            # Scores are classified as features under weights that leave them as they are.
            for _, tile, S in self._tiles_with_offsets(rows, weights):
                y = np.tile(tile.labels, len(S))
                scored = Rows(S.reshape(-1, K), y, np.ones(K), np.zeros(K))
                unit = base.Weights(np.eye(K, dtype=S.dtype)[None], np.zeros((1, K), S.dtype))
                figures = self._engine.classify(scored, unit)
                parts.append([of.reshape(len(S), -1) for of in figures])
            return base.RowFigures(*(np.concatenate(of, axis=1) for of in zip(*parts, strict=True)))
        if stored_rows(rows.X) is None:
            return self._engine.classify(rows, weights)
        found = [self._engine.classify(tile, weights) for _, tile in tiles(rows, rows.count)]
        return base.RowFigures(
            *(np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        )

    def scores(self, rows: Rows, weights: base.Weights) -> NDArray[np.floating]:
        runs, classes, _ = weights.W.shape
        if stored_rows(rows.X) is None and rows.score_offsets is None:
            return self._engine.scores(rows, weights)
        scores = np.empty((runs, rows.count, classes), weights.W.dtype)
        for place, tile in tiles(rows, rows.count):
            scores[:, place] = self._engine.scores(replace(tile, score_offsets=None), weights)
            if tile.row_offsets is not None:
                scores[:, place] += tile.row_offsets
        return scores

    def weighted_sums(self, rows: Rows, factors: NDArray[np.floating]) -> NDArray[np.float64]:
        if stored_rows(rows.X) is None:
            return self._engine.weighted_sums(rows, factors)
        sums = np.zeros((len(factors), factors.shape[2], rows.X.shape[1]))
        for place, tile in tiles(rows, rows.count):
            sums += self._engine.weighted_sums(tile, factors[:, place])
        return sums

    def class_sums(self, rows: Rows, classes: int) -> base.ClassSums:
        if stored_rows(rows.X) is None:
            return self._engine.class_sums(rows, classes)
        D = rows.X.shape[1]
        sums = base.ClassSums(np.zeros((classes, D)), np.zeros(D))
        for _, tile in tiles(rows, rows.count):
            for total, part in zip(sums, self._engine.class_sums(tile, classes), strict=True):
                total += part
        return sums

    def roundings(self, rows: Rows) -> base.Roundings | None:
        return self._engine.roundings(rows)

    def side_by_side(self) -> Sequence[base.Engine]:
        return [StreamedEngine(engine) for engine in self._engine.side_by_side()]


def _evaluated(rows: Rows, evaluate: Callable[[Rows], base.Evaluation]) -> base.Evaluation:
    """The evaluation of rows in memory; of those in files the mean over tiles, by their weight."""
    if stored_rows(rows.X) is None:
        return evaluate(rows)
    mass, means, correct = rows.mass, np.zeros((3, 1)), np.zeros(1, np.int64)
    for _, tile in tiles(rows, rows.count):
        share = tile.mass / mass
        # Rows of no weight are counted all the same.
        part = evaluate(tile if share else replace(tile, weights=None))
        if share:
            means = means + share * np.stack(part[:3])
        correct = correct + part.correct
    loss, square, accuracy = means
    return base.Evaluation(loss, square, accuracy, correct)


class _StreamedTrainer(base.Trainer):
    def __init__(self, trainer: base.Trainer) -> None:
        self._trainer = trainer

    def epoch(self, rows: Rows, steps: base.Steps) -> None:
        """Take one step for each batch; Ctrl-C ends after a whole step and keeps it."""
        X = stored_rows(rows.X)
        if X is None:
            self._trainer.epoch(rows, steps)
            return
        for tile, part in batches(rows, X, steps):
            self._trainer.epoch(tile, part)

    def evaluate(self, rows: Rows) -> base.Evaluation:
        return _evaluated(rows, self._trainer.evaluate)

    def weights(self) -> base.Weights:
        return self._trainer.weights()

    def state(self) -> base.State:
        return self._trainer.state()
