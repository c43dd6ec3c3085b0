"""A model as an ONNX graph: rows as stored in, label and probabilities out, scaling inside.

    rows (N, D) → Cast → Mul scale → Add offset → MatMul Wᵀ → Add b → ArgMax  → label (N,)
                                                                    → Softmax → probabilities (N, K)

All of it is float64, as `Model` computes, so both agree to the last bits; the weights are kept in
their own type and cast in the graph. The graph is run by onnxruntime before it is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.errors import ExportError, SettingsError
from onelayer.export.raw import required
from onelayer.model import Model
from onelayer.whole_file import staged_file

EXTRA = "onelayer[onnx]"
INPUT_TYPES = ("uint8", "float16", "float32", "float64")
# The first operator set with Softmax over one axis, and its file format: old runtimes read them.
OPSET, IR_VERSION = 13, 7
TOLERANCE = 1e-6
TEST_ROWS = 256


@dataclass(frozen=True)
class SelfTest:
    """What onnxruntime gave for some rows, against the model itself.

    Attributes:
        rows: how many rows were tried; each had the model's label.
        difference: the largest |p_onnx − p_onelayer|, at most TOLERANCE.
    """

    rows: int
    difference: float


def export_onnx(
    model: Model, path: Path | str, *, input_type: str | None = None, rows: ArrayLike | None = None
) -> SelfTest:
    """Write a model as ONNX, after onnxruntime has agreed with it on some rows.

    Input `rows` (N, D); outputs `label` (N,) int64 and `probabilities` (N, K) float64. The
    metadata holds the class names, the image shape and the settings, as JSON.

    Args:
        model: any.
        path: where, usually NAME.onnx; a file that is there is replaced.
        input_type: of the rows: uint8, float16, float32 or float64. None is uint8 for images and
            float32 otherwise.
        rows: to try, as stored, shape (n, D); None makes TEST_ROWS rows by a fixed seed.

    Returns:
        How many rows were tried, and how far the probabilities differed.

    Raises:
        ExportError: when onnx or onnxruntime is not installed, or onnxruntime disagrees; nothing
            is written then.
        SettingsError: for another input type.
        SaveError: when the file cannot be written.
    """
    kind = input_type or ("uint8" if model.image_shape else "float32")
    if kind not in INPUT_TYPES:
        choices = ", ".join(INPUT_TYPES)
        raise SettingsError(f"input type must be one of {choices}, but {kind!r} was given.")
    content = onnx_bytes(model, kind)
    tried = _test_rows(model, kind) if rows is None else np.asarray(rows).astype(kind)
    tested = check_onnx(model, content, tried)
    with staged_file(Path(path)) as staging:
        staging.write_bytes(content)
    return tested


def check_onnx(model: Model, content: bytes, rows: NDArray[np.generic]) -> SelfTest:
    """Hold a graph against the model, by onnxruntime.

    Args:
        model: what the graph should compute.
        content: the ONNX file.
        rows: to try, shape (n, D), of the graph's input type.

    Returns:
        How many rows were tried, and how far the probabilities differed.

    Raises:
        ExportError: when onnxruntime is not installed, a label differs, or a probability by more
            than TOLERANCE.
    """
    runtime = required("onnxruntime", EXTRA)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    label, probabilities = session.run(["label", "probabilities"], {"rows": rows})
    expected = model.predict_proba(rows)
    apart = np.abs(probabilities - expected)
    other = int((label != model.predict(rows)).sum())
    # Not "above": a NaN has to fail as well.
    if other or not (apart <= TOLERANCE).all():
        raise ExportError(
            f"onnxruntime should give what onelayer gives, but of {len(rows)} rows {other} have "
            f"another label, and probabilities differ by up to {apart.max():.1e}; nothing was "
            "written. Please report this."
        )
    return SelfTest(len(rows), float(apart.max(initial=0.0)))


def onnx_bytes(model: Model, input_type: str) -> bytes:
    """The graph as a file's bytes; the same model gives the same bytes.

    Args:
        model: any.
        input_type: one of INPUT_TYPES.

    Returns:
        The ONNX file, not tested yet.

    Raises:
        ExportError: when onnx is not installed.
    """
    onnx = required("onnx", EXTRA)
    made = onnx.helper.make_model(
        _graph(onnx, model, input_type),
        producer_name="onelayer",
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        doc_string="A linear softmax classifier of rows as stored: s = W (x · scale + offset) + b.",
    )
    onnx.helper.set_model_props(made, _properties(model))
    onnx.checker.check_model(made)
    content: bytes = made.SerializeToString(deterministic=True)
    return content


def _graph(onnx: Any, model: Model, input_type: str) -> Any:
    make, double = onnx.helper.make_node, onnx.TensorProto.DOUBLE
    nodes = [
        make("Cast", ["rows"], ["stored"], to=double),
        make("Mul", ["stored", "scale"], ["stretched"]),
        make("Add", ["stretched", "offset"], ["scaled"]),
        make("Cast", ["W"], ["weights"], to=double),
        make("Transpose", ["weights"], ["columns"], perm=[1, 0]),
        make("MatMul", ["scaled", "columns"], ["products"]),
        make("Cast", ["b"], ["bias"], to=double),
        make("Add", ["products", "bias"], ["scores"]),
        make("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        make("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    tensors = {"W": model.W, "b": model.b, "scale": model.scaling.scale}
    tensors["offset"] = model.scaling.offset
    value, integer = onnx.helper.make_tensor_value_info, onnx.TensorProto.INT64
    stored = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(input_type))
    return onnx.helper.make_graph(
        nodes,
        "onelayer",
        inputs=[value("rows", stored, ["N", model.features])],
        outputs=[
            value("label", integer, ["N"]),
            value("probabilities", double, ["N", model.classes]),
        ],
        initializer=[onnx.numpy_helper.from_array(a, name) for name, a in tensors.items()],
    )


def _properties(model: Model) -> Mapping[str, str]:
    values = {
        "class_names": model.class_names,
        "image_shape": model.image_shape,
        "feature_names": model.feature_names,
        "settings": dict(model.settings),
    }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}


def _test_rows(model: Model, input_type: str) -> NDArray[np.generic]:
    """Rows by a fixed seed: any bytes, or floats whose scaled values are standard normal."""
    rng = np.random.default_rng(0)
    shape = (TEST_ROWS, model.features)
    if input_type == "uint8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    scale = np.where(model.scaling.scale == 0.0, 1.0, model.scaling.scale)
    stored = (rng.normal(size=shape) - model.scaling.offset) / scale
    largest = float(np.finfo(input_type).max)
    return np.clip(stored, -largest, largest).astype(input_type)
