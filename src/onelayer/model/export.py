"""A model as an ONNX graph: rows as stored in, label and probabilities out, scaling inside.

    rows (N, D) → Cast → Mul scale → Add offset → MatMul Wᵀ → Add b → ArgMax  → label (N,)
                                                                    → Softmax → probabilities (N, K)

All of it is float64, as `Model` computes, so both agree to the last bits; the weights are kept in
their own type and cast in the graph. The graph is run by onnxruntime before it is written.

The same model without its scaling: weights that take rows as they are stored.

W (x · scale + offset) + b = (W · scale) x + (b + W offset)

A model as a fitted scikit-learn LogisticRegression of rows as stored.

A model as the state dict of a torch.nn.Linear of rows as stored, in memory or as a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.errors import OnelayerError, SaveError, SettingsError
from onelayer.files.atomic import staged_file
from onelayer.files.tensors import safetensors_bytes
from onelayer.model.model import Model

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from torch import Tensor


class RawWeights(NamedTuple):
    """Weights of rows as stored: W (K, D) and b (K,), float64."""

    W: NDArray[np.float64]
    b: NDArray[np.float64]


def raw_weights(model: Model) -> RawWeights:
    """Fold the scaling into the weights.

    Args:
        model: any.

    Returns:
        W · scale and b + W offset, in float64.

    Example:
        >>> from onelayer.data.scaling import Scaling
        >>> scaling = Scaling("unit", np.full(1, 0.5), np.zeros(1))
        >>> raw_weights(Model(np.array([[2.0], [4.0]]), np.zeros(2), scaling, ("a", "b"))).W
        array([[1.],
               [2.]])
    """
    W = model.W.astype(np.float64)
    return RawWeights(W * model.scaling.scale, model.b + W @ model.scaling.offset)


def required(library: str, install: str) -> Any:
    """Import a library that onelayer does not always need.

    Args:
        library: name of the module.
        install: what pip installs it by.

    Returns:
        The module.

    Raises:
        OnelayerError: when it is not installed; the sentence has the pip command.

    Example:
        >>> required("no_such_library", "onelayer[none]")
        Traceback (most recent call last):
        ...
        onelayer.errors.OnelayerError: this export needs no_such_library, which is not installed: \
pip install 'onelayer[none]'.
    """
    try:
        return import_module(library)
    except ImportError as error:
        raise OnelayerError(
            f"this export needs {library}, which is not installed: pip install '{install}'."
        ) from error


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
        OnelayerError: when onnx or onnxruntime is not installed.
        SettingsError: for another input type.
        SaveError: when onnxruntime disagrees, or the file cannot be written; nothing is written
            then.
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
        OnelayerError: when onnxruntime is not installed.
        SaveError: when a label differs, or a probability by more than TOLERANCE.
    """
    runtime = required("onnxruntime", EXTRA)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    label, probabilities = session.run(["label", "probabilities"], {"rows": rows})
    expected = model.predict_proba(rows)
    apart = np.abs(probabilities - expected)
    other = int((label != model.predict(rows)).sum())
    # Not "above": a NaN has to fail as well.
    if other or not (apart <= TOLERANCE).all():
        raise SaveError(
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
        OnelayerError: when onnx is not installed.
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
        OnelayerError: when scikit-learn is not installed.

    Example:
        >>> from onelayer.data.scaling import Scaling
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


DTYPES = ("float32", "float64")


def to_torch(model: Model, dtype: str = "float32") -> dict[str, Tensor]:
    """Make the state dict of a torch.nn.Linear(D, K) that takes rows as stored, as floats.

    Args:
        model: any.
        dtype: float32, as Linear has it by default, or float64.

    Returns:
        weight (K, D) and bias (K,), with the scaling in them.

    Raises:
        OnelayerError: when torch is not installed.
        SettingsError: for another dtype.
    """
    torch = required("torch", "onelayer[torch]")
    return {name: torch.from_numpy(array) for name, array in _state(model, dtype).items()}


def export_state_dict(model: Model, path: Path | str, dtype: str = "float32") -> None:
    """Write that state dict as safetensors; torch is not needed.

    `linear.load_state_dict(safetensors.torch.load_file(path))` reads it. The header has the class
    names, as JSON.

    Args:
        model: any.
        path: where; a file that is there is replaced.
        dtype: float32 or float64.

    Raises:
        SettingsError: for another dtype.
        SaveError: when the file cannot be written.
    """
    names = json.dumps(model.class_names, ensure_ascii=False)
    content = safetensors_bytes(_state(model, dtype), {"format": "pt", "class_names": names})
    with staged_file(Path(path)) as staging:
        staging.write_bytes(content)


def _state(model: Model, dtype: str) -> dict[str, NDArray[np.floating]]:
    if dtype not in DTYPES:
        raise SettingsError(f"dtype must be {' or '.join(DTYPES)}, but {dtype!r} was given.")
    raw = raw_weights(model)
    return {"weight": raw.W.astype(dtype), "bias": raw.b.astype(dtype)}
