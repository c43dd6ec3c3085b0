"""A fitted linear classifier: coef_, intercept_, and what can be predicted from them.

    s = X coef_ᵀ + intercept_        p = softmax(s)

For two classes coef_ has one row, v = W₁ − W₀, as in all of scikit-learn: s = log p₁ / p₀.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils.validation import check_is_fitted

from onelayer.data.classes import label_type, name_classes
from onelayer.data.rows import Rows, factors_of_features
from onelayer.data.scaling import Scaling
from onelayer.data.weights import class_weight_by_name
from onelayer.engines import Engine, Weights, make_engine
from onelayer.model.model import Model
from onelayer.objective.loss import log_softmax, to_probabilities
from onelayer.sklearn.inputs import check_rows

Float64 = NDArray[np.float64]


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

    def to_model(self) -> Model:
        """The same classifier as a `Model`: to save, export as ONNX, evaluate, certify and compare.

        Its weights sum to zero over the classes, its λ is that of these weights, and `predict`
        returns the same labels. `SoftmaxClassifier.from_model` is the way back.

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
        scale, offset = np.ones(D), np.zeros(D)
        layer = self._get_layer(Scaling("none", scale, offset))
        labels = self.classes_
        names = getattr(self, "feature_names_in_", None)
        l2 = float(getattr(self, "l2_", getattr(self, "l2", 0.0)))
        settings = {
            "made_by": type(self).__name__,
            "l2": l2_of_layer(l2, len(self.classes_)),
            "epochs_kept": int(np.sum(self.n_iter_)),
            "sample_weight": getattr(self, "_weighted", False),
        }
        if not (getattr(self, "fit_intercept", True) or self.intercept_.any()):
            settings["intercept"] = False
        factors = factors_of_features(getattr(self, "penalty_factors", None), D, names)
        if factors is not None:
            known = map(str, range(D)) if names is None else names
            settings["penalty_factors"] = dict(zip(known, factors.tolist(), strict=True))
        if l1 := getattr(self, "l1_", 0.0):
            settings |= {"l1": l1, "grouped": False}
        class_names = name_classes(labels, "classes_")
        kind = label_type(labels, class_names)
        settings["class_weight"] = class_weight_by_name(self.class_weight, class_names, kind)
        return Model(
            layer.W,
            layer.b,
            Scaling("none", scale, offset, *getattr(self, "feature_range_", ())),
            class_names,
            feature_names=None if names is None else tuple(names),
            label_type=kind,
            settings=settings,
        )

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

    def _set_layer(self, layer: Layer, scaling: Scaling, l2: float) -> None:
        """Write coef_ and intercept_, which act on features as stored and sum to zero."""
        if scaling.low is not None and scaling.high is not None:
            self.feature_range_ = np.stack([scaling.low, scaling.high])
        W = layer.W * scaling.scale
        b = layer.b + layer.W @ scaling.offset
        if len(W) == 2:
            self.coef_, self.intercept_ = W[1:] - W[:1], b[1:] - b[:1]
        else:
            self.coef_ = W if l2 > 0.0 else W - W.mean(axis=0)
            self.intercept_ = b - b.mean()

    def _get_layer(self, scaling: Scaling) -> Layer:
        """The layer of coef_ and intercept_; its rows sum to zero for two classes."""
        W, b = self.coef_, self.intercept_
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
