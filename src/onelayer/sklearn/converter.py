"""How skl2onnx converts the estimators, where it is installed: alone or in a pipeline.

    X (N, D) → MatMul coef_ᵀ → Add intercept_ → ArgMax → Gather classes_ → label (N,)
                                              → Softmax                  → probabilities (N, K)

The graph computes in the type of its input, float32 or float64, as skl2onnx's own converters do.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from onelayer.data.scaling import Scaling
from onelayer.sklearn.base import LinearClassifier

# What users may ask of a classifier: dictionaries or arrays of probabilities, or scores; indices in
# place of labels.
OPTIONS = {
    "nocl": [True, False],
    "zipmap": [True, False, "columns"],
    "output_class_labels": [False, True],
    "raw_scores": [True, False],
}


def register(classifiers: tuple[type[LinearClassifier], ...]) -> None:
    """Tell skl2onnx how to convert these classifiers; nothing where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its own imports
            from skl2onnx import update_registered_converter
            from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
    except Exception:  # not installed, or it does not fit the onnx that is
        return
    for one in classifiers:
        update_registered_converter(
            one,
            f"Onelayer{one.__name__}",
            calculate_linear_classifier_output_shapes,
            convert,
            options=OPTIONS,
        )


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a fitted classifier to skl2onnx's graph."""
    from onnx import TensorProto
    from skl2onnx.common.data_types import DoubleTensorType
    from skl2onnx.common.utils_classifier import get_label_classes

    fitted = operator.raw_operator
    rows, (predicted, probabilities) = operator.inputs[0], operator.outputs
    D = fitted.coef_.shape[1]
    W, b = fitted._get_layer(Scaling("none", np.ones(D), np.zeros(D)))
    double = isinstance(rows.type, DoubleTensorType)
    kind = TensorProto.DOUBLE if double else TensorProto.FLOAT
    labels = list(get_label_classes(scope, fitted))
    text = isinstance(labels[0], str)
    labels = [label.encode() if text else int(label) for label in labels]

    def constant(name: str, type_: int, values: Any) -> str:
        unique = str(scope.get_unique_variable_name(name))
        flat = values if isinstance(values, list) else values.ravel().tolist()
        container.add_initializer(unique, type_, list(np.shape(values)), flat)
        return unique

    def node(operation: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        name = output or str(scope.get_unique_variable_name(operation.lower()))
        attributes["name"] = scope.get_unique_operator_name(operation)
        container.add_node(operation, inputs, [name], **attributes)
        return name

    stored = node("Cast", [rows.full_name], to=kind)
    products = node("MatMul", [stored, constant("coef", kind, W.T)])
    scores = node("Add", [products, constant("intercept", kind, b)])
    place = node("ArgMax", [scores], axis=1, keepdims=0)
    classes = constant("classes", TensorProto.STRING if text else TensorProto.INT64, labels)
    node("Gather", [classes, place], predicted.full_name, axis=0)
    raw = container.get_options(fitted, {"raw_scores": False})["raw_scores"]
    last, how = ("Identity", {}) if raw else ("Softmax", {"axis": 1})
    node(last, [scores], probabilities.full_name, **how)
