"""A model for other tools: an ONNX graph, a scikit-learn LogisticRegression, a torch.nn.Linear.

    rows (N, D) → Cast → Mul scale → Add offset → MatMul Wᵀ → Add b → ArgMax  → label (N,)
                                                                    → Softmax → probabilities (N, K)

The ONNX graph computes in float64, as `Model` does, so both agree to the last bits. scikit-learn
and PyTorch get weights of rows as stored: W (x · scale + offset) + b = (W · scale) x + (b + W
offset). Each library is imported when it is needed.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.progress import quiet
from onelayer.errors import OnelayerError, SaveError, SettingsError, one_line
from onelayer.files.atomic import staged_file
from onelayer.files.tensors import safetensors_bytes
from onelayer.model.model import READ_IN_PLACE, WEIGHT_TYPES, Model

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from torch.nn import Linear


EXTRA = "onelayer[onnx]"

# The first operator set with Softmax over one axis, and its file format: old runtimes read them.
OPSET, IR_VERSION = 13, 7

TOLERANCE = 1e-6

TEST_ROWS = 256

# With a larger offset float32 keeps less than two digits of a scaled value.
MAX_FLOAT32_OFFSET = 1e5

# Files that PyTorch writes and reads itself.
TORCH_SUFFIXES = (".pt", ".pth")


@dataclass(frozen=True)
class SelfTest:
    """Agreement of onnxruntime with the model."""

    rows: int  # tested; each had the model's label
    difference: float  # the largest |p_onnx − p_onelayer|, at most 1e-6


def export_onnx(
    model: Model, path: Path, input_type: str | None, rows: ArrayLike | None
) -> SelfTest:
    """Write the tested ONNX graph; see `Model.to_onnx`."""
    kind = input_type or ("uint8" if model.image_shape else _float_type(model))
    if kind not in READ_IN_PLACE:
        choices = ", ".join(READ_IN_PLACE)
        raise SettingsError(f"input_type must be one of {choices}, but {kind!r} was given.")
    content = onnx_bytes(model, kind)
    tried = _test_rows(model, kind) if rows is None else model.read_rows(rows)[:].astype(kind)
    tested = _check_onnx(model, content, tried)
    with staged_file(path) as staging:
        staging.write_bytes(content)
    return tested


def _check_onnx(model: Model, content: bytes, rows: NDArray[np.generic]) -> SelfTest:
    """Compare the graph with the model on these rows, by onnxruntime."""
    runtime = _required("onnxruntime", EXTRA)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    label, probabilities = session.run(["label", "probabilities"], {"rows": rows})
    apart = np.abs(probabilities - model.predict_proba(rows, log=quiet))
    other = int((label != model.predict(rows, log=quiet, indices=True)).sum())
    # Not "above": a NaN has to fail as well.
    if other or not (apart <= TOLERANCE).all():
        raise SaveError(
            f"onnxruntime should give what onelayer gives, but of {len(rows)} rows {other} have "
            f"another label, and probabilities differ by up to {apart.max():.1e}; nothing was "
            "written. Please report this."
        )
    return SelfTest(len(rows), float(apart.max(initial=0.0)))


def onnx_bytes(model: Model, input_type: str) -> bytes:
    """The graph as a file's bytes; the same model gives the same bytes."""
    onnx = _required("onnx", EXTRA)
    graph = onnx.helper.make_model(
        _graph(onnx, model, input_type),
        producer_name="onelayer",
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        doc_string="A linear softmax classifier of rows as stored: s = W (x · scale + offset) + b.",
    )
    names = ("class_names", "image_shape", "feature_names", "settings")
    texts = {name: json.dumps(getattr(model, name), ensure_ascii=False) for name in names}
    onnx.helper.set_model_props(graph, texts)
    onnx.checker.check_model(graph)
    return bytes(graph.SerializeToString(deterministic=True))


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
    scaling = model.scaling
    tensors = {"W": model.W, "b": model.b, "scale": scaling.scale, "offset": scaling.offset}
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
    """The fitted LogisticRegression; see `Model.to_sklearn`."""
    linear_model = _required("sklearn.linear_model", "scikit-learn")
    W, b = _raw_weights(model)
    two = model.classes == 2
    l2, rows = model.settings.get("l2"), model.settings.get("train_rows")
    strength = {"C": 1.0 / ((1.0 if two else 2.0) * l2 * rows)} if l2 and rows else {}
    logistic: LogisticRegression = linear_model.LogisticRegression(**strength)
    order = np.argsort(model.labels, kind="stable")  # its metrics require sorted classes
    W, b = W[order], b[order]
    logistic.coef_ = W[1:] - W[:1] if two else W
    logistic.intercept_ = b[1:] - b[:1] if two else b
    logistic.classes_ = model.labels[order]
    logistic.n_features_in_ = model.features
    logistic.n_iter_ = np.array([model.settings.get("epochs_kept", 0)], np.int32)
    if model.feature_names is not None:
        logistic.feature_names_in_ = np.array(model.feature_names, object)
    return logistic


def to_torch(model: Model, dtype: str | None) -> Linear:
    """The torch.nn.Linear; see `Model.to_torch`."""
    dtype = dtype or _float_type(model)
    state = _state(model, dtype)
    torch = _required("torch", "onelayer[torch]")
    linear: Linear = torch.nn.Linear(model.features, model.classes, dtype=getattr(torch, dtype))
    linear.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    return linear


def export_state_dict(model: Model, path: Path, dtype: str | None) -> None:
    """Write that layer's state dict; see `Model.to_state_dict`."""
    if path.suffix.lower() in TORCH_SUFFIXES:
        torch, content = _required("torch", "onelayer[torch]"), io.BytesIO()
        torch.save(to_torch(model, dtype).state_dict(), content)
        written = content.getvalue()
    else:
        names = json.dumps(model.class_names, ensure_ascii=False)
        state = _state(model, dtype or _float_type(model))
        written = safetensors_bytes(state, {"format": "pt", "class_names": names})
    with staged_file(path) as staging:
        staging.write_bytes(written)


def _state(model: Model, dtype: str) -> dict[str, NDArray[np.floating]]:
    if dtype not in WEIGHT_TYPES:
        choices = " or ".join(WEIGHT_TYPES)
        raise SettingsError(f"dtype must be {choices}, but {dtype!r} was given.")
    if dtype == "float32" and _float_type(model) != dtype:
        raise SettingsError(
            "float32 cannot tell apart the values of features as far from 0 as this model's; "
            "use dtype='float64'."
        )
    W, b = _raw_weights(model)
    return {"weight": W.astype(dtype), "bias": b.astype(dtype)}


def _float_type(model: Model) -> str:
    """The floats that tell features, as they are stored, apart."""
    far = np.abs(model.scaling.offset).max() > MAX_FLOAT32_OFFSET
    return "float64" if far else "float32"


def _raw_weights(model: Model) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights W (K, D) and b (K,) of rows as stored, with the scaling folded in, in float64."""
    W = model.W.astype(np.float64)
    return W * model.scaling.scale, model.b + W @ model.scaling.offset


def _required(library: str, install: str) -> Any:
    """Import an optional library, or say how to install it."""
    try:
        return import_module(library)
    except ImportError as error:
        why = "is not installed"
        if not isinstance(error, ModuleNotFoundError) or error.name != library:
            why = f"cannot be imported ({one_line(error)})"
        raise OnelayerError(
            f"this export needs {library}, which {why}: pip install '{install}'."
        ) from error
