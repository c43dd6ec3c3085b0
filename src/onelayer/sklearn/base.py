"""A fitted linear classifier: coef_, intercept_, and what can be predicted from them.

    s = X coef_ᵀ + intercept_        p = softmax(s)

For two classes coef_ has one row, v = W₁ − W₀, as in all of scikit-learn: s = log p₁ / p₀.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils.validation import check_is_fitted

from onelayer.data.classes import label_type, name_classes
from onelayer.data.rows import Rows, factors_of_features
from onelayer.data.scaling import Scaling
from onelayer.data.weights import class_weight_by_name
from onelayer.engines import Engine, Weights, make_engine
from onelayer.model.model import COST_NUMBERS, Model
from onelayer.objective.loss import log_softmax, to_probabilities
from onelayer.sklearn.inputs import check_rows

Float64 = NDArray[np.float64]


# The settings of a model that say which cost its weights are of.
COST_SETTINGS = (
    "l2", "l1", "grouped", "intercept", "intercept_penalty", "penalty_factors", "class_weight",
    "sample_weight", "train_rows", "loss", "flips", "flip_seed", *COST_NUMBERS, "temperature",
    "calibration",
)  # fmt: skip

# Where an estimator's pickle has the version of onelayer that wrote it.
_VERSION = "_onelayer_version"


class PickleVersionWarning(InconsistentVersionWarning):  # type: ignore[misc]
    """An estimator was pickled by another version of onelayer."""

    def __str__(self) -> str:
        return (
            f"this {self.estimator_name} was pickled by onelayer {self.original_sklearn_version} "
            f"and is read by {self.current_sklearn_version}, which may give other results; fit it "
            "again, and keep it with to_model().save(path), which any version reads."
        )


class Layer(NamedTuple):
    """W (K, D) and b (K,) of the scaled features, float64."""

    W: Float64
    b: Float64


def l2_of_layer(l2: float, classes: int) -> float:
    """The λ of W that is λ of coef_: 2λ for two classes, as 2λ (‖W₀‖² + ‖W₁‖²) = λ ‖v‖²."""
    return 2.0 * l2 if classes == 2 else l2


class ModelBridge:
    """A fitted estimator's weights as a layer and as a `Model`, and the version in its pickle."""

    classes_: NDArray[Any]
    coef_: Float64
    intercept_: Float64
    feature_range_: Float64  # (2, D), least and largest value of each feature in training
    n_iter_: Any
    class_weight: Any
    gap_: float
    n_features_in_: int
    feature_names_in_: NDArray[Any]
    _scaling: Scaling | None = None  # of the features in training; None is none
    _cost: Mapping[str, Any] = MappingProxyType({})  # that of the fit, by COST_SETTINGS

    def to_model(self) -> Model:
        """The same classifier as a `Model`: to save, export as ONNX, evaluate, certify and compare.

        Its weights sum to zero over the classes and are of the features as they were scaled, its λ
        is that of these weights, and `predict` returns the same labels. `from_model` is the way
        back. An estimator keeps no rows: `evaluate`, `compare` and `calibrate` cannot tell which
        ones it was fitted to, so give them others.

        Raises:
            NotFittedError: before fit.

        Example:
            >>> from onelayer import SoftmaxClassifier
            >>> X, y = [[0.0], [1.0], [2.0], [3.0]], ["low", "low", "high", "high"]
            >>> SoftmaxClassifier().fit(X, y).to_model().predict([[3.0]]).tolist()
            ['high']
        """
        check_is_fitted(self)
        D = self.coef_.shape[1]
        known = self._scaling or Scaling("none", np.ones(D), np.zeros(D))
        scaling = Scaling(
            known.name, known.scale, known.offset, *getattr(self, "feature_range_", ())
        )
        layer = self._get_layer(scaling)
        names = getattr(self, "feature_names_in_", None)
        class_names = name_classes(self.classes_, "classes_")
        settings = {
            "made_by": type(self).__name__,
            "epochs_kept": int(np.sum(self.n_iter_)),
            **self._cost,
        }
        return Model(
            layer.W,
            layer.b,
            scaling,
            class_names,
            feature_names=None if names is None else tuple(names),
            label_type=label_type(self.classes_, class_names),
            settings=settings,
        )

    def _keep_cost(
        self, l2: float | None, rows: int | None, *, weighted: bool, **others: Any
    ) -> None:
        """Remember which cost the weights are of, λ that of W, None where unknown."""
        names, D = getattr(self, "feature_names_in_", None), self.coef_.shape[1]
        class_names = name_classes(self.classes_, "classes_")
        kind = label_type(self.classes_, class_names)
        class_weight = class_weight_by_name(self.class_weight, class_names, kind)
        cost: dict[str, Any] = {"sample_weight": weighted, "class_weight": class_weight}
        cost |= {} if l2 is None else {"l2": l2}
        cost |= others if rows is None else {"train_rows": rows, **others}
        if not (getattr(self, "fit_intercept", True) or self.intercept_.any()):
            cost["intercept"] = False
        factors = factors_of_features(getattr(self, "penalty_factors", None), D, names)
        if factors is not None:
            known = map(str, range(D)) if names is None else names
            cost["penalty_factors"] = dict(zip(known, factors.tolist(), strict=True))
        self._cost = cost

    def _take_model(self, model: Model) -> None:
        """Become the fitted classifier that predicts as a model does."""
        order = np.argsort(model.labels, kind="stable")
        layer = Layer(model.W[order].astype(np.float64), model.b[order].astype(np.float64))
        self.classes_, self.n_features_in_ = model.labels[order], model.features
        if model.feature_names is not None:
            self.feature_names_in_ = np.array(model.feature_names, object)
        self._set_layer(layer, model.scaling, keep_mean=model.l1 > 0.0)
        of = model.settings if model.l2 is None else {**model.settings, "l2": model.l2}
        self._cost = {name: of[name] for name in COST_SETTINGS if name in of}
        if model.certificate is not None:
            self.gap_ = model.certificate.gap

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return dict(state, **{_VERSION: version("onelayer")})

    def __setstate__(self, state: dict[str, Any]) -> None:
        pickled, now = state.pop(_VERSION, "an unknown version"), version("onelayer")
        if pickled != now:
            warnings.warn(
                PickleVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sklearn_version=now,
                    original_sklearn_version=pickled,
                ),
                stacklevel=2,
            )
        super().__setstate__(state)  # type: ignore[misc]

    def _set_layer(self, layer: Layer, scaling: Scaling, *, keep_mean: bool) -> None:
        """Write coef_ and intercept_, which act on features as stored and sum to zero."""
        self._scaling = None if scaling.name == "none" else replace(scaling, low=None, high=None)
        if scaling.low is not None and scaling.high is not None:
            self.feature_range_ = np.stack([scaling.low, scaling.high])
        W = layer.W * scaling.scale
        b = layer.b + layer.W @ scaling.offset
        if len(W) == 2:
            self.coef_, self.intercept_ = W[1:] - W[:1], b[1:] - b[:1]
        else:
            self.coef_ = W if keep_mean else W - W.mean(axis=0)
            self.intercept_ = b - b.mean()

    def _get_layer(self, scaling: Scaling) -> Layer:
        """The layer of coef_ and intercept_; its rows sum to zero for two classes."""
        W, b = cast(Any, self.coef_), self.intercept_
        if issparse(W):  # after sparsify
            W = W.toarray()
        if len(W) == 1:
            W, b = np.concatenate([-W, W]) / 2.0, np.concatenate([-b, b]) / 2.0
        W = W / scaling.scale
        return Layer(W, b - W @ scaling.offset)


class LinearClassifier(ModelBridge, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predictions from classes_, coef_ and intercept_; `threads` is the subclass's argument."""

    threads: int | None
    n_iter_: int

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def decision_function(self, X: ArrayLike) -> Float64:
        """Scores s = X coef_ᵀ + intercept_ of rows, shape (N, K), or (N,) for two classes.

        Args:
            X: rows, shape (N, D), of the features that the classifier was fitted to.

        Raises:
            NotFittedError: before fit.
            ValueError: for rows that do not fit the classifier.
        """
        engine, rows, weights = self._given(X)
        scores = engine.scores(rows, weights)[0]
        return np.asarray(scores[:, 0] if len(self.classes_) == 2 else scores)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable label of each row, shape (N,); ties go to the first label.

        Arguments and errors are those of `decision_function`, here and below.
        """
        engine, rows, weights = self._given(X)
        if len(self.classes_) == 2:
            second = engine.scores(rows, weights)[0, :, 0] > 0
            return np.asarray(self.classes_[second.astype(int)])
        return np.asarray(self.classes_[engine.classify(rows, weights).classes[0]])

    def predict_proba(self, X: ArrayLike) -> Float64:
        """Probabilities p = softmax(s), shape (N, K), columns in the order of classes_."""
        return to_probabilities(self._scores(X))

    def predict_log_proba(self, X: ArrayLike) -> Float64:
        """Logarithms of the probabilities, shape (N, K), finite for scores of any size."""
        return log_softmax(self._scores(X))

    def _given(self, X: ArrayLike) -> tuple[Engine, Rows, Weights]:
        check_is_fitted(self)
        rows = check_rows(self, X)
        D = rows.shape[1]
        weights = Weights(self.coef_[None], self.intercept_[None])
        given = Rows(rows, np.zeros(len(rows), np.int64), np.ones(D), np.zeros(D))
        return make_engine(threads=self.threads), given, weights

    def _scores(self, X: ArrayLike) -> Float64:
        """Scores of all classes, shape (N, K); the first of two classes scores 0."""
        s = self.decision_function(X)
        return np.stack([np.zeros_like(s), s], axis=1) if s.ndim == 1 else s
