"""A trained model: everything that is needed to classify rows as they are stored, and no more.

    s = W (x · scale + offset) + b        scores
    p = exp(s) / 1ᵀ exp(s)                probabilities

Scores are computed in float64 whatever W is stored in, so a prediction does not depend on the
machine's instruction set but for ties in the last bits.

What makes the parts of a model fit together, and rows fit a model; each misfit is a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.dataset import DataCard
from onelayer.data.rows import Rows
from onelayer.data.scaling import Scaling
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine, Weights, make_engine, tiles
from onelayer.errors import DataError
from onelayer.objective.loss import softmax


@dataclass(frozen=True)
class Certificate:
    """A model's cost, and a proven bound on how far above the best it is.

    Attributes:
        l2: λ ≥ 0.
        cost: J(W, b) of the model as it is, nats.
        gap: bound on cost − J*, nats; infinite where λ = 0, since then there is none.
        gradient_norm: ‖∇_W J‖ at the best bias; where λ = 0, at the model's own.
        bias_residual: largest |∂J/∂b| left at that bias; the gap allows for it.
        rows: how many rows it is about.
    """

    l2: float
    cost: float
    gap: float
    gradient_norm: float
    bias_residual: float
    rows: int

    @property
    def lower_bound(self) -> float:
        """No model with this λ has a cost below this on these rows, nats."""
        return self.cost - self.gap

    @property
    def distance(self) -> float:
        """Bound on ‖W − W*‖, the distance to the best weights."""
        return math.sqrt(self.gap / self.l2) if self.l2 > 0.0 else math.inf

    @property
    def sentence(self) -> str:
        """The certificate in words.

        Example:
            >>> Certificate(0.1, 1.7342, 0.0061, 0.05, 1e-17, 10_000).sentence
            'cost 1.7342, at most 0.0061 above the best possible'
        """
        if self.l2 == 0.0:
            return (
                f"cost {self.cost:.5g}, gradient norm {self.gradient_norm:.2g}; "
                "without l2 (λ = 0) no bound exists"
            )
        return f"cost {self.cost:.5g}, at most {self.gap:.2g} above the best possible"


WEIGHT_TYPES = ("float32", "float64")

# Engines read these in place; rows of other types are converted a tile at a time.
READ_IN_PLACE = ("uint8", "float16", "float32", "float64")


def check_weights(W: NDArray[np.floating], b: NDArray[np.floating]) -> None:
    """Refuse weights that are no matrix, of another type than an engine's, or not finite.

    Args:
        W: weights, shape (K, D).
        b: biases.

    Raises:
        DataError: in one sentence.
    """
    if W.ndim != 2 or W.size == 0:
        raise DataError(f"a model's W must have K rows of D weights, but its shape is {W.shape}.")
    for name, array in (("W", W), ("b", b)):
        if array.dtype.name not in WEIGHT_TYPES:
            expected = " or ".join(WEIGHT_TYPES)
            raise DataError(f"a model's {name} must be {expected}, but it is {array.dtype}.")
    check_finite(W=W, b=b)


def check_finite(**arrays: NDArray[np.floating]) -> None:
    """Refuse arrays with a NaN or an infinity; their names go into the sentence."""
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise DataError(f"a model's {name} must be finite numbers, but it holds others.")


def check_sizes(shape: tuple[int, ...], **sizes: tuple[int, ...] | None) -> None:
    """Refuse parts of other sizes than W's.

    Args:
        shape: of W, (K, D).
        **sizes: of b and class_names, which must be (K,), and of others, which must be (D,); None
            for a part that is not there.

    Raises:
        DataError: for the first that differs.
    """
    K, D = shape
    for name, got in sizes.items():
        wanted = (K,) if name in ("b", "class_names") else (D,)
        if got is not None and got != wanted:
            raise DataError(
                f"a model with W of shape {(K, D)} needs {name} of size {wanted}, but it is {got}."
            )


def check_names(class_names: tuple[str, ...]) -> None:
    """Refuse fewer than two classes, and two of one name.

    Args:
        class_names: K names.

    Raises:
        DataError: in one sentence.
    """
    if len(class_names) < 2 or len(set(class_names)) != len(class_names):
        raise DataError(
            "a model needs at least 2 classes with different names, but they are "
            f"{', '.join(class_names)[:200] or 'none'}."
        )


def checked_rows(X: ArrayLike, features: int) -> NDArray[np.generic]:
    """The rows as an array, without a copy of what is one already.

    Args:
        X: rows, shape (N, D); those that stay in their files are left there.
        features: D.

    Returns:
        The rows.

    Raises:
        DataError: when they are no real numbers, or of another shape.
    """
    stored = stored_rows(X)
    rows = np.asarray(X) if stored is None else cast(NDArray[np.generic], stored)
    if rows.dtype.kind not in "buif":
        raise DataError(f"rows must hold real numbers, but they are {rows.dtype}.")
    if rows.ndim != 2 or rows.shape[1] != features:
        raise DataError(
            f"rows must have {features} features, in shape (N, {features}), but their shape is "
            f"{rows.shape}."
        )
    return rows


def readable(tile: NDArray[np.generic]) -> NDArray[np.generic]:
    """The tile itself where engines can read it in place, or else a copy of the tile.

    Args:
        tile: some rows, shape (n, D).

    Returns:
        Contiguous rows of the machine's byte order.
    """
    native = tile.dtype.isnative and tile.dtype.name in READ_IN_PLACE
    return np.ascontiguousarray(tile, tile.dtype if native else np.float64)


Float64 = NDArray[np.float64]

# Entries of a tile's scores, and of its rows where they are converted: 64 MB of float64.
TILE_ENTRIES = 1 << 23


@dataclass(frozen=True, eq=False)
class Model:
    """One linear softmax classifier of rows as they are stored.

    Attributes:
        W: weights on the scaled features, shape (K, D), float32 or float64, finite.
        b: biases, shape (K,), float32 or float64, finite.
        scaling: the affine map of each feature, applied while rows are read.
        class_names: names of the K ≥ 2 classes, all different.
        image_shape: (channels, height, width) when the features are an image's planes, else None.
        feature_names: names of the D features, or None.
        settings: how it was made; plain values, fit for JSON.
        certificate: how far W can be from the optimum of its λ; None when nothing was proven.

    Raises:
        DataError: when shapes, types or names do not fit together.

    Example:
        >>> scaling = Scaling("none", np.ones(2), np.zeros(2))
        >>> model = Model(np.eye(2), np.zeros(2), scaling, ("left", "right"))
        >>> model.predict([[3.0, 1.0], [0.0, 5.0]])
        array([0, 1])
    """

    W: NDArray[np.floating]
    b: NDArray[np.floating]
    scaling: Scaling
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None = None
    feature_names: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    certificate: Certificate | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "W", np.ascontiguousarray(self.W))
        object.__setattr__(self, "b", np.ascontiguousarray(self.b))
        check_weights(self.W, self.b)
        check_names(self.class_names)
        check_sizes(
            self.W.shape,
            b=self.b.shape,
            scale=self.scaling.scale.shape,
            offset=self.scaling.offset.shape,
            class_names=(len(self.class_names),),
            feature_names=None if self.feature_names is None else (len(self.feature_names),),
            image_shape=None if self.image_shape is None else (prod(self.image_shape),),
        )
        check_finite(scale=self.scaling.scale, offset=self.scaling.offset)

    @property
    def classes(self) -> int:
        """K, how many classes."""
        return int(self.W.shape[0])

    @property
    def features(self) -> int:
        """D, how many features a row has."""
        return int(self.W.shape[1])

    def score_tiles(self, X: ArrayLike, engine: Engine | None = None) -> Iterator[Float64]:
        """Scores of the rows, some rows at a time, so that memory does not grow with N.

        Args:
            X: rows as stored, not scaled: shape (N, D), any real type.
            engine: what does the arithmetic; None is the native engine.

        Yields:
            Scores of the next rows, shape (n, K), float64.

        Raises:
            DataError: when rows do not have D features, or hold a NaN or an infinity.
        """
        rows = checked_rows(X, self.features)
        weights = Weights(self.W.astype(np.float64)[None], self.b.astype(np.float64)[None])
        engine = make_engine() if engine is None else engine
        step = max(1, TILE_ENTRIES // max(self.features, self.classes))
        labels = np.broadcast_to(np.int64(0), len(rows))  # engines want some; scores use none
        every = Rows(rows, labels, self.scaling.scale, self.scaling.offset)
        for place, tile in tiles(every, step):
            tile = replace(tile, X=readable(tile.X))
            S = np.asarray(engine.scores(tile, weights)[0], np.float64)
            if not np.isfinite(S).all():
                row = place.start + int(np.argmin(np.isfinite(S).all(axis=1)))
                raise DataError(
                    f"every row needs finite features, but row {row} gives a score that is no "
                    "number; drop the row or fill its NaN or infinite values."
                )
            yield S

    def scores(self, X: ArrayLike, engine: Engine | None = None) -> Float64:
        """Scores s = W (x · scale + offset) + b of every row.

        Args:
            X: rows as stored, shape (N, D), any real type; never copied as a whole.
            engine: what does the arithmetic; None is the native engine.

        Returns:
            Shape (N, K), float64.

        Raises:
            DataError: as `score_tiles`.
        """
        return np.concatenate([np.empty((0, self.classes)), *self.score_tiles(X, engine)])

    def predict_proba(self, X: ArrayLike, engine: Engine | None = None) -> Float64:
        """Class probabilities p = softmax(s) of every row.

        Args:
            X: rows as stored, shape (N, D), any real type.
            engine: what does the arithmetic; None is the native engine.

        Returns:
            Shape (N, K), float64, each row summing to 1.

        Raises:
            DataError: as `score_tiles`.
        """
        tiles = (softmax(S) for S in self.score_tiles(X, engine))
        return np.concatenate([np.empty((0, self.classes)), *tiles])

    def predict(self, X: ArrayLike, engine: Engine | None = None) -> NDArray[np.int64]:
        """Class of the largest score of every row; of equal scores the first counts.

        Args:
            X: rows as stored, shape (N, D), any real type.
            engine: what does the arithmetic; None is the native engine.

        Returns:
            Class indices 0 … K − 1, shape (N,); `class_names` has their names.

        Raises:
            DataError: as `score_tiles`.
        """
        tiles = (S.argmax(axis=1) for S in self.score_tiles(X, engine))
        return np.concatenate([np.empty(0, np.int64), *tiles])


def origin(data: DataCard, environment: Mapping[str, str]) -> dict[str, Any]:
    """What a model remembers of its data and of what trained it."""
    return {
        "data": data.name,
        "train_rows": data.train_rows,
        "environment": dict(environment),
    }
