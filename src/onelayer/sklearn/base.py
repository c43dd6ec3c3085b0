"""A fitted linear classifier: coef_, intercept_, and what can be predicted from them.

    s = X coef_ᵀ + intercept_        p = softmax(s)

For two classes coef_ has one row, v = W₁ − W₀, as in all of scikit-learn: s = log p₁ / p₀.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from onelayer.data.rows import Rows
from onelayer.data.scaling import Scaling
from onelayer.engines import Weights, make_engine
from onelayer.objective.loss import log_softmax, softmax
from onelayer.sklearn.inputs import check_rows

Float64 = NDArray[np.float64]


class Layer(NamedTuple):
    """W (K, D) and b (K,) of the scaled features, float64."""

    W: Float64
    b: Float64


def l2_of_layer(l2: float, classes: int) -> float:
    """The λ of W that is λ of coef_: 2λ for two classes.

    At the optimum W₁ = −W₀ = v/2, so 2λ (‖W₀‖² + ‖W₁‖²) = λ ‖v‖².
    """
    return 2.0 * l2 if classes == 2 else l2


class LinearClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predictions from classes_, coef_ and intercept_; `threads` is the subclass's argument."""

    threads: int | None
    classes_: NDArray[Any]
    coef_: Float64
    intercept_: Float64

    def decision_function(self, X: ArrayLike) -> Float64:
        """Scores s = X coef_ᵀ + intercept_ of rows, shape (N, K), or (N,) for two classes.

        Args:
            X: rows, shape (N, D), of the features that the classifier was fitted to.

        Raises:
            NotFittedError: before fit.
            ValueError: for rows that do not fit the classifier.
        """
        check_is_fitted(self)
        rows = check_rows(self, X)
        D = rows.shape[1]
        weights = Weights(self.coef_[None], self.intercept_[None])
        given = Rows(rows, np.zeros(len(rows), np.int64), np.ones(D), np.zeros(D))
        scores = make_engine(threads=self.threads).scores(given, weights)[0]
        return np.asarray(scores[:, 0] if len(self.classes_) == 2 else scores)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable label of each row, shape (N,); ties go to the first label.

        Arguments and errors are those of `decision_function`, here and below.
        """
        s = self.decision_function(X)
        return np.asarray(self.classes_[(s > 0).astype(int) if s.ndim == 1 else s.argmax(axis=1)])

    def predict_proba(self, X: ArrayLike) -> Float64:
        """Probabilities p = softmax(s), shape (N, K), columns in the order of classes_."""
        return softmax(self._scores(X))

    def predict_log_proba(self, X: ArrayLike) -> Float64:
        """Logarithms of the probabilities, shape (N, K), finite for scores of any size."""
        return log_softmax(self._scores(X))

    def _scores(self, X: ArrayLike) -> Float64:
        """Scores of all classes, shape (N, K); the first of two classes scores 0."""
        s = self.decision_function(X)
        return np.stack([np.zeros_like(s), s], axis=1) if s.ndim == 1 else s

    def _set_layer(self, layer: Layer, scaling: Scaling, l2: float) -> None:
        """Write coef_ and intercept_, which act on features as they are stored.

        What all classes share changes no probability. Their sum is zero: the penalty sees to it for
        coef_, and without one it is taken out.
        """
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
