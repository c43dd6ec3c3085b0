"""skl2onnx converts the estimators, alone and in pipelines, with its usual options."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from skl2onnx import to_onnx
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from onelayer import SoftmaxClassifier, SoftmaxClassifierCV
from onelayer.sklearn import LogisticRegression
from tests.sklearn.test_models import CLASSES, make_rows


def run(fitted: Any, X: Any, **options: Any) -> list[Any]:
    graph = to_onnx(fitted, X[:1], options={id(fitted): options} if options else None)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    return list(session.run(None, {"X": X}))


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(("dtype", "apart"), [(np.float64, 1e-14), (np.float32, 1e-6)])
def test_the_converted_graph_gives_the_classifiers_answers(
    kind: str, dtype: type, apart: float
) -> None:
    frame, y = make_rows(CLASSES[kind])
    X = frame.to_numpy(dtype)
    for fitted in (
        SoftmaxClassifier(l2=0.01).fit(X, y),
        SoftmaxClassifierCV(l2s=[0.1], cv=2).fit(X, y),
        LogisticRegression(C=0.4).fit(X, y),
    ):
        label, probabilities = run(fitted, X, zipmap=False)
        assert (label == fitted.predict(X)).all()
        np.testing.assert_allclose(probabilities, fitted.predict_proba(X), atol=apart)


def test_options_and_pipelines_are_those_of_every_classifier() -> None:
    frame, y = make_rows(CLASSES["text"])
    X = frame.to_numpy(np.float32)  # dictionaries are of float32 only
    fitted = SoftmaxClassifier(l2=0.01).fit(X, y)
    dictionaries = run(fitted, X)[1]
    assert set(dictionaries[0]) == set(CLASSES["text"])
    scores = run(fitted, X, zipmap=False, raw_scores=True)[1]
    np.testing.assert_allclose(scores, fitted.decision_function(X), atol=1e-5)
    whole = make_pipeline(StandardScaler(), SoftmaxClassifier(l2=0.01)).fit(X, y)
    label, found = run(whole, X)
    assert (label == whole.predict(X)).all()
    values = [[one[name] for name in CLASSES["text"]] for one in found]
    np.testing.assert_allclose(values, whole.predict_proba(X), atol=1e-6)
