"""A trained model: everything that is needed to classify rows as they are stored, and no more.

    s = W (x · scale + offset) + b        scores
    p = exp(s) / 1ᵀ exp(s)                probabilities

Scores are computed in float64 whatever W is stored in, so a prediction does not depend on the
machine's instruction set but for ties in the last bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from math import isfinite, prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.engines import Engine, Rows, Weights, make_engine, tiles
from onelayer.errors import DataError, SettingsError
from onelayer.model_checks import (
    check_finite,
    check_names,
    check_sizes,
    check_weights,
    checked_rows,
    readable,
)
from onelayer.objective import softmax
from onelayer.optimum import Certificate
from onelayer.path_record import PathRecord
from onelayer.result import DataCard, Result
from onelayer.scaling import Scaling

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

    @classmethod
    def from_result(cls, result: Result, position: int = 0) -> Model:
        """The model of one trained run.

        Args:
            result: of training.
            position: of the run in it.

        Returns:
            Its weights as they were kept, with the settings they were trained by.

        Raises:
            SettingsError: when there is no run at that position.

        Example:
            >>> from onelayer import Run, load, train
            >>> result = train(load("digits"), [Run(learning_rate=0.1, epochs=1)])
            >>> Model.from_result(result).settings["learning_rate"]
            0.1
        """
        if position not in range(len(result.runs)):
            raise SettingsError(
                f"position must be 0 to {len(result.runs) - 1}, but {position} was given."
            )
        outcome = result.outcomes[position]
        accuracy = float(result.validation_accuracy[position])
        settings = result.runs[position].as_dict() | {
            "made_by": "minibatch",
            "status": outcome.status,
            "epochs_kept": outcome.epochs,
            "validation_accuracy": accuracy if isfinite(accuracy) else None,
        }
        return cls(
            W=result.W[position],
            b=result.b[position],
            scaling=result.scaling_of(position),
            class_names=result.data.class_names,
            image_shape=result.data.image_shape,
            feature_names=result.data.feature_names,
            settings=settings | _origin(result.data, result.environment),
            certificate=result.certificates[position] if result.certificates else None,
        )

    @classmethod
    def from_path(cls, record: PathRecord, position: int | None = None) -> Model:
        """The model of one λ of a path.

        Args:
            record: of the path.
            position: of the λ, largest first; None takes the chosen one.

        Returns:
            The optimum of that λ, with its proof.

        Raises:
            SettingsError: when there is no λ at that position.
        """
        path = record.path
        place = path.chosen if position is None else position
        if place not in range(len(path.optima)):
            raise SettingsError(
                f"position must be 0 to {len(path.optima) - 1}, but {position} was given."
            )
        optimum, held_out = path.optima[place], path.held_out[place]
        settings = {
            "made_by": "optimum",
            "l2": optimum.l2,
            "status": optimum.status,
            "tol": optimum.tol,
            "passes": optimum.passes,
            "validation_accuracy": float(np.mean([score.accuracy for score in held_out])),
            "choice": asdict(path.choice) | {"folds": path.folds, "chosen": place == path.chosen},
        }
        return cls(
            W=optimum.W,
            b=optimum.b,
            scaling=path.scaling,
            class_names=record.data.class_names,
            image_shape=record.data.image_shape,
            feature_names=record.data.feature_names,
            settings=settings | _origin(record.data, record.environment),
            certificate=optimum.certificate,
        )

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


def _origin(data: DataCard, environment: Mapping[str, str]) -> dict[str, Any]:
    """What a model remembers of its data and of what trained it."""
    return {
        "data": data.name,
        "train_rows": data.train_rows,
        "environment": dict(environment),
    }
