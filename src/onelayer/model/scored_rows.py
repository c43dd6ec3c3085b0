"""What metrics read of labelled rows: figures of each row, from scores that are computed once.

Shape letters: N rows, D features, K classes. Two classes: the second is the positive one, and its
score is s₁ − s₀, which does not saturate as its probability does. Rows of many labels have y (N, K)
and each label ranks the rows by its own score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.rows import Rows
from onelayer.engines import Engine, Weights, tiles
from onelayer.model.intervals import Figure

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

# Entries of a tile of scores, and of a block of the classes' probabilities; and scores of which
# each class is sorted once.
ENTRIES, KEPT = 1 << 22, 1 << 24


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """What metrics read of N labelled rows and K classes.

    Attributes:
        y: class index of each row, (N,); or its many labels, (N, K).
        classes: K.
        predicted: index of the largest score; of equal scores the first counts, (N,). Of many
            labels which have a score above 0, (N, K).
        confidence: its softmax probability, (N,).
        loss: −log p of the row's class, nats, (N,).
        rank: number of classes that come before the row's own, (N,).
        square: Σ_k (p_k − [k = y])², (N,).
        margin: s₁ − s₀ of two classes, (N,); None of more.
        columns: gives each class and p of it, (N,); a few classes at a time are in memory.
        weights: w ≥ 0 of each row, (N,); None is one each.
        ranking: of many labels the row's label ranking average precision, (N,); else None. Then
            columns are scores, square is not what is named above, and confidence and rank are 0.
    """

    y: NDArray[Any]
    classes: int
    predicted: NDArray[Any]
    confidence: Float64
    loss: Float64
    rank: Int64
    square: Float64
    margin: Float64 | None
    columns: Callable[[], Iterable[tuple[int, Float64]]]
    weights: Float64 | None = None
    ranking: Float64 | None = None

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each row's class, or all of its labels, are right, (N,)."""
        same = self.predicted == self.y
        return np.asarray(same.all(axis=1) if self.y.ndim == 2 else same)

    @property
    def strata(self) -> Int64:
        """What a bootstrap draws rows from, (N,): the class; all rows where they have many labels.

        Rows of the same rarest label are too much alike: intervals of strata of them are too narrow
        (docs/explanation/formulations.md, "Metrics").
        """
        return self.y if self.y.ndim == 1 else np.zeros(len(self.y), np.int64)

    def positive(self, k: int) -> NDArray[np.bool_]:
        """Which rows are of a class, or have a label, (N,)."""
        return np.asarray(self.y[:, k] == 1 if self.y.ndim == 2 else self.y == k)

    @property
    def each(self) -> Float64:
        """The weights of all rows once, (N, 1)."""
        ones = np.ones(len(self.y)) if self.weights is None else self.weights
        return ones[:, None]

    def by_class(
        self, prepare: Callable[[int, Float64], Figure]
    ) -> Callable[[], Iterator[tuple[int, Figure]]]:
        """Each class with what its probabilities were prepared for: once, unless they are many."""
        if len(self.y) * self.classes > KEPT:
            return lambda: ((k, prepare(k, p)) for k, p in self.columns())
        figures = [(k, prepare(k, p)) for k, p in self.columns()]
        return lambda: iter(figures)


def read_scores(
    row_tiles: Callable[[], Iterator[Rows]],
    engine: Engine,
    W: NDArray[np.floating],
    b: NDArray[np.floating],
    y: NDArray[Any],
    weights: Float64 | None = None,
) -> ScoredRows:
    """What metrics read of rows under W (K, D) and b (K,), in one pass over them, in float64.

    Rows come as tiles, each time that `row_tiles` is called. Only metrics that rank the rows of
    each class come back for the scores, of as many classes at a time as memory is meant to hold:
    to rank rows by a class all of their scores of it are needed.
    """
    if y.ndim == 2:
        return _read_label_scores(row_tiles, engine, W, b, y, weights)
    W, b = W.astype(np.float64), b.astype(np.float64)
    K, parts = len(W), []
    tops, at = np.empty((len(y), 2)), 0
    for tile in row_tiles():
        S = _scores(engine, tile, W, b)
        stop = at + len(S)
        figures, tops[at:stop] = _figures(S, y[at:stop])
        parts.append(figures)
        at = stop
    predicted, confidence, loss, rank, square, margin = map(
        np.concatenate, zip(*parts, strict=True)
    )

    def columns() -> Iterator[tuple[int, Float64]]:
        step = max(1, ENTRIES // max(1, len(y)))
        for start in range(0, K, step):
            block = slice(start, start + step)
            found = [_scores(engine, tile, W, b, block) for tile in row_tiles()]
            P = np.exp(np.concatenate(found) - tops[:, :1]) / tops[:, 1:]
            yield from ((start + i, column) for i, column in enumerate(P.T))

    return ScoredRows(
        y,
        K,
        predicted,
        confidence,
        loss,
        rank,
        square,
        margin if K == 2 else None,
        columns,
        weights,
    )


def scored_rows(y: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> ScoredRows:
    """The same of scores (N, K) that are at hand.

    Example:
        >>> from onelayer.model.metrics import metric_of
        >>> rows = scored_rows([0, 1, 1], [[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
        >>> metric_of("roc_auc").value(rows), rows.predicted.tolist()
        (0.5, [0, 1, 0])
    """
    y, S = np.asarray(y), np.asarray(scores, np.float64)
    if y.ndim == 2:
        w = None if weights is None else np.asarray(weights, np.float64)
        return _scored_labels(y, _label_figures(S, y), lambda: enumerate(S.T), w)
    y = y.astype(np.int64)
    figures, tops = _figures(S, y)
    P = np.exp(S - tops[:, :1]) / tops[:, 1:]
    predicted, confidence, loss, rank, square, margin = figures
    w = None if weights is None else np.asarray(weights, np.float64)
    K = S.shape[1]
    of_two = margin if K == 2 else None
    return ScoredRows(
        y, K, predicted, confidence, loss, rank, square, of_two, lambda: enumerate(P.T), w
    )


LabelFigures = tuple[NDArray[np.uint8], Float64, Float64]


def _read_label_scores(
    row_tiles: Callable[[], Iterator[Rows]],
    engine: Engine,
    W: NDArray[np.floating],
    b: NDArray[np.floating],
    y: NDArray[Any],
    weights: Float64 | None,
) -> ScoredRows:
    """The same of many labels a row."""
    W, b = W.astype(np.float64), b.astype(np.float64)
    parts, at = list[LabelFigures](), 0
    for tile in row_tiles():
        S = _scores(engine, tile, W, b)
        parts.append(_label_figures(S, y[at : at + len(S)]))
        at += len(S)

    def columns() -> Iterator[tuple[int, Float64]]:
        step = max(1, ENTRIES // max(1, len(y)))
        for start in range(0, len(W), step):
            block = slice(start, start + step)
            found = [_scores(engine, tile, W, b, block) for tile in row_tiles()]
            yield from ((start + i, of) for i, of in enumerate(np.concatenate(found).T))

    predicted, loss, ranking = (np.concatenate(of) for of in zip(*parts, strict=True))
    return _scored_labels(y, (predicted, loss, ranking), columns, weights)


def _scored_labels(
    y: NDArray[Any],
    figures: LabelFigures,
    columns: Callable[[], Iterable[tuple[int, Float64]]],
    weights: Float64 | None,
) -> ScoredRows:
    none = np.zeros(len(y))
    predicted, loss, ranking = figures
    rank = none.astype(np.int64)
    return ScoredRows(
        y, y.shape[1], predicted, none, loss, rank, none, None, columns, weights, ranking
    )


def _label_figures(S: Float64, y: NDArray[Any]) -> LabelFigures:
    """Labels with a score above 0, the summed loss and the ranking of each row."""
    loss = np.logaddexp(0.0, np.where(y == 1, -S, S)).sum(axis=1)
    return (S > 0.0).astype(np.uint8), loss, _label_ranking(S, y)


def _label_ranking(S: Float64, y: NDArray[Any]) -> Float64:
    """Mean over a row's labels of the share of its labels among those that score as high.

    It is 1 for a row that has all of the labels, or none.
    """
    N, K = S.shape
    order = np.argsort(-S, axis=1, kind="stable")
    s, own = np.take_along_axis(S, order, 1), np.take_along_axis(y, order, 1) == 1
    ends = np.ones((N, K), bool)  # where no equal score follows
    ends[:, :-1] = s[:, :-1] != s[:, 1:]
    place = np.where(ends, np.arange(K), K)
    last = np.minimum.accumulate(place[:, ::-1], axis=1)[:, ::-1]
    above = np.take_along_axis(own.cumsum(axis=1), last, 1)
    count = own.sum(axis=1)
    share = np.where(own, above / (last + 1.0), 0.0).sum(axis=1) / np.maximum(count, 1)
    return np.where((count == 0) | (count == K), 1.0, share)


def row_tiles(rows: Rows, classes: int) -> Callable[[], Iterator[Rows]]:
    """Tiles of rows for `read_scores`, each of so many that their scores are few."""
    step = max(1, ENTRIES // classes)
    return lambda: (tile for _, tile in tiles(rows, step))


def _scores(
    engine: Engine, tile: Rows, W: NDArray[Any], b: NDArray[Any], classes: slice = slice(None)
) -> Float64:
    # Of a block of classes labels are no indices.
    of_block = Weights(W[None, classes], b[None, classes])
    S = np.asarray(engine.scores(tile.unlabelled, of_block)[0], np.float64)
    return S if tile.row_offsets is None else S + tile.row_offsets[:, classes]


def _figures(S: Float64, y: Int64) -> tuple[tuple[NDArray[Any], ...], Float64]:
    """Figures of each row, as `ScoredRows` has them; and its top score t with 1ᵀexp(s − t)."""
    rows = np.arange(len(y))
    predicted, own = S.argmax(axis=1), S[rows, y][:, None]
    top = S[rows, predicted]
    with np.errstate(under="ignore"):
        P = np.exp(S - top[:, None])
        sums = P.sum(axis=1)
        P /= sums[:, None]
    before = np.arange(S.shape[1]) < y[:, None]
    rank = ((own < S) | ((own == S) & before)).sum(axis=1)
    # Σ_k p² − 2 p_y + 1, without its cancellation where p_y is near 1.
    P[rows, y] -= 1.0
    square = np.einsum("nk,nk->n", P, P)
    margin = S[:, 1] - S[:, 0]
    return (
        predicted,
        1.0 / sums,
        (top - own[:, 0]) + np.log(sums),
        rank,
        square,
        margin,
    ), np.stack([top, sums], axis=1)
