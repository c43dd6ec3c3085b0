"""What is known without a probe: nearest neighbours, class means, the majority class.

All read the features as stored, without scaling. A training row counts by its weight.

    majority class    p = the class frequencies of the training rows
    class means       s_k = −‖x − μ_k‖² / 2σ², with σ² the mean variance within classes; of two
                      classes its direction is the difference of means
    k nearest         p = (votes + 1/K) / (k + 1), votes of the k training rows whose angle to x is
                      the smallest; of equal angles the earlier row counts

Neighbours are exact up to float32: the engine multiplies a tile of rows with a tile of training
rows, and of each row the best so far are kept. Of equal votes the first class is predicted. Of many
labels a row each has a frequency and votes of its own, against those that lack it, and no means.

Source: Cover & Hart (1967), Nearest neighbor pattern classification; Caron et al. (2021), Emerging
properties in self-supervised vision transformers, for neighbours beside a linear probe.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.dataset import Dataset, Splits
from onelayer.data.rows import Rows, rows_of, without_weightless
from onelayer.data.scaling import Scaling
from onelayer.data.sparse import sparse_rows
from onelayer.engines import Engine, Weights
from onelayer.errors import SettingsError
from onelayer.model.metrics import Metric, measure, metric_of
from onelayer.model.scored_rows import scored_rows
from onelayer.solver.selection import IN_SCORES, score_of
from onelayer.training.suite import Baseline

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

# Neighbours that vote.
NEIGHBOURS = (5, 20)

# Rows of a tile, and training rows that they are multiplied with at a time.
TILE_ROWS, TILE_NEIGHBOURS = 4096, 256

# Scores of a class without training rows, below the least of the others.
ABSENT_BELOW = 50.0


def measure_baselines(data: Splits, by: str, engine: Engine) -> tuple[Baseline, ...]:
    """The baselines, fitted to the training rows, on the test rows; `by` is a probe's metric."""
    train, rows = without_weightless(data.train), data.test
    asked = [metric_of(by)] if by not in IN_SCORES and _is_defined(metric_of(by), rows) else []
    asked += [metric_of("accuracy")] if rows.groups is not None else []
    groups = rows_of(rows, _as_stored(rows)).row_groups

    def measured(name: str, S: Float64) -> Baseline:
        scored = scored_rows(rows.y, S, rows.weights)
        return Baseline(name, score_of(scored, groups), measure(asked, scored, groups=rows.groups))

    votes = vote_scores(engine, train, rows, NEIGHBOURS)
    most = "label frequencies" if train.many_labels else "majority class"
    means = [] if train.many_labels else [mean_scores(engine, train, rows)]
    return (
        measured(most, majority_scores(train, rows.rows)),
        *(measured("class means", S) for S in means),
        *(measured(f"{k} nearest", S) for k, S in zip(NEIGHBOURS, votes, strict=True)),
    )


def _is_defined(metric: Metric, rows: Dataset) -> bool:
    try:
        metric.check(rows.y, rows.class_names, "the test rows")
    except SettingsError:
        return False
    return True


def majority_scores(train: Dataset, rows: int) -> Float64:
    """The logarithms of the class frequencies, or odds of labels, for so many rows, (N, K)."""
    if train.many_labels:
        weights = np.ones(train.rows) if train.weights is None else train.weights
        p = weights @ train.y / weights.sum()
        return np.tile(_log(p) - _log(1.0 - p), (rows, 1))
    counts = np.bincount(train.y, train.weights, train.classes)
    return np.tile(_log(counts / counts.sum()), (rows, 1))


def mean_scores(engine: Engine, train: Dataset, rows: Dataset) -> Float64:
    """−‖x − μ_k‖² / 2σ², less what is the same for all classes, (N, K)."""
    sums = engine.class_sums(rows_of(train, _as_stored(train)), train.classes)
    mass = np.bincount(train.y, train.weights, train.classes)
    present = mass > 0.0
    means = sums.classes[present] / mass[present, None]
    overall = sums.classes.sum(axis=0) / mass.sum()
    around = means - overall
    within = sums.squares / mass.sum() - overall**2
    between = (mass[present, None] * around**2).sum(axis=0) / mass.sum()
    variance = float((within - between).mean())
    size = float((around**2).mean())
    # Where the rows of each class are all the same, any small variance ranks as well.
    variance = max(variance, 1e-12 * size) or 1.0
    W = around / variance
    b = -0.5 * (around**2).sum(axis=1) / variance - W @ overall
    found = engine.scores(_unlabelled(rows, _as_stored(rows)), Weights(W[None], b[None]))[0]
    S = np.empty((rows.rows, train.classes))
    S[:, present] = found
    S[:, ~present] = found.min(axis=1, keepdims=True) - ABSENT_BELOW
    return S


def vote_scores(
    engine: Engine, train: Dataset, rows: Dataset, counts: tuple[int, ...]
) -> list[Float64]:
    """The logarithm of the votes' fractions for each number of neighbours, (N, K) each."""
    nearest, K = nearest_rows(engine, train, rows, max(counts)), train.classes
    if train.many_labels:
        return [_label_votes(train, nearest[:, :k]) for k in counts]
    places = np.arange(rows.rows)[:, None] * K + train.y[nearest]
    own = np.ones(nearest.shape) if train.weights is None else train.weights[nearest]
    found = []
    for k in counts:
        votes = np.bincount(places[:, :k].ravel(), own[:, :k].ravel(), rows.rows * K)
        votes = votes.reshape(rows.rows, K)
        total = votes.sum(axis=1, keepdims=True)
        each = total / min(k, nearest.shape[1])  # the weight of a vote
        found.append(np.log((votes + each / K) / (total + each)))
    return found


def _label_votes(train: Dataset, nearest: Int64) -> Float64:
    """The logarithm of the odds of each label by the votes of these training rows, (N, K)."""
    own = np.ones(nearest.shape) if train.weights is None else train.weights[nearest]
    votes = np.einsum("nj,njk->nk", own, train.y[nearest])
    total = own.sum(axis=1, keepdims=True)
    half = total / (2 * nearest.shape[1])  # a vote, one half of it for each side
    return np.asarray(np.log(votes + half) - np.log(total - votes + half))


def nearest_rows(engine: Engine, train: Dataset, rows: Dataset, count: int) -> Int64:
    """The training rows of the smallest angle to each row, nearest first, (N, count).

    They are all of the training rows where these are fewer. A row of zeros is at a right angle to
    every row.
    """
    count = min(count, train.rows)
    found = np.empty((rows.rows, count), np.int64)
    for start in range(0, rows.rows, TILE_ROWS):
        X: Any = rows.X[start : start + TILE_ROWS]
        if (sparse := sparse_rows(X)) is None:
            X = np.asarray(X)
        values = X if sparse is None else sparse.to_scipy().data
        size = float(np.abs(values).max(initial=0.0))  # by which no product overflows
        scaling = Scaling("none", np.full(X.shape[1], 1.0 / (size or 1.0)), np.zeros(X.shape[1]))
        tile = replace(_unlabelled(rows, scaling).part(start, start + len(X)), X=X)
        found[start : start + tile.count] = _nearest_of_tile(engine, train, tile, count)
    return found


def _nearest_of_tile(engine: Engine, train: Dataset, tile: Rows, count: int) -> Int64:
    """A row's neighbours are numbers of 64 bits: the similarity above, the place below, inverted.

    So the largest numbers are the nearest rows, the earlier of equal ones first, and no two equal.
    """
    best = np.zeros((tile.count, count), np.uint64)
    least = np.full(tile.count, -np.inf, np.float32)
    for start in range(0, train.rows, TILE_NEIGHBOURS):
        W = _directions(train, start)
        zeros = np.zeros((1, len(W)), np.float32)
        S = np.asarray(engine.scores(tile, Weights(W[None], zeros))[0], np.float32)
        above: NDArray[np.bool_] = S > least[:, None]  # noqa: SIM300  # no constant
        row, place = np.nonzero(above)
        if not len(row):
            continue
        ahead_of = np.bincount(row, minlength=tile.count)  # how many, of each row
        changed, first = np.flatnonzero(ahead_of), np.cumsum(ahead_of) - ahead_of
        ahead = np.zeros((len(changed), int(ahead_of.max())), np.uint64)
        at = (np.cumsum(ahead_of > 0) - 1)[row]
        ahead[at, np.arange(len(row)) - first[row]] = _keys(S[row, place], start + place)
        joined = np.concatenate([best[changed], ahead], axis=1)
        best[changed] = np.partition(joined, -count, axis=1)[:, -count:]
        least[changed] = _similarity(best[changed].min(axis=1))
    best.sort(axis=1)
    return np.asarray((~best[:, ::-1]) & np.uint64(0xFFFFFFFF), np.int64)


def _directions(train: Dataset, start: int) -> NDArray[np.float32]:
    """Some training rows, each of length 1, or 0 where all of it is zero."""
    some = train.X[start : start + TILE_NEIGHBOURS]
    sparse = sparse_rows(some)
    X = np.asarray(some if sparse is None else sparse.toarray(), np.float64)
    largest = np.abs(X).max(axis=1, keepdims=True)
    X = X / np.where(largest > 0.0, largest, 1.0)
    lengths = np.sqrt(np.einsum("nd,nd->n", X, X))
    return np.asarray(X / np.maximum(lengths, 1.0)[:, None], np.float32)


_SIGN = np.uint32(0x80000000)


def _keys(similarity: NDArray[np.float32], place: Int64) -> NDArray[np.uint64]:
    """Numbers above 0 in the order of similarities, and of equal ones of falling places."""
    bits = (similarity + np.float32(0.0)).view(np.uint32)  # −0 is 0
    ordered = np.where(bits & _SIGN, ~bits, bits | _SIGN).astype(np.uint64)
    return (ordered << np.uint64(32)) | (~place.astype(np.uint32)).astype(np.uint64)


def _similarity(keys: NDArray[np.uint64]) -> NDArray[np.float32]:
    """The similarities of keys; −∞ of one that is still empty."""
    ordered = (keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(ordered & _SIGN, ordered & ~_SIGN, ~ordered)
    return np.where(keys > 0, bits.view(np.float32), np.float32(-np.inf))


def _as_stored(dataset: Dataset) -> Scaling:
    D = dataset.features
    return Scaling("none", np.ones(D), np.zeros(D))


def _unlabelled(dataset: Dataset, scaling: Scaling) -> Rows:
    """Rows that are multiplied with other weights than one for each class."""
    return replace(rows_of(dataset, scaling), y=np.zeros(dataset.rows, np.int64))


def _log(p: Float64) -> Float64:
    """Logarithms; of a class without rows ABSENT_BELOW below the least."""
    logs = np.log(p, out=np.full(p.shape, math.nan), where=p > 0.0)
    return np.where(p > 0.0, logs, np.nanmin(logs) - ABSENT_BELOW)
