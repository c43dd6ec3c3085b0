"""Rows under a model: its features met by name or number, scored a tile of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.dataset import Dataset, Splits, training_rows
from onelayer.data.formats.base import ColumnSpec, to_array
from onelayer.data.formats.tables import frame_table, is_frame
from onelayer.data.mapped import check_mapped
from onelayer.data.progress import Log, print_line, quiet
from onelayer.data.rows import (
    Rows,
    factors_of_rows,
    rows_of,
    weights_to_fit,
    without_weightless,
)
from onelayer.data.scaling import note_other_range
from onelayer.data.sparse import SparseRows, is_sparse, sparse_rows
from onelayer.data.streaming import stored_rows
from onelayer.data.weights import known_class_weight
from onelayer.engines import Engine, RowFigures, Weights, streaming, tiles
from onelayer.errors import DataError
from onelayer.model.scored_rows import ScoredRows, read_scores

if TYPE_CHECKING:
    from onelayer.model.model import Model

Float64 = NDArray[np.float64]

# Engines read these in place; rows of other types are converted a tile at a time.
READ_IN_PLACE = ("uint8", "float16", "float32", "float64")

# Entries of a tile's scores, and of its rows where they are converted: 64 MB of float64.
TILE_ENTRIES = 1 << 23


def meet(model: Model, rows: Dataset, log: Log | None = None) -> tuple[Dataset, NDArray[Any]]:
    """Labelled rows with the model's features, and its class index of each row, or labels.

    Features and classes are met by their names; −1 is a class that the model does not have.
    Rows without one of the features, or with none of the classes, are refused.
    """
    rows = rows.with_features(model.feature_names, "the model", log)
    if model.many_labels or rows.many_labels:
        y = _labels_of(model, rows)
        return _with_columns(model, rows, log), y
    places = {name: place for place, name in enumerate(model.class_names)}
    y = np.array([places.get(name, -1) for name in rows.class_names], np.int64)[rows.y]
    if (y < 0).all():
        held = _some(tuple(rows.class_names[k] for k in np.unique(rows.y)))
        raise DataError(
            f"{rows.name} should have the model's classes, {_some(model.class_names)}, but it "
            f"has {held}; use the data that the model is for."
        )
    return _with_columns(model, rows, log), y


def offsets_for(model: Model, rows: Any) -> NDArray[np.floating] | None:
    """The offsets of a data set's rows for the model's classes, (N, K); 0 of those it lacks."""
    if not isinstance(rows, Dataset) or rows.offsets is None:
        return None
    if rows.class_names == model.class_names:
        return rows.offsets
    places = {name: place for place, name in enumerate(rows.class_names)}
    found = np.zeros((rows.rows, model.classes), rows.offsets.dtype)
    for k, name in enumerate(model.class_names):
        if name in places:
            found[:, k] = rows.offsets[:, places[name]]
    return found


def _with_columns(model: Model, rows: Dataset, log: Log | None) -> Dataset:
    """The rows with the model's columns, where a file numbers them."""
    X = met_rows(model, rows, log)
    return rows if sparse_rows(X) is None or X is rows.X else replace(rows, X=X)


def _labels_of(model: Model, rows: Dataset) -> NDArray[np.uint8]:
    """The model's labels of each row, (N, K), met by their names."""
    if not (model.many_labels and rows.many_labels):
        many, one = ("model is", "rows have") if model.many_labels else ("rows have", "model is")
        of_many = "of many labels a row" if model.many_labels else "many labels"
        of_one = "one class each" if model.many_labels else "of one class a row"
        raise DataError(
            f"{rows.name}: the {many} {of_many}, and the {one} {of_one}; use the data that the "
            "model is for."
        )
    places = {name: place for place, name in enumerate(rows.class_names)}
    if missing := [name for name in model.class_names if name not in places]:
        raise DataError(
            f"{rows.name} should have the model's labels, {_some(model.class_names)}, but it "
            f"lacks {_some(tuple(missing))}; use the data that the model is for."
        )
    y: NDArray[np.uint8] = rows.y[:, [places[name] for name in model.class_names]]
    return np.ascontiguousarray(y)


def met_rows(model: Model, X: Any, log: Log | None = None) -> NDArray[np.generic]:
    """Rows as an array (N, D) or `StoredRows`, with the model's features in their order.

    Of a data frame or `Dataset` the columns are met by their names. Rows that lie outside the
    range of the training rows are told to `log`.
    """
    log = log or print_line
    if model.settings.get("offsets") and offsets_for(model, X) is None:
        log("the model was fitted with offsets, and these rows have none: they count as 0.")
    if isinstance(X, Dataset):
        X = X.with_features(model.feature_names, "the model", log).X
    elif is_frame(X):
        spec = ColumnSpec(elsewhere=True, features=model.feature_names)
        X = frame_table(X, None, "rows", log, spec).X
    X = SparseRows.of(X, "rows") if is_sparse(X) else X
    if sparse_rows(X) is not None and X.first_index is not None:
        X = _numbered(model, X, log)
    rows = checked_rows(X, model.features)
    if log is not quiet:
        note_other_range(model.scaling, rows, model.feature_names, log)
    return rows


def _numbered(model: Model, X: SparseRows, log: Log) -> SparseRows:
    """The columns that the model's training file gave these numbers; others have no weight."""
    first = model.settings.get("first_index")
    own = X.first_index or 0
    if (first is None and X.shape[1] == model.features) or model.feature_names is not None:
        return X
    met = X.renumbered(own - (own if first is None else first), model.features)
    if met.nnz < X.nnz:
        log(
            f"{X.where}: left out {X.nnz - met.nnz:,} of {X.nnz:,} values, in columns that "
            f"the model does not have: its {model.features:,} are numbered from "
            f"{own if first is None else first} on."
        )
    met.first_index = first
    return met


def all_scores(
    model: Model, X: Any, engine: Engine | str | None = None, log: Log | None = None
) -> Float64:
    """Scores of every row, shape (N, K), float64."""
    rows, offsets = met_rows(model, X, log), offsets_for(model, X)
    found = None
    for place, S in _scores_of_tiles(model, rows, engine, len(rows), offsets):
        if len(S) == len(rows):
            return S
        found = np.empty((len(rows), model.classes)) if found is None else found
        found[place] = S
    return np.empty((0, model.classes)) if found is None else found


def score_tiles(
    model: Model, X: Any, engine: Engine | str | None = None, log: Log | None = None
) -> Iterator[Float64]:
    """Yield `scores` a tile of rows at a time, so that memory does not grow with N."""
    rows, offsets = met_rows(model, X, log), offsets_for(model, X)
    step = _tile_rows(model, rows)
    yield from (S for _, S in _scores_of_tiles(model, rows, engine, step, offsets))


def classify_tiles(
    model: Model, X: Any, engine: Engine | str | None = None, log: Log | None = None, y: Any = 0
) -> Iterator[tuple[slice, RowFigures]]:
    """Yield places of rows and their figures, each (n,), with class indices y of the rows.

    Rows in memory that engines can read are one tile: no scores are kept of them.
    """
    rows = met_rows(model, X, log)
    weights, engine = _weights(model), streaming(engine)
    for place, tile in _tiles(model, rows, len(rows), y, offsets_for(model, X)):
        figures = RowFigures(*(of[0] for of in engine.classify(tile, weights)))
        _check(model, figures.confidence, place, tile)
        yield place, figures


def scored_by(
    model: Model,
    X: Any,
    y: NDArray[np.int64],
    counted: NDArray[np.int64],
    engine: Engine | str | None = None,
    order: NDArray[np.int64] | slice = slice(None),
    weights: Float64 | None = None,
) -> ScoredRows:
    """What metrics read of the rows of these numbers, (n,); classes in the order given."""
    rows, chosen = met_rows(model, X, quiet), np.zeros(len(y), bool)
    chosen[counted] = True
    step, offsets = _tile_rows(model, rows), offsets_for(model, X)
    offsets = None if offsets is None else offsets[:, order]

    def row_tiles() -> Iterator[Rows]:
        for place, tile in _tiles(model, rows, step, offsets=offsets):
            if chosen[place].any():
                yield replace(tile, index=np.flatnonzero(chosen[place]))

    W, b = (part[0, order] for part in _weights(model))
    own = None if weights is None else weights[counted]
    return read_scores(row_tiles, streaming(engine), W, b, y[counted], own)


def _scores_of_tiles(
    model: Model,
    rows: NDArray[np.generic],
    engine: Engine | str | None,
    step: int,
    offsets: NDArray[np.floating] | None,
) -> Iterator[tuple[slice, Float64]]:
    """Yield places of at most `step` rows and their scores."""
    weights, engine = _weights(model), streaming(engine)
    for place, tile in _tiles(model, rows, step, offsets=offsets):
        S = np.asarray(engine.scores(tile, weights)[0], np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            sums = S.sum(axis=1)
        # The sum of finite scores may be infinite too.
        for at in np.flatnonzero(~np.isfinite(sums)):
            sums[at] = 0.0 if np.isfinite(S[at]).all() else np.nan
        _check(model, sums, place, tile)
        yield place, S


def _tile_rows(model: Model, rows: Any) -> int:
    """How many rows have so many entries and scores as a tile may."""
    features = model.features if sparse_rows(rows) is None else 1
    return max(1, TILE_ENTRIES // max(features, model.classes))


def _weights(model: Model) -> Weights:
    return Weights(model.W.astype(np.float64)[None], model.b.astype(np.float64)[None])


def _tiles(
    model: Model,
    rows: NDArray[np.generic],
    most: int,
    y: Any = 0,
    offsets: NDArray[np.floating] | None = None,
) -> Iterator[tuple[slice, Rows]]:
    """Rows that engines read in place, at most so many at a time; fewer to be converted."""
    if stored_rows(rows) is None and not _in_place(rows):
        most = min(most, max(1, TILE_ENTRIES // model.features))
    labels = np.broadcast_to(np.asarray(y, np.int64), len(rows))  # of many labels unread
    every = Rows(rows, labels, model.scaling.scale, model.scaling.offset, score_offsets=offsets)
    for place, tile in tiles(every, max(1, most)):
        yield place, replace(tile, X=_readable(tile.X))
    check_mapped(rows)


def _check(model: Model, figures: Float64, place: slice, tile: Rows) -> None:
    """Refuse the first row whose figure is not finite, by what its scores are."""
    finite = np.isfinite(figures)
    if finite.all():
        return
    at = int(np.argmin(finite))
    row = place.start + at
    # Sparse rows were looked through when they were made.
    known = sparse_rows(tile.X) is not None
    if known or np.isfinite(np.asarray(tile.X[at], np.float64)).all():
        raise DataError(
            f"row {row} gives a score beyond the largest number: the model's weights, "
            f"up to {np.abs(model.W).max():.3g}, or the row's features are too large."
        )
    raise DataError(
        f"every row needs finite features, but row {row} gives a score that is no "
        "number; drop the row or fill its NaN or infinite values."
    )


def fitted_rows(model: Model, data: Dataset | Splits, log: Log | None) -> tuple[Dataset, Rows]:
    """The rows that a model's cost is the mean over, and the same as engines read them, weighted.

    Of `Splits` it is the training part, and of a model that was refitted the validation part too.
    """
    if isinstance(data, Splits) and model.settings.get("refit"):
        data = data.train_and_validation
    met, y = meet(model, training_rows(data), log)
    class_weight = known_class_weight(model.settings.get("class_weight"), met.class_names)
    rows = without_weightless(met, class_weight)
    if rows is not met:
        rows, y = meet(model, rows, quiet)
    if (y < 0).any():
        other = rows.class_names[rows.y[np.argmin(y)]]
        raise DataError(
            f"{rows.name}: the model has no class {other!r}, so these rows have no cost; leave "
            "them out."
        )
    weights = weights_to_fit(rows, class_weight)
    of_model = replace(rows_of(rows, model.scaling), y=y, weights=weights)
    of_model = replace(of_model, score_offsets=offsets_for(model, rows))
    factors = factors_of_rows(model.settings.get("penalty_factors"), rows)
    return rows, replace(of_model, intercept=model.intercept, penalty_factors=factors)


def checked_rows(X: ArrayLike, features: int) -> NDArray[np.generic]:
    """The rows as an array of real numbers, shape (N, features), without a copy if it is one."""
    kept = stored_rows(X) if sparse_rows(X) is None else X
    rows = to_array(X, "rows") if kept is None else cast(NDArray[np.generic], kept)
    if rows.dtype.kind not in "buif":
        raise DataError(f"rows must hold real numbers, but they are {rows.dtype}.")
    if rows.ndim != 2 or rows.shape[1] != features:
        raise DataError(
            f"rows must have {features} features, in shape (N, {features}), but their shape is "
            f"{rows.shape}."
        )
    return rows


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f", … ({len(names)})" if len(names) > 4 else "")


def _in_place(rows: NDArray[np.generic]) -> bool:
    """Whether engines can read rows in memory in place."""
    native = rows.dtype.isnative and rows.dtype.name in READ_IN_PLACE
    return native and (sparse_rows(rows) is not None or rows.flags.c_contiguous)


def _readable(tile: NDArray[np.generic]) -> NDArray[np.generic]:
    """The tile itself where engines can read it in place, or else a converted copy."""
    if sparse_rows(tile) is not None:
        return tile
    native = tile.dtype.isnative and tile.dtype.name in READ_IN_PLACE
    return np.ascontiguousarray(tile, tile.dtype if native else np.float64)
