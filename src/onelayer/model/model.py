"""A linear softmax classifier of rows as they are stored, the certificate of its cost, its file.

    s = W (x · scale + offset) + b        scores
    p = exp(s) / 1ᵀ exp(s)                probabilities; of many labels a row 1 / (1 + exp(−s))

Scores are computed in float64 whatever type W has, so a prediction does not depend on the
processor's instruction set, except for ties in the last bits. docs/reference/model-file.md
describes the file byte for byte.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib import import_module
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.classes import INDEX, MANY, LabelType, check_label_type, label_values
from onelayer.data.dataset import DataCard, Dataset, SplitCard, Splits, training_rows
from onelayer.data.fingerprints import row_fingerprints
from onelayer.data.formats.base import ColumnSpec, to_array
from onelayer.data.formats.tables import frame_table, is_frame
from onelayer.data.mapped import check_mapped
from onelayer.data.progress import Log, print_line, quiet
from onelayer.data.rows import Rows, rows_of, weights_to_fit, without_weightless
from onelayer.data.scaling import Scaling, note_other_range
from onelayer.data.sparse import SparseRows, is_sparse, sparse_rows
from onelayer.data.streaming import stored_rows
from onelayer.data.weights import known_class_weight
from onelayer.engines import Engine, RowFigures, Weights, make_engine, tiles
from onelayer.errors import DataError, OnelayerError, SaveError, SettingsError, require_file
from onelayer.files.atomic import staged_file
from onelayer.files.records import MAY_LACK, from_plain, read_json, to_plain
from onelayer.files.tensors import read_sealed, write_sealed
from onelayer.model.evaluation import Evaluation, evaluate
from onelayer.model.scored_rows import ScoredRows, read_scores
from onelayer.objective.loss import sigmoid, to_probabilities

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from torch.nn import Linear

    from onelayer.model.export import SelfTest
    from onelayer.model.inference import Errors, Inference

Float64 = NDArray[np.float64]

WEIGHT_TYPES = ("float32", "float64")

# The tensor of the training rows' fingerprints, which a model from elsewhere has none of.
TRAINING_ROWS = "split.rows"

# Engines read these in place; rows of other types are converted a tile at a time.
READ_IN_PLACE = ("uint8", "float16", "float32", "float64")

# What a model's file says it is, and the JSON texts in its header.
FILE_KIND, FILE_VERSION = "onelayer.model", "1"

# What the file holds as JSON, and the types of the settings that a model's own words need.
FILE_TEXTS: dict[str, Any] = {
    "class_names": tuple[str, ...],
    "image_shape": tuple[int, int, int] | None,
    "feature_names": tuple[str, ...] | None,
    "label_type": LabelType,
    "settings": dict[str, Any],
    "certificate": dict[str, Any] | None,
}
OPTIONAL_TEXTS = ("label_type",)
SETTINGS: dict[str, Any] = {
    **dict.fromkeys(("l2", "validation_accuracy", "label_smoothing", "q", "moves"), float | None),
    "temperature": float | None,
    **dict.fromkeys(("passes", "seed", "train_rows", "epochs_kept", "first_index"), int | None),
    **dict.fromkeys(("name", "status", "data"), str | None),
    "intercept": bool | None,
}

# Settings by which a cost is another than the mean cross-entropy, where they are not 0: label
# smoothing, the exponent of the generalised cross-entropy, and how far images are moved.
COST_NUMBERS = ("label_smoothing", "q", "moves")

# Entries of a tile's scores, and of its rows where they are converted: 64 MB of float64.
TILE_ENTRIES = 1 << 23


@dataclass(frozen=True)
class Certificate:
    """A model's cost, and a proven bound on its distance from the lowest cost.

    Attributes:
        l2: λ ≥ 0.
        cost: J(W, b) of the model as it is, nats.
        gap: bound on cost − J*, nats; infinite for λ = 0, where no bound exists.
        gradient_norm: ‖∇_W J‖ at the best bias; for λ = 0, at the model's own bias.
        bias_residual: largest |∂J/∂b| at that bias; the gap allows for it.
        rows: number of rows that the cost is the mean over.
        trained_with: what the cost that the model was trained by has beside the mean cross-entropy
            and λ Σ W², which J is: such as label smoothing. Empty where it is J itself.
        rounding: how far the cost may be off, nats; 0 where it is of float64 passes.
        label_costs: of many labels a row the cost of each, whose sum is `cost`; else empty.
        label_gaps: bound of each label, whose sum is `gap`; empty for λ = 0 as well.
        l1: λ₁ ≥ 0 of a penalty λ₁ Σ |W| beside λ Σ W²; with it a bound exists for λ = 0 as well.
        grouped: whether λ₁ multiplies Σ_d ‖W_:d‖₂, a norm over the classes of each feature.

    Source:
        docs/explanation/formulations.md, "The certificate".
    """

    l2: float
    cost: float
    gap: float
    gradient_norm: float
    bias_residual: float
    rows: int
    trained_with: str = field(default="", metadata=MAY_LACK)
    rounding: float = field(default=0.0, metadata=MAY_LACK)
    label_costs: tuple[float, ...] = field(default=(), metadata=MAY_LACK)
    label_gaps: tuple[float, ...] = field(default=(), metadata=MAY_LACK)
    l1: float = field(default=0.0, metadata=MAY_LACK)
    grouped: bool = field(default=False, metadata=MAY_LACK)

    def __repr__(self) -> str:
        return f"Certificate({self.penalty}, {self.rows} rows: {self.sentence})"

    def __str__(self) -> str:
        return self.sentence

    @property
    def lower_bound(self) -> float:
        """No model with this λ has a cost below this on these rows, nats."""
        return max(self.cost - self.rounding - self.gap, 0.0)

    @property
    def penalty(self) -> str:
        """λ in words, and λ₁ where there is one.

        Example:
            >>> Certificate(0.1, 1.7, 0.01, 0.0, 0.0, 50).penalty
            'λ = 0.1'
            >>> Certificate(0.1, 1.7, 0.01, 0.0, 0.0, 50, l1=0.02, grouped=True).penalty
            'λ₁ = 0.02 of grouped classes, λ₂ = 0.1'
        """
        if not self.l1:
            return f"λ = {self.l2:g}"
        grouped = " of grouped classes" if self.grouped else ""
        return f"λ₁ = {self.l1:.3g}{grouped}" + (f", λ₂ = {self.l2:.3g}" if self.l2 else "")

    @property
    def is_bound(self) -> bool:
        """Whether a bound exists: with a penalty."""
        return self.l2 > 0.0 or self.l1 > 0.0

    @property
    def strength(self) -> float:
        """λ₁ where there is one, else λ: what a path goes through."""
        return self.l1 or self.l2

    @property
    def distance(self) -> float:
        """Bound on ‖W − W*‖, the distance from the best weights."""
        return math.sqrt(self.gap / self.l2) if self.l2 > 0.0 else math.inf

    @property
    def sentence(self) -> str:
        """The certificate in words.

        Example:
            >>> Certificate(0.1, 1.7342, 0.0061, 0.05, 1e-17, 10_000).sentence
            'cost 1.7342, at most 0.0061 above the best possible'
        """
        other = self.trained_with
        which = f"; of the mean cross-entropy, while training had {other}" if other else ""
        if not self.is_bound:
            return (
                f"cost {self.cost:.5g}, gradient norm {self.gradient_norm:.2g}; "
                f"without l2 (λ = 0) no bound exists{which}"
            )
        return f"cost {self.cost:.5g}, at most {self.gap:.2g} above the best possible{which}"


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A linear softmax classifier of rows as they are stored.

    Training and solving return one; weights from elsewhere become one by `Model(W, b)`.

    Attributes:
        W: weights of the scaled features, shape (K, D), float32 or float64, finite.
        b: biases, shape (K,), float32 or float64, finite.
        scaling: affine map of each feature, applied while rows are read, and the range of each in
            the training rows; None is the identity.
        class_names: names of the K ≥ 2 classes, all different; None names them "0" to "K−1".
        image_shape: (channels, height, width) if the features are the planes of an image.
        feature_names: names of the D features, or None. Rows that have names are met by them.
        label_type: what the labels of the training rows were, and so what `predict` returns:
            "text", "integer" or "boolean", which the classes are named by; or "index", 0 … K−1.
            "many": a row has any number of labels, and `predict` returns (N, K) of 0 and 1.
        settings: how the model was made; plain values, fit for JSON.
        certificate: bound on its distance from the optimum, or None.
        split: how the data were split, with fingerprints of the training rows; None where unknown.

    Raises:
        DataError: when shapes, types or names do not fit together.

    Example:
        >>> model = Model(np.eye(2), np.zeros(2), class_names=("left", "right"))
        >>> model.predict([[3.0, 1.0], [0.0, 5.0]])
        array([0, 1])
        >>> replace(model, label_type="text").predict([[3.0, 1.0], [0.0, 5.0]]).tolist()
        ['left', 'right']
    """

    W: NDArray[np.floating]
    b: NDArray[np.floating]
    scaling: Scaling = None  # type: ignore[assignment]  # __post_init__ replaces None
    class_names: tuple[str, ...] = None  # type: ignore[assignment]
    image_shape: tuple[int, int, int] | None = None
    feature_names: tuple[str, ...] | None = None
    label_type: LabelType = field(default=INDEX, metadata=MAY_LACK)
    settings: Mapping[str, Any] = field(default_factory=dict)
    certificate: Certificate | None = None
    split: SplitCard | None = field(default=None, metadata=MAY_LACK)

    def __post_init__(self) -> None:
        W, b = np.ascontiguousarray(self.W), np.ascontiguousarray(self.b)
        _check_weights(W, b)
        K, D = W.shape
        scaling = cast("Scaling | None", self.scaling)
        names = map(str, range(K)) if self.class_names is None else self.class_names
        filled = {
            "W": W,
            "b": b,
            "scaling": Scaling("none", np.ones(D), np.zeros(D)) if scaling is None else scaling,
            "class_names": tuple(names),
            "settings": dict(self.settings),
        }
        for name, value in filled.items():
            object.__setattr__(self, name, value)
        _check_parts(self)

    @classmethod
    def of_data(
        cls,
        W: NDArray[np.floating],
        b: NDArray[np.floating],
        scaling: Scaling,
        data: DataCard,
        environment: Mapping[str, str],
        settings: Mapping[str, Any],
        certificate: Certificate | None,
    ) -> Self:
        """The model of a fit to this data: with its names, and with both in the settings."""
        origin: dict[str, Any] = {"data": data.name, "train_rows": data.train_rows}
        origin |= {"sample_weight": True} if data.weighted else {}
        origin |= {} if data.first_index is None else {"first_index": data.first_index}
        return cls(
            W=W,
            b=b,
            scaling=scaling,
            class_names=data.class_names,
            image_shape=data.image_shape,
            feature_names=data.feature_names,
            label_type=data.label_type,
            settings=dict(settings) | origin | {"environment": dict(environment)},
            certificate=certificate,
            split=data.split,
        )

    @property
    def classes(self) -> int:
        """K, the number of classes."""
        return int(self.W.shape[0])

    @property
    def features(self) -> int:
        """D, the number of features."""
        return int(self.W.shape[1])

    @property
    def l2(self) -> float | None:
        """λ of the cost that the model was fitted to; None when it is not known."""
        known = self.settings.get("l2")
        if known is None and self.certificate is not None:
            known = self.certificate.l2
        return None if known is None else float(known)

    @property
    def intercept(self) -> bool:
        """Whether the model was fitted with a bias; without one b is 0."""
        return bool(self.settings.get("intercept", True))

    @property
    def l1(self) -> float:
        """λ₁ of the cost that the model was fitted to; 0 where there is none."""
        return float(self.settings.get("l1") or 0.0)

    @property
    def features_sentence(self) -> str:
        """How many features have weights that are not 0.

        Example:
            >>> Model(np.eye(2, 3), np.zeros(2)).features_sentence
            '2 of 3 features chosen'
        """
        return chosen_features(self.W)

    def other_cost(self, *, weighted: bool) -> str:
        """What the model's own cost has beside the mean cross-entropy and λ Σ W², in words.

        The mean is by class weight, and of `weighted` rows by theirs.
        """
        known, parts = self.settings, list[str]()
        own = "sigmoid" if self.many_labels else "softmax"
        if known.get("loss", own) != own:
            parts.append(f"loss={known['loss']!r}")
        if known.get("sample_weight") and not weighted:
            parts.append("weights of the rows")
        parts += [f"{name}={known[name]:g}" for name in COST_NUMBERS if known.get(name)]
        flipped = known.get("flips") or known.get("flip_seed") is not None
        return ", ".join(parts + ["mirrored images"] * flipped)

    def require_certificate(self) -> Certificate:
        """The certificate; a SettingsError when there is none."""
        if self.certificate is None:
            raise SettingsError("this model has no certificate; certify(model, data) makes one.")
        return self.certificate

    @property
    def status(self) -> str | None:
        """How the fit ended, None for weights from elsewhere.

        The solver ends "optimal", "passes", "rounding" or "interrupted"; mini-batch descent
        "finished", "stopped", "diverged" or "interrupted".
        """
        return self.settings.get("status")

    @property
    def passes(self) -> int | None:
        """Passes of the solver over the training rows; None for other models."""
        return self.settings.get("passes")

    @property
    def temperature(self) -> float:
        """T of `calibrate`, by which the weights are divided; 1 of a model that is as fitted."""
        return float(self.settings.get("temperature") or 1.0)

    @property
    def uncalibrated(self) -> Self:
        """The model as it was fitted: with the weights that its certificate is of."""
        calibration = self.settings.get("calibration")
        if calibration is None:
            return self
        W, b = (
            (self.temperature * of).astype(dtype)
            for of, dtype in zip((self.W, self.b), calibration["dtypes"], strict=True)
        )
        own = ("temperature", "calibration")
        kept = {name: value for name, value in self.settings.items() if name not in own}
        return replace(self, W=W, b=b, settings=kept)

    @property
    def proof(self) -> str:
        """The certificate in words; "none" where there is none."""
        if self.certificate is None:
            return "none"
        of = f"; of the weights before calibration by T = {self.temperature:.4g}"
        return self.certificate.sentence + (of if "calibration" in self.settings else "")

    @cached_property
    def labels(self) -> NDArray[Any]:
        """The label of each class, shape (K,), of the type that the training rows' labels had."""
        return label_values(self.class_names, self.label_type)

    @property
    def many_labels(self) -> bool:
        """Whether a row has any number of the labels, each with a probability of its own."""
        return self.label_type == MANY

    def meet(self, rows: Dataset, log: Log | None = None) -> tuple[Dataset, NDArray[Any]]:
        """Labelled rows with the model's features, and its class index of each row, or labels.

        Features and classes are met by their names; −1 is a class that the model does not have.
        Rows without one of the features, or with none of the classes, are refused.
        """
        rows = rows.with_features(self.feature_names, "the model", log)
        if self.many_labels or rows.many_labels:
            y = self._labels_of(rows)
            return self._with_columns(rows, log), y
        places = {name: place for place, name in enumerate(self.class_names)}
        y = np.array([places.get(name, -1) for name in rows.class_names], np.int64)[rows.y]
        if (y < 0).all():
            held = _some(tuple(rows.class_names[k] for k in np.unique(rows.y)))
            raise DataError(
                f"{rows.name} should have the model's classes, {_some(self.class_names)}, but it "
                f"has {held}; use the data that the model is for."
            )
        return self._with_columns(rows, log), y

    def _with_columns(self, rows: Dataset, log: Log | None) -> Dataset:
        """The rows with the model's columns, where a file numbers them."""
        X = self.read_rows(rows.X, log)
        return rows if sparse_rows(X) is None or X is rows.X else replace(rows, X=X)

    def _labels_of(self, rows: Dataset) -> NDArray[np.uint8]:
        """The model's labels of each row, (N, K), met by their names."""
        if not (self.many_labels and rows.many_labels):
            many, one = ("model is", "rows have") if self.many_labels else ("rows have", "model is")
            of_many = "of many labels a row" if self.many_labels else "many labels"
            of_one = "one class each" if self.many_labels else "of one class a row"
            raise DataError(
                f"{rows.name}: the {many} {of_many}, and the {one} {of_one}; use the data that the "
                "model is for."
            )
        places = {name: place for place, name in enumerate(rows.class_names)}
        if missing := [name for name in self.class_names if name not in places]:
            raise DataError(
                f"{rows.name} should have the model's labels, {_some(self.class_names)}, but it "
                f"lacks {_some(tuple(missing))}; use the data that the model is for."
            )
        y: NDArray[np.uint8] = rows.y[:, [places[name] for name in self.class_names]]
        return np.ascontiguousarray(y)

    def trained_on(self, rows: Dataset, place: slice = slice(None)) -> NDArray[np.bool_]:
        """Which rows have the values of a row that the model was fitted to, (N,) booleans.

        Args:
            rows: rows with the model's features, in any storage type.
            place: which of them.

        Example:
            >>> from onelayer import load, solve
            >>> data = load("digits")
            >>> model = solve(data, l2=0.1)
            >>> int(model.trained_on(data.train).sum()), int(model.trained_on(data.test).sum())
            (1000, 0)
        """
        if self.split is None or self.split.rows is None:
            return np.zeros(len(rows.y[place]), np.bool_)
        known = rows._known_fingerprints(place)
        return self.split.holds(row_fingerprints(rows.X[place]) if known is None else known)

    def read_rows(self, X: Any, log: Log | None = None) -> NDArray[np.generic]:
        """Rows as an array (N, D) or `StoredRows`, with the model's features in their order.

        Of a data frame or `Dataset` the columns are met by their names. Rows that lie outside the
        range of the training rows are told to `log`.
        """
        log = log or print_line
        if isinstance(X, Dataset):
            X = X.with_features(self.feature_names, "the model", log).X
        elif is_frame(X):
            spec = ColumnSpec(elsewhere=True, features=self.feature_names)
            X = frame_table(X, None, "rows", log, spec).X
        X = SparseRows.of(X, "rows") if is_sparse(X) else X
        if sparse_rows(X) is not None and X.first_index is not None:
            X = self._numbered(X, log)
        rows = checked_rows(X, self.features)
        if log is not quiet:
            note_other_range(self.scaling, rows, self.feature_names, log)
        return rows

    def _numbered(self, X: SparseRows, log: Log) -> SparseRows:
        """The columns that the model's training file gave these numbers; others have no weight."""
        first = self.settings.get("first_index")
        own = X.first_index or 0
        if (first is None and X.shape[1] == self.features) or self.feature_names is not None:
            return X
        met = X.renumbered(own - (own if first is None else first), self.features)
        if met.nnz < X.nnz:
            log(
                f"{X.where}: left out {X.nnz - met.nnz:,} of {X.nnz:,} values, in columns that "
                f"the model does not have: its {self.features:,} are numbered from "
                f"{own if first is None else first} on."
            )
        met.first_index = first
        return met

    def score_tiles(
        self, X: Any, engine: Engine | str | None = None, log: Log | None = None
    ) -> Iterator[Float64]:
        """Yield `scores` a tile of rows at a time, so that memory does not grow with N."""
        rows = self.read_rows(X, log)
        step = self._tile_rows(rows)
        yield from (S for _, S in self._scored(rows, engine, step))

    def classify_tiles(
        self, X: Any, engine: Engine | str | None = None, log: Log | None = None, y: Any = 0
    ) -> Iterator[tuple[slice, RowFigures]]:
        """Yield places of rows and their figures, each (n,), with class indices y of the rows.

        Rows in memory that engines can read are one tile: no scores are kept of them.
        """
        rows = self.read_rows(X, log)
        weights, engine = self._weights(), _engine(engine)
        for place, tile in self._tiles(rows, len(rows), y):
            figures = RowFigures(*(of[0] for of in engine.classify(tile, weights)))
            self._check(figures.confidence, place, tile)
            yield place, figures

    def read_scores(
        self,
        X: Any,
        y: NDArray[np.int64],
        counted: NDArray[np.int64],
        engine: Engine | str | None = None,
        order: NDArray[np.int64] | slice = slice(None),
        weights: Float64 | None = None,
    ) -> ScoredRows:
        """What metrics read of the rows of these numbers, (n,); classes in the order given."""
        rows, chosen = self.read_rows(X, quiet), np.zeros(len(y), bool)
        chosen[counted] = True
        step = self._tile_rows(rows)

        def row_tiles() -> Iterator[Rows]:
            for place, tile in self._tiles(rows, step):
                if chosen[place].any():
                    yield replace(tile, index=np.flatnonzero(chosen[place]))

        W, b = (part[0, order] for part in self._weights())
        own = None if weights is None else weights[counted]
        return read_scores(row_tiles, _engine(engine), W, b, y[counted], own)

    def _scored(
        self, rows: NDArray[np.generic], engine: Engine | str | None, step: int
    ) -> Iterator[tuple[slice, Float64]]:
        """Yield places of at most `step` rows and their scores."""
        weights, engine = self._weights(), _engine(engine)
        for place, tile in self._tiles(rows, step):
            S = np.asarray(engine.scores(tile, weights)[0], np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                sums = S.sum(axis=1)
            # The sum of finite scores may be infinite too.
            for at in np.flatnonzero(~np.isfinite(sums)):
                sums[at] = 0.0 if np.isfinite(S[at]).all() else np.nan
            self._check(sums, place, tile)
            yield place, S

    def _tile_rows(self, rows: Any) -> int:
        """How many rows have so many entries and scores as a tile may."""
        features = self.features if sparse_rows(rows) is None else 1
        return max(1, TILE_ENTRIES // max(features, self.classes))

    def _weights(self) -> Weights:
        return Weights(self.W.astype(np.float64)[None], self.b.astype(np.float64)[None])

    def _tiles(
        self, rows: NDArray[np.generic], most: int, y: Any = 0
    ) -> Iterator[tuple[slice, Rows]]:
        """Rows that engines read in place, at most so many at a time; fewer to be converted."""
        if stored_rows(rows) is None and not _in_place(rows):
            most = min(most, max(1, TILE_ENTRIES // self.features))
        labels = np.broadcast_to(np.asarray(y, np.int64), len(rows))  # of many labels unread
        every = Rows(rows, labels, self.scaling.scale, self.scaling.offset)
        for place, tile in tiles(every, max(1, most)):
            yield place, replace(tile, X=_readable(tile.X))
        check_mapped(rows)

    def _check(self, figures: Float64, place: slice, tile: Rows) -> None:
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
                f"up to {np.abs(self.W).max():.3g}, or the row's features are too large."
            )
        raise DataError(
            f"every row needs finite features, but row {row} gives a score that is no "
            "number; drop the row or fill its NaN or infinite values."
        )

    def scores(self, X: Any, engine: Engine | str | None = None, log: Log | None = None) -> Float64:
        """Scores s = W (x · scale + offset) + b of every row, shape (N, K), float64.

        Args:
            X: rows as stored, not scaled: an array (N, D) of any real type, never copied as a
                whole; a sparse array or matrix of SciPy; or a data frame or `Dataset`, whose
                columns are met by their names: in any order, and others left out with a message.
            engine: an engine or its name; None is the native engine.
            log: callback for one-line messages: columns that are left out, rows outside the range
                of the training rows. None prints them on the standard error stream.

        Raises:
            DataError: when rows do not have the D features, or contain NaN or infinity.
        """
        rows = self.read_rows(X, log)
        found = None
        for place, S in self._scored(rows, engine, len(rows)):
            if len(S) == len(rows):
                return S
            found = np.empty((len(rows), self.classes)) if found is None else found
            found[place] = S
        return np.empty((0, self.classes)) if found is None else found

    def predict_proba(
        self, X: Any, engine: Engine | str | None = None, log: Log | None = None
    ) -> Float64:
        """Class probabilities p = softmax(s), shape (N, K); arguments and errors as of `scores`.

        Of many labels a row they are 1 / (1 + exp(−s)), of each label by itself.
        """
        return self.probabilities(self.scores(X, engine, log))

    def probabilities(self, S: Float64) -> Float64:
        """Put the probabilities in the place of scores (N, K)."""
        return sigmoid(S) if self.many_labels else to_probabilities(S)

    def predict(
        self,
        X: Any,
        engine: Engine | str | None = None,
        log: Log | None = None,
        *,
        indices: bool = False,
    ) -> NDArray[Any]:
        """The label of the largest score of each row, shape (N,); of equal scores the first counts.

        Labels are as those of the training rows were: text, integers or booleans, so that they
        compare with the labels of other rows, as in scikit-learn; of models whose classes were
        given as indices, such as CIFAR-10's, they are the indices 0 … K−1.

        Of many labels a row they are those of a probability above ½: (N, K) of 0 and 1, uint8.

        Args:
            X: rows, as of `scores`; so are `engine`, `log` and the errors.
            engine: an engine or its name; None is the native engine.
            log: callback for one-line messages; None prints them.
            indices: whether to return class indices 0 … K−1 in any case, as `Dataset.y` has them.

        Example:
            >>> from onelayer import solve, split
            >>> X, labels = np.array([[1.0], [8.0]] * 6), np.array(["low", "high"] * 6)
            >>> model = solve(split(X, labels), l2=1e-4)
            >>> bool((model.predict(X) == labels).all()), model.predict(X[:1], indices=True)
            (True, array([1]))
        """
        if self.many_labels:
            return np.asarray(self.scores(X, engine, log) > 0.0, np.uint8)
        tiles = (figures.classes for _, figures in self.classify_tiles(X, engine, log))
        found = np.concatenate([np.empty(0, np.int64), *tiles])
        return found if indices else self.labels[found]

    def evaluate(
        self,
        data: Dataset | Splits,
        engine: Engine | str | None = None,
        log: Log | None = None,
        *,
        include_training_rows: bool = False,
        scoring: str | Sequence[str] = (),
        groups: ArrayLike | None = None,
        seed: int = 0,
    ) -> Evaluation:
        """Accuracy, confusion, log loss and calibration on labelled rows, in one pass.

        Rows with the values of a row that the model was fitted to are left out, and counted. Rows
        that have weights count by them in every mean and metric, as by scikit-learn's
        sample_weight; class weights are of training and count in none.

        Args:
            data: rows with the model's features; of `Splits` the test rows. Features and classes
                are met by name; rows of a class that the model does not know are left out, and
                counted.
            engine: an engine or its name; None is the native engine.
            log: callback for one-line messages, as of `scores`; None prints them.
            include_training_rows: whether rows that the model was fitted to are not left out. They
                are not where there are no others either, as in `data.train`.
            scoring: metrics to measure as well, by the names in docs/guide/metrics.md, each with a
                95 % interval in `Evaluation.metrics`. Of many labels a row the evaluation is a
                `LabelEvaluation`.
            groups: what each row belongs to, such as its patient, (N,): the bootstrap then draws
                whole groups.
            seed: of the bootstrap.

        Raises:
            DataError: when the rows lack one of the features, or have none of the model's classes.
            SettingsError: for an unknown metric, and one that is not defined on these labels.

        Example:
            >>> from onelayer import load, solve
            >>> data = load("digits")
            >>> round(solve(data, l2=0.001).evaluate(data).accuracy, 2)
            0.95
            >>> print(solve(data, l2=0.001).evaluate(data, scoring="f1_macro").metrics[0].metric)
            f1_macro
        """
        return evaluate(
            self,
            data.test if isinstance(data, Splits) else data,
            engine,
            log,
            include_training_rows=include_training_rows,
            scoring=scoring,
            groups=groups,
            seed=seed,
        )

    def inference(
        self,
        data: Dataset | Splits,
        *,
        errors: Errors = "auto",
        reference: Any = None,
        level: float = 0.95,
        groups: ArrayLike | None = None,
        resamples: int = 1000,
        seed: int = 0,
        engine: Engine | str | None = None,
        on_progress: Callable[[Any], None] | None = None,
        log: Log | None = None,
    ) -> Inference:
        """Standard errors, p and intervals of the coefficients, in the features' own units.

        Args:
            data: the rows that the model was fitted to; of `Splits` the training part.
            errors: "hessian", by the inverse Hessian, for λ = 0; "sandwich", robust ones;
                "bootstrap", by refits of resampled rows. "auto" is "hessian" for λ = 0 on rows
                without groups and class weights, else "sandwich".
            reference: the class, by its name, that the others are compared with; None is the first.
            level: of the intervals, above 0 and below 1.
            groups: what each row belongs to, such as its patient, (N,); None takes those of the
                data. Sandwich and bootstrap then let rows of one group depend on each other.
            resamples: of the bootstrap, ≥ 100.
            seed: of the bootstrap.
            engine: of the bootstrap's refits: an engine or its name; None is the native engine.
            on_progress: called after each refit with an object of `done` and `total`.
            log: callback for one-line messages, as of `scores`; None prints them.

        Raises:
            SettingsError: when classes are separable or features linearly dependent and λ = 0, when
                the model is not at its optimum, and when the Hessian does not fit into memory.
            DataError: when the rows have other features or classes than the model.

        Example:
            >>> from onelayer import load, solve
            >>> data = load("digits")
            >>> found = solve(data, l2=0.01).inference(data)
            >>> found.coefficients.shape, found.errors
            ((9, 65), 'sandwich')
        """
        from onelayer.model.inference import infer

        return infer(
            self,
            data,
            errors=errors,
            reference=reference,
            level=level,
            groups=groups,
            resamples=resamples,
            seed=seed,
            engine=engine,
            on_progress=on_progress,
            log=log,
        )

    def calibrate(
        self,
        data: Dataset | Splits,
        engine: Engine | str | None = None,
        log: Log | None = None,
    ) -> Model:
        """A model whose probabilities are as sure as they are right: softmax(s / T).

        T is the temperature of the lowest log loss on these rows. It is folded into the weights of
        the model that is returned, so its predictions, file and exports are calibrated. Labels stay
        the same. `settings` has the temperature, and under "calibration" its bounds, and log loss
        and calibration error before and after. The certificate stays that of the weights as they
        were fitted, which `uncalibrated` gives back.

        Args:
            data: labelled rows that the model was not fitted to; of `Splits` the validation part.
                Rows that it was fitted to are left out.
            engine: an engine or its name; None is the native engine.
            log: callback for one-line messages, as of `scores`; None prints them.

        Raises:
            SettingsError: when no temperature is best: when every row is right, when scores tell
                nothing about the rows, and of many labels a row.
            DataError: when the rows lack one of the features, or have none of the model's classes.

        Source:
            Guo et al. (2017), On calibration of modern neural networks.

        Example:
            >>> from onelayer import load, solve
            >>> data = load("digits")
            >>> model = solve(data, l2=0.1)  # a large λ makes a model too unsure
            >>> calibrated = model.calibrate(data)
            >>> round(calibrated.temperature, 2)
            0.1
        """
        from onelayer.model.calibration import calibrate

        return calibrate(self, data, engine, log)

    def save(self, path: Path | str) -> None:
        """Save the model as one safetensors file; the same model gives the same bytes.

        Args:
            path: file to write, usually NAME.safetensors; an existing file is replaced.

        Raises:
            SaveError: when settings are not plain values, or the file cannot be written.

        Example:
            >>> import tempfile
            >>> model = Model(np.eye(2), np.zeros(2), class_names=("left", "right"))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     model.save(Path(folder) / "model.safetensors")
            ...     Model.load(Path(folder) / "model.safetensors").class_names
            ('left', 'right')
        """
        arrays: dict[str, NDArray[Any]] = {
            "W": self.W,
            "b": self.b,
            "scale": np.asarray(self.scaling.scale, np.float64),
            "offset": np.asarray(self.scaling.offset, np.float64),
        }
        if self.split is not None and self.split.rows is not None:
            arrays[TRAINING_ROWS] = self.split.rows
        if self.scaling.low is not None and self.scaling.high is not None:
            arrays |= {"low": self.scaling.low, "high": self.scaling.high}
        texts = {"scaling": self.scaling.name} | _texts(self)
        with staged_file(Path(path)) as staging, staging.open("wb") as stream:
            write_sealed(stream, FILE_KIND, FILE_VERSION, texts, arrays)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Load a saved model bit for bit. Nothing in the file can run code.

        Raises:
            SaveError: when the file is missing, damaged, of another kind, or of a later format.

        Example:
            >>> Model.load("absent.safetensors")
            Traceback (most recent call last):
            ...
            onelayer.errors.SaveError: absent.safetensors should be a model file, but it is not \
there.
        """
        path = Path(path)
        try:
            require_file(path)
            return cls(**_parts(*read_sealed(path, FILE_KIND, FILE_VERSION)))
        except FileNotFoundError as error:
            raise SaveError(f"{path} should be a model file, but it is not there.") from error
        except OSError as error:
            raise SaveError(f"{path} could not be read: {error.strerror or error}.") from error
        except MemoryError as error:
            raise SaveError(f"{path} takes more memory than there is ({error}).") from error
        except OnelayerError as error:
            raise SaveError(f"{path} should be a model that onelayer saved, but {error}") from error
        except Exception as error:
            raise SaveError(
                f"{path} should be a model that onelayer saved, but it cannot be read ({error}); "
                "save it again or restore it from a backup."
            ) from error

    def to_onnx(
        self,
        path: Path | str,
        *,
        input_type: str | None = None,
        rows: Any = None,
        precision: str = "float64",
    ) -> SelfTest:
        """Write the model as ONNX, after onnxruntime has agreed with it on some rows.

        Input `rows` (N, D); outputs `label` (N,), the class index, int64, and `probabilities`
        (N, K); of many labels a row `label` is (N, K) of 0 and 1. The metadata holds class names,
        image shape and settings as JSON.

        Args:
            path: file to write, usually NAME.onnx; an existing file is replaced.
            input_type: uint8, float16, float32 or float64; None is uint8 for images and float32
                otherwise, or float64 where features are too far from 0 for float32.
            rows: rows for the test, as stored, shape (n, D); None draws 256 rows with a fixed seed.
            precision: "float64", in which the graph gives what the model gives, to 1e-6; or
                "float32", for runtimes without the other (browsers, TensorRT), to within a bound
                on its rounding that is derived from the rows and the weights.

        Returns:
            Number of rows tested, the largest difference of the probabilities, and its bound.

        Raises:
            OnelayerError: when onnx or onnxruntime is not installed.
            SettingsError: for another input type.
            SaveError: when onnxruntime disagrees or the file cannot be written; nothing is left.
        """
        from onelayer.model.export import export_onnx

        return export_onnx(self, Path(path), input_type, rows, precision)

    def to_sklearn(self) -> LogisticRegression:
        """Make a LogisticRegression that gives the same predictions from rows as stored.

        The scaling is folded into its weights; `classes_` are the model's labels, sorted. For two
        classes it keeps one row, W₁ − W₀, whose logistic function is the softmax of both. C is
        1/(2λN), or 1/(λN) for two classes, whose one row LogisticRegression penalises, if λ > 0 and
        N are known. Of many labels a row it is a OneVsRestClassifier with one for each label.

        Raises:
            OnelayerError: when scikit-learn is not installed.

        Example:
            >>> Model(np.eye(2), np.zeros(2)).to_sklearn().predict(np.array([[3.0, 1.0]]))
            array([0])
        """
        from onelayer.model.export import to_sklearn

        return to_sklearn(self)

    def to_torch(self, dtype: str | None = None) -> Linear:
        """Make a torch.nn.Linear(D, K) that gives the scores of rows as stored.

        Of a model without an intercept it has bias=False.

        Args:
            dtype: "float32" or "float64", the type of its weights and input; None is float32, or
                float64 where features are too far from 0 for float32.

        Raises:
            OnelayerError: when PyTorch is not installed.
            SettingsError: for another dtype, and for float32 where features are too far from 0.
        """
        from onelayer.model.export import to_torch

        return to_torch(self, dtype)

    def to_state_dict(self, path: Path | str, dtype: str | None = None) -> None:
        """Write the state dict of that torch.nn.Linear as safetensors, without PyTorch.

        `linear.load_state_dict(safetensors.torch.load_file(path))` reads it; the header has the
        class names as JSON. A .pt or .pth file is written by PyTorch, and torch.load reads it.

        Raises:
            SettingsError: for another dtype than "float32" or "float64".
            SaveError: when the file cannot be written.
        """
        from onelayer.model.export import export_state_dict

        export_state_dict(self, Path(path), dtype)

    def __repr__(self) -> str:
        fit = {"scaling": self.scaling.name, "l2": self.l2, "status": self.status}
        known = "".join(f", {name}={value!r}" for name, value in fit.items() if value is not None)
        head = f"Model({self.classes} classes, {self.features} features{known})"
        return head if self.certificate is None else f"{head}\n{self.proof}"

    def _repr_html_(self) -> str:
        # A package above this one, imported by name when a notebook shows the model.
        html: str = import_module("onelayer.report.notebook").model_html(self)
        return html


def fitted_rows(model: Model, data: Dataset | Splits, log: Log | None) -> tuple[Dataset, Rows]:
    """The rows that a model's cost is the mean over, and the same as engines read them, weighted.

    Of `Splits` it is the training part, and of a model that was refitted the validation part too.
    """
    if isinstance(data, Splits) and model.settings.get("refit"):
        data = data.train_and_validation
    met, _ = model.meet(training_rows(data), log)
    class_weight = known_class_weight(model.settings.get("class_weight"), met.class_names)
    rows = without_weightless(met, class_weight)
    rows, y = model.meet(rows, quiet)
    if (y < 0).any():
        other = rows.class_names[rows.y[np.argmin(y)]]
        raise DataError(
            f"{rows.name}: the model has no class {other!r}, so these rows have no cost; leave "
            "them out."
        )
    weights = weights_to_fit(rows, class_weight)
    of_model = replace(rows_of(rows, model.scaling), y=y, weights=weights)
    return rows, replace(of_model, intercept=model.intercept)


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


def _engine(engine: Engine | str | None) -> Engine:
    return make_engine(engine or "native") if engine is None or isinstance(engine, str) else engine


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


def chosen_features(W: NDArray[Any]) -> str:
    """How many features have weights that are not 0, in words."""
    count = int(W.any(axis=0).sum())
    return f"{count:,} of {W.shape[1]:,} feature{'' if W.shape[1] == 1 else 's'} chosen"


def _check_weights(W: NDArray[np.floating], b: NDArray[np.floating]) -> None:
    if W.ndim != 2 or W.size == 0:
        raise DataError(f"a model's W must have K rows of D weights, but its shape is {W.shape}.")
    for name, array in (("W", W), ("b", b)):
        if array.dtype.name not in WEIGHT_TYPES:
            expected = " or ".join(WEIGHT_TYPES)
            raise DataError(f"a model's {name} must be {expected}, but it is {array.dtype}.")


def _check_parts(model: Model) -> None:
    """Refuse numbers that are not finite, names that are not different, and other sizes."""
    (K, D), names, features = model.W.shape, model.class_names, model.feature_names
    scale, offset = model.scaling.scale, model.scaling.offset
    for name, values in (("W", model.W), ("b", model.b), ("scale", scale), ("offset", offset)):
        if not np.isfinite(values).all():
            raise DataError(f"a model's {name} must be finite, but it contains NaN or infinity.")
    if len(names) < 2 or len(set(names)) != len(names):
        raise DataError(
            "a model needs at least 2 classes with different names, but they are "
            f"{', '.join(names)[:200] or 'none'}."
        )
    if not model.intercept and (model.b.any() or offset.any()):
        raise DataError("a model without an intercept needs b and offset of 0.")
    check_label_type(names, model.label_type)
    low, high = model.scaling.low, model.scaling.high
    for name, got, wanted in (
        ("b", model.b.shape, K),
        ("class_names", (len(names),), K),
        ("scale", scale.shape, D),
        ("offset", offset.shape, D),
        ("low", (D,) if low is None else low.shape, D),
        ("high", (D,) if high is None else high.shape, D),
        ("feature_names", (D if features is None else len(features),), D),
        ("image_shape", (prod(model.image_shape or (D,)),), D),
    ):
        if got != (wanted,):
            raise DataError(
                f"a model with W of shape {(K, D)} needs {name} of size {(wanted,)}, but it is "
                f"{got}."
            )
    if low is not None and high is not None and not (low <= high).all():
        raise DataError("a model's features must have a range of low ≤ high.")


def _texts(model: Model) -> dict[str, str]:
    """The texts of a model's file."""
    values = {name: getattr(model, name) for name in FILE_TEXTS}
    if model.label_type == INDEX:
        del values["label_type"]
    proof = values["certificate"] = model.certificate and asdict(model.certificate)
    if proof and not math.isfinite(proof["gap"]):
        proof["gap"] = None  # JSON has no word for infinity, which is the gap where λ = 0
    values["split"] = to_plain(model.split, {}, "split")
    try:
        texts = {
            name: json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            for name, value in values.items()
        }
        "".join(texts.values()).encode()  # half a surrogate pair is no text that can be written
    except (TypeError, ValueError) as error:
        raise SaveError(
            f"a model's names and settings must be plain values, fit for JSON, but {error}."
        ) from error
    return texts


def _parts(texts: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The attributes of a model, from the texts and arrays of its file."""
    values: dict[str, Any] = {
        name: from_plain(kind, read_json(texts[name]), place=name)
        for name, kind in FILE_TEXTS.items()
        if name in texts or name not in OPTIONAL_TEXTS
    }
    for name, kind in SETTINGS.items():
        from_plain(kind, values["settings"].get(name), place=f"settings.{name}")
    proof = values["certificate"]
    if proof is not None:
        gap = "inf" if proof.get("gap", "") is None else proof.get("gap")
        known = proof | {"gap": gap}
        values["certificate"] = from_plain(Certificate, known, place="certificate")
    split = read_json(texts.get("split", "null"))
    values["split"] = None if split is None else from_plain(SplitCard, split, arrays, "split")
    spans = arrays.get("low"), arrays.get("high")
    scaling = Scaling(texts["scaling"], arrays["scale"], arrays["offset"], *spans)  # type: ignore[arg-type]
    return values | {"W": arrays["W"], "b": arrays["b"], "scaling": scaling}
