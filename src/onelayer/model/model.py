"""A linear softmax classifier of rows as they are stored.

    s = W (x · scale + offset) + b        scores
    p = exp(s) / 1ᵀ exp(s)                probabilities; of many labels a row 1 / (1 + exp(−s))

Scores are computed in float64 whatever type W has, so a prediction does not depend on the
processor's instruction set, except for ties in the last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.classes import INDEX, MANY, LabelType, check_label_type, label_values
from onelayer.data.dataset import DataCard, Dataset, SplitCard, Splits, require_rows
from onelayer.data.fingerprints import row_fingerprints
from onelayer.data.progress import Log
from onelayer.data.scaling import Scaling, held_values
from onelayer.engines import Engine
from onelayer.errors import DataError, SettingsError
from onelayer.files.records import MAY_LACK, MaybeNone
from onelayer.model.certificate import Certificate
from onelayer.model.evaluation import Evaluation, evaluate
from onelayer.model.file import read_model, write_model
from onelayer.model.rows import all_scores, classify_tiles
from onelayer.objective.loss import sigmoid, to_probabilities

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from torch.nn import Linear

    from onelayer.model.export import SelfTest
    from onelayer.model.inference import Errors, Inference

Float64 = NDArray[np.float64]

WEIGHT_TYPES = ("float32", "float64")

# Settings by which a cost is another than the mean cross-entropy, where they are not 0: label
# smoothing, the exponent of the generalised cross-entropy, and how far images are moved.
COST_NUMBERS = ("label_smoothing", "q", "moves")


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
    feature_names: tuple[str, ...] | MaybeNone = None
    label_type: LabelType = field(default=INDEX, metadata=MAY_LACK)
    settings: Mapping[str, Any] = field(default_factory=dict)
    certificate: Certificate | MaybeNone = None
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
        if known.get("intercept_penalty"):
            parts.append("a penalty of the intercept")
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

        The solver ends "optimal", "passes", "rounding", "separated" (λ = 0, where classes can be
        separated and nothing is optimal) or "interrupted"; mini-batch descent "finished",
        "stopped", "diverged" or "interrupted".
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
        words = self.certificate.sentence + (of if "calibration" in self.settings else "")
        groups = self.settings.get("separated")
        if groups:
            proven = self.certificate.is_bound
            words += f"; {no_optimum_words(groups, self.classes, proven=proven)}"
        return words

    @cached_property
    def labels(self) -> NDArray[Any]:
        """The label of each class, shape (K,), of the type that the training rows' labels had."""
        return label_values(self.class_names, self.label_type)

    @property
    def many_labels(self) -> bool:
        """Whether a row has any number of the labels, each with a probability of its own."""
        return self.label_type == MANY

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
        require_rows("trained_on", rows)
        if self.split is None or self.split.rows is None:
            return np.zeros(len(rows.y[place]), np.bool_)
        known = rows._known_fingerprints(place)
        return self.split.holds(row_fingerprints(rows.X[place]) if known is None else known)

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
        return all_scores(self, X, engine, log)

    def predict_proba(
        self, X: Any, engine: Engine | str | None = None, log: Log | None = None
    ) -> Float64:
        """Class probabilities p = softmax(s), shape (N, K); arguments and errors as of `scores`.

        Of many labels a row they are 1 / (1 + exp(−s)), of each label by itself.
        """
        return self._probabilities(self.scores(X, engine, log))

    def _probabilities(self, S: Float64) -> Float64:
        """The probabilities of scores (N, K), which they may overwrite."""
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
        tiles = (figures.classes for _, figures in classify_tiles(self, X, engine, log))
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
        require_rows("evaluate", data)
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
                data. Sandwich and bootstrap then let rows of one group depend on each other; with
                fewer than 30 groups errors are often too small, and the sandwich of λ = 0 needs
                more groups than coefficients.
            resamples: of the bootstrap, ≥ 100.
            seed: of the bootstrap.
            engine: of the bootstrap's refits: an engine or its name; None is the native engine.
            on_progress: called after each refit with an object of `done` and `total`.
            log: callback for one-line messages, as of `scores`; None prints them.

        Raises:
            SettingsError: when classes are separable or features linearly dependent and λ = 0, when
                the model is not at its optimum, when groups are too few, and when the Hessian does
                not fit into memory.
            DataError: when the rows have other features or classes than the model.

        Example:
            >>> from onelayer import load, solve
            >>> data = load("digits")
            >>> found = solve(data, l2=0.01).inference(data)
            >>> found.coefficients.shape, found.errors
            ((9, 65), 'sandwich')
        """
        from onelayer.model.inference import infer

        require_rows("inference", data)
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

        require_rows("calibrate", data)
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
        write_model(self, Path(path))

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
        return read_model(cls, Path(path))

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
        classes it keeps one row, W₁ − W₀, whose logistic function is the softmax of both. Of
        features as stored C is 1/(2λN), or 1/(λN) for two classes, whose one row LogisticRegression
        penalises, if λ > 0 and N are known; of features divided by one number c it is that over
        c². It keeps its default where LogisticRegression has no such penalty: of standardized
        features, by factors or of groups; and where rows or classes had weights whose sum is not
        known. Of many labels a row it is a OneVsRestClassifier with one for each label.

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


def require_model(function: str, model: object) -> None:
    """Raise `SettingsError` unless `model` is a `Model`."""
    if not isinstance(model, Model):
        raise SettingsError(
            f"{function} needs a Model, as onelayer.solve returns it, but "
            f"{type(model).__name__} was given."
        )


def separation_words(groups: Sequence[Sequence[object]], classes: int) -> str:
    """Which classes can be separated, as in "the rows of setosa can be separated from …"."""
    if len(groups) == classes:
        return "the rows of all classes can be separated"
    names = " and those of ".join(", ".join(map(str, group)) for group in groups)
    return f"the rows of {names} can be separated from the others"


def no_optimum_words(
    groups: Sequence[Sequence[object]], classes: int, *, proven: bool = False
) -> str:
    """The same, and what follows: with λ = 0, or for features that are not penalised."""
    words = separation_words(groups, classes)
    if proven:
        return (
            f"{words} by features without a penalty, so their weights grow without end and have no "
            "optimum; give those a small factor, such as 1e-4"
        )
    return f"{words}, so W grows without end and has no optimum; solve with λ > 0"


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


def _are_finite(values: NDArray[np.floating]) -> bool:
    """Whether none is NaN or infinite; one sum says so, unless it overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = values.sum()
    return bool(np.isfinite(total) or np.isfinite([values.min(), values.max()]).all())


def _check_parts(model: Model) -> None:
    """Refuse numbers that are not finite, names that are not different, and other sizes."""
    (K, D), names, features = model.W.shape, model.class_names, model.feature_names
    scale, offset = model.scaling.scale, model.scaling.offset
    of_features = ("scale", held_values(scale)), ("offset", held_values(offset))
    for name, values in (("W", model.W), ("b", model.b), *of_features):
        if not _are_finite(values):
            raise DataError(f"a model's {name} must be finite, but it contains NaN or infinity.")
    if len(names) < 2 or len(set(names)) != len(names):
        raise DataError(
            "a model needs at least 2 classes with different names, but they are "
            f"{', '.join(names)[:200] or 'none'}."
        )
    if not model.intercept and (model.b.any() or held_values(offset).any()):
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
