"""A model as a fitted scikit-learn LogisticRegression of rows as stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onelayer.export.raw import raw_weights, required
from onelayer.model import Model

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression


def to_sklearn(model: Model) -> LogisticRegression:
    """Make a LogisticRegression that predicts as the model does, from rows as stored.

    The scaling is in its weights. `classes_` are the indices 0 … K − 1, since scikit-learn's
    metrics take classes to be sorted, and names are often not; `class_names` has the names. For
    two classes it keeps one row, W₁ − W₀, whose logistic function is the softmax of both.

    Args:
        model: any.

    Returns:
        Fitted; C is 1/(2λN), and 1/(λN) for two classes, whose one row LogisticRegression
        penalises, where the model's settings tell λ > 0 and N.

    Raises:
        ExportError: when scikit-learn is not installed.

    Example:
        >>> from onelayer.scaling import Scaling
        >>> scaling = Scaling("none", np.ones(2), np.zeros(2))
        >>> model = Model(np.eye(2), np.zeros(2), scaling, ("left", "right"))
        >>> to_sklearn(model).predict(np.array([[3.0, 1.0], [0.0, 5.0]]))
        array([0, 1])
    """
    linear_model = required("sklearn.linear_model", "scikit-learn")
    raw = raw_weights(model)
    two = model.classes == 2
    l2, rows = model.settings.get("l2"), model.settings.get("train_rows")
    made: LogisticRegression = linear_model.LogisticRegression(
        **({"C": 1.0 / ((1.0 if two else 2.0) * l2 * rows)} if l2 and rows else {})
    )
    made.coef_ = raw.W[1:] - raw.W[:1] if two else raw.W
    made.intercept_ = raw.b[1:] - raw.b[:1] if two else raw.b
    made.classes_ = np.arange(model.classes)
    made.n_features_in_ = model.features
    made.n_iter_ = np.array([model.settings.get("epochs_kept", 0)], np.int32)
    if model.feature_names is not None:
        made.feature_names_in_ = np.array(model.feature_names, object)
    return made
