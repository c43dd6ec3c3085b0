"""A linear softmax classifier of rows as they are stored, and the certificate of its cost.

    s = W (x · scale + offset) + b        scores
    p = exp(s) / 1ᵀ exp(s)                probabilities

Scores are computed in float64 whatever type W has, so a prediction does not depend on the
processor's instruction set, except for ties in the last bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.dataset import DataCard, Dataset, Splits
from onelayer.data.rows import Rows
from onelayer.data.scaling import Scaling
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine, Weights, make_engine, tiles
from onelayer.errors import DataError, SettingsError
from onelayer.model.evaluation import Evaluation, evaluate
from onelayer.objective.loss import softmax

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from torch.nn import Linear

    from onelayer.model.export import SelfTest

Float64 = NDArray[np.float64]

WEIGHT_TYPES = ("float32", "float64")

# Engines read these in place; rows of other types are converted a tile at a time.
READ_IN_PLACE = ("uint8", "float16", "float32", "float64")

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

    Source:
        docs/explanation/formulations.md, "The certificate".
    """

    l2: float
    cost: float
    gap: float
    gradient_norm: float
    bias_residual: float
    rows: int

    def __repr__(self) -> str:
        return f"Certificate(λ={self.l2:g}, {self.rows} rows: {self.sentence})"

    def __str__(self) -> str:
        return self.sentence

    @property
    def lower_bound(self) -> float:
        """No model with this λ has a cost below this on these rows, nats."""
        return self.cost - self.gap

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
        if self.l2 == 0.0:
            return (
                f"cost {self.cost:.5g}, gradient norm {self.gradient_norm:.2g}; "
                "without l2 (λ = 0) no bound exists"
            )
        return f"cost {self.cost:.5g}, at most {self.gap:.2g} above the best possible"


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A linear softmax classifier of rows as they are stored.

    Training and solving return one; weights from elsewhere become one by `Model(W, b)`.

    Attributes:
        W: weights of the scaled features, shape (K, D), float32 or float64, finite.
        b: biases, shape (K,), float32 or float64, finite.
        scaling: affine map of each feature, applied while rows are read; None is the identity.
        class_names: names of the K ≥ 2 classes, all different; None names them "0" to "K−1".
        image_shape: (channels, height, width) if the features are the planes of an image.
        feature_names: names of the D features, or None.
        settings: how the model was made; plain values, fit for JSON.
        certificate: bound on its distance from the optimum, or None.

    Raises:
        DataError: when shapes, types or names do not fit together.

    Example:
        >>> model = Model(np.eye(2), np.zeros(2), class_names=("left", "right"))
        >>> model.predict([[3.0, 1.0], [0.0, 5.0]])
        array([0, 1])
    """

    W: NDArray[np.floating]
    b: NDArray[np.floating]
    scaling: Scaling = None  # type: ignore[assignment]  # __post_init__ replaces None
    class_names: tuple[str, ...] = None  # type: ignore[assignment]
    image_shape: tuple[int, int, int] | None = None
    feature_names: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    certificate: Certificate | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "W", np.ascontiguousarray(self.W))
        object.__setattr__(self, "b", np.ascontiguousarray(self.b))
        _check_weights(self.W, self.b)
        K, D = self.W.shape
        if cast("Scaling | None", self.scaling) is None:
            object.__setattr__(self, "scaling", Scaling("none", np.ones(D), np.zeros(D)))
        names = map(str, range(K)) if self.class_names is None else self.class_names
        object.__setattr__(self, "class_names", tuple(names))
        _check_names(self.class_names)
        _check_sizes(
            self.W.shape,
            b=self.b.shape,
            scale=self.scaling.scale.shape,
            offset=self.scaling.offset.shape,
            class_names=(len(self.class_names),),
            feature_names=None if self.feature_names is None else (len(self.feature_names),),
            image_shape=None if self.image_shape is None else (prod(self.image_shape),),
        )
        _check_finite(scale=self.scaling.scale, offset=self.scaling.offset)

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

    def require_certificate(self) -> Certificate:
        """The certificate.

        Raises:
            SettingsError: when the model has none; `onelayer.certify(model, data)` makes one.
        """
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

    def check_data(self, rows: Dataset) -> None:
        """Refuse labelled rows that have other classes or another number of features.

        Raises:
            DataError: when they do.
        """
        if rows.class_names != self.class_names:
            raise DataError(
                f"{rows.name} should have the model's classes, {_some(self.class_names)}, but it "
                f"has {_some(rows.class_names)}; use the data that the model is for."
            )
        checked_rows(rows.X, self.features)

    def score_tiles(self, X: ArrayLike, engine: Engine | str | None = None) -> Iterator[Float64]:
        """Scores of the rows, a tile of rows at a time, so that memory does not grow with N.

        Args:
            X: rows as stored, not scaled: shape (N, D), any real type.
            engine: an engine or its name; None is the native engine.

        Yields:
            Scores of the next rows, shape (n, K), float64.

        Raises:
            DataError: when rows do not have D features, or contain NaN or infinity.
        """
        rows = checked_rows(X, self.features)
        weights = Weights(self.W.astype(np.float64)[None], self.b.astype(np.float64)[None])
        if engine is None or isinstance(engine, str):
            engine = make_engine(engine or "native")
        step = max(1, TILE_ENTRIES // max(self.features, self.classes))
        labels = np.broadcast_to(np.int64(0), len(rows))  # engines require labels; scores do not
        every = Rows(rows, labels, self.scaling.scale, self.scaling.offset)
        for place, tile in tiles(every, step):
            tile = replace(tile, X=_readable(tile.X))
            S = np.asarray(engine.scores(tile, weights)[0], np.float64)
            if not np.isfinite(S).all():
                row = place.start + int(np.argmin(np.isfinite(S).all(axis=1)))
                raise DataError(
                    f"every row needs finite features, but row {row} gives a score that is no "
                    "number; drop the row or fill its NaN or infinite values."
                )
            yield S

    def scores(self, X: ArrayLike, engine: Engine | str | None = None) -> Float64:
        """Scores s = W (x · scale + offset) + b of every row.

        Args:
            X: rows as stored, shape (N, D), any real type; never copied as a whole.
            engine: an engine or its name; None is the native engine.

        Returns:
            Shape (N, K), float64.

        Raises:
            DataError: when rows do not have D features, or contain NaN or infinity.
        """
        return np.concatenate([np.empty((0, self.classes)), *self.score_tiles(X, engine)])

    def predict_proba(self, X: ArrayLike, engine: Engine | str | None = None) -> Float64:
        """Class probabilities p = softmax(s) of every row.

        Args:
            X: rows as stored, shape (N, D), any real type.
            engine: an engine or its name; None is the native engine.

        Returns:
            Shape (N, K), float64; each row sums to 1.

        Raises:
            DataError: when rows do not have D features, or contain NaN or infinity.
        """
        tiles = (softmax(S) for S in self.score_tiles(X, engine))
        return np.concatenate([np.empty((0, self.classes)), *tiles])

    def predict(self, X: ArrayLike, engine: Engine | str | None = None) -> NDArray[np.int64]:
        """Class with the largest score of every row; ties go to the first class.

        Args:
            X: rows as stored, shape (N, D), any real type.
            engine: an engine or its name; None is the native engine.

        Returns:
            Class indices 0 … K−1, shape (N,); `class_names` has their names.

        Raises:
            DataError: when rows do not have D features, or contain NaN or infinity.
        """
        tiles = (S.argmax(axis=1) for S in self.score_tiles(X, engine))
        return np.concatenate([np.empty(0, np.int64), *tiles])

    def evaluate(self, data: Dataset | Splits, engine: Engine | str | None = None) -> Evaluation:
        """Accuracy, confusion, log loss and calibration on labelled rows, in one pass.

        Args:
            data: rows with the model's features and classes; of `Splits` the test rows.
            engine: an engine or its name; None is the native engine.

        Returns:
            The figures. Ties between scores go to the first class, also in the top-5 accuracy.

        Raises:
            DataError: when the rows have other features or classes than the model.

        Example:
            >>> from onelayer import load, solve
            >>> data = load("digits")
            >>> round(solve(data, l2=0.001).evaluate(data).accuracy, 2)
            0.95
        """
        return evaluate(self, data.test if isinstance(data, Splits) else data, engine)

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
        from onelayer.model.file import write_model

        write_model(self, Path(path))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Load a saved model bit for bit. Nothing in the file can run code.

        Args:
            path: a file written by `save`.

        Returns:
            The model.

        Raises:
            SaveError: when the file is missing, damaged, of another kind, or of a later format.

        Example:
            >>> Model.load("absent.safetensors")
            Traceback (most recent call last):
            ...
            onelayer.errors.SaveError: absent.safetensors should be a model file, but it is not \
there.
        """
        from onelayer.model.file import read_model

        return read_model(cls, Path(path))

    def to_onnx(
        self, path: Path | str, *, input_type: str | None = None, rows: ArrayLike | None = None
    ) -> SelfTest:
        """Write the model as ONNX, after onnxruntime has agreed with it on some rows.

        Input `rows` (N, D); outputs `label` (N,) int64 and `probabilities` (N, K) float64. The
        metadata holds class names, image shape and settings as JSON.

        Args:
            path: file to write, usually NAME.onnx; an existing file is replaced.
            input_type: type of the rows: uint8, float16, float32 or float64. None is uint8 for
                images and float32 otherwise.
            rows: rows for the test, as stored, shape (n, D); None draws 256 rows with a fixed seed.

        Returns:
            Number of rows tested, and the largest difference of the probabilities.

        Raises:
            OnelayerError: when onnx or onnxruntime is not installed.
            SettingsError: for another input type.
            SaveError: when onnxruntime disagrees or the file cannot be written; nothing is left.
        """
        from onelayer.model.export import export_onnx

        return export_onnx(self, Path(path), input_type, rows)

    def to_sklearn(self) -> LogisticRegression:
        """Make a LogisticRegression that gives the same predictions from rows as stored.

        The scaling is folded into its weights. `classes_` are 0 … K−1, since scikit-learn's metrics
        require sorted classes; `class_names` has the names. For two classes it keeps one row,
        W₁ − W₀, whose logistic function is the softmax of both.

        Returns:
            Fitted. C is 1/(2λN), or 1/(λN) for two classes, whose one row LogisticRegression
            penalises, if λ > 0 and N are known.

        Raises:
            OnelayerError: when scikit-learn is not installed.

        Example:
            >>> Model(np.eye(2), np.zeros(2)).to_sklearn().predict(np.array([[3.0, 1.0]]))
            array([0])
        """
        from onelayer.model.export import to_sklearn

        return to_sklearn(self)

    def to_torch(self, dtype: str = "float32") -> Linear:
        """Make a torch.nn.Linear(D, K) that gives the scores of rows as stored.

        Args:
            dtype: "float32" or "float64", the type of its weights and input.

        Returns:
            The layer, with the scaling folded into its weights.

        Raises:
            OnelayerError: when PyTorch is not installed.
            SettingsError: for another dtype.
        """
        from onelayer.model.export import to_torch

        return to_torch(self, dtype)

    def to_state_dict(self, path: Path | str, dtype: str = "float32") -> None:
        """Write the state dict of that torch.nn.Linear as safetensors, without PyTorch.

        `linear.load_state_dict(safetensors.torch.load_file(path))` reads it; the header has the
        class names as JSON. A .pt or .pth file is written by PyTorch, and torch.load reads it.

        Args:
            path: file to write; an existing file is replaced.
            dtype: "float32" or "float64".

        Raises:
            SettingsError: for another dtype.
            SaveError: when the file cannot be written.
        """
        from onelayer.model.export import export_state_dict

        export_state_dict(self, Path(path), dtype)

    def __repr__(self) -> str:
        fit = {"scaling": self.scaling.name, "l2": self.l2, "status": self.status}
        known = "".join(f", {name}={value!r}" for name, value in fit.items() if value is not None)
        head = f"Model({self.classes} classes, {self.features} features{known})"
        return head if self.certificate is None else f"{head}\n{self.certificate.sentence}"

    def _repr_html_(self) -> str:
        # A package above this one, imported by name when a notebook shows the model.
        html: str = import_module("onelayer.report.notebook").model_html(self)
        return html


def origin(data: DataCard, environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that say which data and which environment a model comes from."""
    return {
        "data": data.name,
        "train_rows": data.train_rows,
        "environment": dict(environment),
    }


def checked_rows(X: ArrayLike, features: int) -> NDArray[np.generic]:
    """The rows as an array of real numbers, shape (N, features), without a copy if it is one."""
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


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f", … ({len(names)})" if len(names) > 4 else "")


def _readable(tile: NDArray[np.generic]) -> NDArray[np.generic]:
    """The tile itself where engines can read it in place, or else a converted copy."""
    native = tile.dtype.isnative and tile.dtype.name in READ_IN_PLACE
    return np.ascontiguousarray(tile, tile.dtype if native else np.float64)


def _check_weights(W: NDArray[np.floating], b: NDArray[np.floating]) -> None:
    if W.ndim != 2 or W.size == 0:
        raise DataError(f"a model's W must have K rows of D weights, but its shape is {W.shape}.")
    for name, array in (("W", W), ("b", b)):
        if array.dtype.name not in WEIGHT_TYPES:
            expected = " or ".join(WEIGHT_TYPES)
            raise DataError(f"a model's {name} must be {expected}, but it is {array.dtype}.")
    _check_finite(W=W, b=b)


def _check_finite(**arrays: NDArray[np.floating]) -> None:
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise DataError(f"a model's {name} must be finite, but it contains NaN or infinity.")


def _check_sizes(shape: tuple[int, ...], **sizes: tuple[int, ...] | None) -> None:
    """Refuse parts whose size is not (K,), for b and class_names, or (D,), for the others."""
    K, D = shape
    for name, got in sizes.items():
        wanted = (K,) if name in ("b", "class_names") else (D,)
        if got is not None and got != wanted:
            raise DataError(
                f"a model with W of shape {(K, D)} needs {name} of size {wanted}, but it is {got}."
            )


def _check_names(class_names: tuple[str, ...]) -> None:
    if len(class_names) < 2 or len(set(class_names)) != len(class_names):
        raise DataError(
            "a model needs at least 2 classes with different names, but they are "
            f"{', '.join(class_names)[:200] or 'none'}."
        )
