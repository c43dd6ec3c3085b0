"""A model for other tools: an ONNX graph, a scikit-learn LogisticRegression, a torch.nn.Linear.

    rows (N, D) → Cast → Mul scale → Add offset → MatMul Wᵀ → Add b → ArgMax  → label (N,)
                                                                    → Softmax → probabilities (N, K)

The ONNX graph computes in float64, as `Model` does, so both agree to the last bits; or in float32,
where both agree to within a bound on its rounding. scikit-learn
and PyTorch get weights of rows as stored: W (x · scale + offset) + b = (W · scale) x + (b + W
offset). Each library is imported when it is needed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.progress import quiet
from onelayer.data.scaling import held_values
from onelayer.data.sparse import sparse_rows
from onelayer.data.weights import class_weight_by_label
from onelayer.errors import OnelayerError, SaveError, SettingsError, one_line, require_choice
from onelayer.files.atomic import staged_file
from onelayer.files.tensors import safetensors_bytes
from onelayer.model.model import WEIGHT_TYPES, Model
from onelayer.model.rows import READ_IN_PLACE, met_rows
from onelayer.objective.loss import sigmoid, softmax

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from torch.nn import Linear


EXTRA = "onelayer[onnx]"

# The first operator set with Softmax over one axis, and its file format: old runtimes read them.
OPSET, IR_VERSION = 13, 7

TOLERANCE = 1e-6

# Half the distance from 1 to the next float32, and a number that float32 may take for 0.
UNIT, TINY_FLOAT32 = 2.0**-24, 1e-37

TEST_ROWS, TEST_ENTRIES = 256, 1 << 24

# With a larger offset float32 keeps less than two digits of a scaled value.
MAX_FLOAT32_OFFSET = 1e5

# Files that PyTorch writes and reads itself.
TORCH_SUFFIXES = (".pt", ".pth")


@dataclass(frozen=True)
class SelfTest:
    """Agreement of onnxruntime with the model."""

    rows: int  # tested; each had the model's label, or one as likely to within the bound
    difference: float  # the largest |p_onnx − p_onelayer|
    bound: float = TOLERANCE  # the largest difference that is allowed: 1e-6, or float32's rounding


def export_onnx(
    model: Model, path: Path, input_type: str | None, rows: Any, precision: str
) -> SelfTest:
    """Write the tested ONNX graph; see `Model.to_onnx`."""
    _check_float_type("precision", precision, model)
    kind = input_type or ("uint8" if model.image_shape else _float_type(model))
    if kind not in READ_IN_PLACE:
        choices = ", ".join(READ_IN_PLACE)
        raise SettingsError(f"input_type must be one of {choices}, but {kind!r} was given.")
    content = onnx_bytes(model, kind, precision)
    given = _test_rows(model, kind) if rows is None else met_rows(model, rows)[:]
    sparse = sparse_rows(given)
    tried = (given if sparse is None else sparse.toarray()).astype(kind, copy=False)
    tested = _check_onnx(model, content, tried, precision)
    with staged_file(path) as staging:
        staging.write_bytes(content)
    return tested


def _check_onnx(
    model: Model, content: bytes, rows: NDArray[np.generic], precision: str
) -> SelfTest:
    """Compare the graph with the model on these rows, by onnxruntime."""
    runtime = _required("onnxruntime", EXTRA)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    label, probabilities = session.run(["label", "probabilities"], {"rows": rows})
    scores = model.scores(rows, log=quiet)
    many, each = model.many_labels, np.arange(len(rows))
    expected = sigmoid(scores) if many else softmax(scores)
    apart = np.abs(probabilities - expected)
    bound, error = np.full_like(apart, TOLERANCE), np.zeros(len(rows))
    if precision == "float32":
        error = _float32_error(model, rows)
        bound = _probability_bound(scores, expected, error)
        if many:  # σ rises by ¼ at most; what evaluates it in float32 is a few units off
            bound = np.full_like(apart, 8.0 * UNIT) + error[:, None] / 4.0
    # A label may be another where both scores are the same to within their errors.
    if many:  # or its own is 0 to within its error
        other = int((((scores > 0.0) != label) & (np.abs(scores) > error[:, None])).any(1).sum())
    else:
        other = int((scores[each, label] < scores.max(axis=1) - 2.0 * error).sum())
    # Not "above": a NaN has to fail as well.
    if other or not (apart <= bound).all():
        raise SaveError(
            f"onnxruntime should give what onelayer gives, but of {len(rows)} rows {other} have "
            f"another label, and probabilities differ by up to {apart.max():.1e}; nothing was "
            "written. Please report this."
        )
    return SelfTest(len(rows), float(apart.max(initial=0.0)), float(bound.max(initial=0.0)))


def _float32_error(model: Model, rows: NDArray[np.generic]) -> NDArray[np.float64]:
    """A bound on the error of each row's scores, (N,), where all arithmetic is in float32.

    With u = 2⁻²⁴ and x, scale, offset, W and b each rounded once,

        |δz| ≤ u (3 |x · scale| + |offset| + |z|)        z = x · scale + offset
        |δs| ≤ Σ |W| |δz| + (u + γ) Σ |W z| + u (|b| + |s|)        γ = D u / (1 − D u)

    for sums in any order; a thousandth more covers what is of second order. Source: Higham (2002),
    Accuracy and Stability of Numerical Algorithms, section 3.1.
    """
    D, scaling = model.features, model.scaling
    W, b = np.abs(model.W.astype(np.float64)), np.abs(model.b.astype(np.float64))
    gamma = D * UNIT / (1.0 - D * UNIT)
    products = rows.astype(np.float64) * scaling.scale
    z = np.abs(products + scaling.offset)
    of_z = UNIT * (3.0 * np.abs(products) + np.abs(scaling.offset) + z)
    sums = z @ W.T
    error = of_z @ W.T + (UNIT + gamma) * sums + UNIT * (2.0 * b + sums)
    return np.asarray(1.001 * error.max(axis=1))


def _probability_bound(
    scores: NDArray[np.float64], expected: NDArray[np.float64], error: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A bound on |p_float32 − p|, (N, K), for scores of these errors, (N,).

    Errors of the scores multiply each p by e^±2δ at most; float32's softmax adds the rounding of
    its differences, of exp, of the sum over K classes and of the quotient.
    """
    below = scores.max(axis=1, keepdims=True) - scores
    rounding = UNIT * (2.0 * below + below.max(axis=1, keepdims=True) + scores.shape[1] + 16.0)
    with np.errstate(over="ignore"):
        return np.asarray(expected * np.expm1(2.0 * error[:, None] + rounding) + TINY_FLOAT32)


def onnx_bytes(model: Model, input_type: str, precision: str = "float64") -> bytes:
    """The graph as a file's bytes; the same model gives the same bytes."""
    onnx = _required("onnx", EXTRA)
    graph = onnx.helper.make_model(
        _graph(onnx, model, input_type, precision),
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


def _graph(onnx: Any, model: Model, input_type: str, precision: str) -> Any:
    make = onnx.helper.make_node
    real = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(precision))
    nodes = [
        make("Cast", ["rows"], ["stored"], to=real),
        make("Mul", ["stored", "scale"], ["stretched"]),
        make("Add", ["stretched", "offset"], ["scaled"]),
        make("Cast", ["W"], ["weights"], to=real),
        make("Transpose", ["weights"], ["columns"], perm=[1, 0]),
        make("MatMul", ["scaled", "columns"], ["products"]),
        make("Cast", ["b"], ["bias"], to=real),
        make("Add", ["products", "bias"], ["scores"]),
    ]
    scaling = model.scaling
    tensors = {"W": model.W, "b": model.b, "scale": scaling.scale, "offset": scaling.offset}
    if model.many_labels:
        tensors["zero"] = np.zeros(1)
        nodes += [
            make("Greater", ["scores", "nothing"], ["above"]),
            make("Cast", ["above"], ["label"], to=onnx.TensorProto.INT64),
            make("Sigmoid", ["scores"], ["probabilities"]),
        ]
        nodes.insert(0, make("Cast", ["zero"], ["nothing"], to=real))
    else:
        nodes += [
            make("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
            make("Softmax", ["scores"], ["probabilities"], axis=1),
        ]
    if precision == "float32":  # browsers and accelerators have no other type
        tensors = {name: array.astype(np.float32) for name, array in tensors.items()}
    value, integer = onnx.helper.make_tensor_value_info, onnx.TensorProto.INT64
    stored = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(input_type))
    return onnx.helper.make_graph(
        nodes,
        "onelayer",
        inputs=[value("rows", stored, ["N", model.features])],
        outputs=[
            value("label", integer, ["N", model.classes] if model.many_labels else ["N"]),
            value("probabilities", real, ["N", model.classes]),
        ],
        initializer=[onnx.numpy_helper.from_array(a, name) for name, a in tensors.items()],
    )


def _test_rows(model: Model, input_type: str) -> NDArray[np.generic]:
    """Rows by a fixed seed: any bytes, or floats whose scaled values are standard normal."""
    rng = np.random.default_rng(0)
    shape = (max(2, min(TEST_ROWS, TEST_ENTRIES // model.features)), model.features)
    if input_type == "uint8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    scale = np.where(model.scaling.scale == 0.0, 1.0, model.scaling.scale)
    stored = (rng.normal(size=shape) - model.scaling.offset) / scale
    largest = float(np.finfo(input_type).max)
    return np.clip(stored, -largest, largest).astype(input_type)


def to_sklearn(model: Model) -> LogisticRegression:
    """The fitted LogisticRegression; see `Model.to_sklearn`."""
    linear_model = _required("sklearn.linear_model", "scikit-learn")
    if model.many_labels:
        return _one_each(model, linear_model)
    W, b = _raw_weights(model)
    two = model.classes == 2
    given = _penalty_of(model, 1.0 if two else 2.0)
    given["class_weight"] = class_weight_by_label(
        model.settings.get("class_weight"), model.class_names, model.labels
    )
    logistic: LogisticRegression = linear_model.LogisticRegression(**given)
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


def _penalty_of(model: Model, times: float) -> dict[str, Any]:
    """The intercept and, where it has this penalty, the strength of a LogisticRegression.

    Its λ is `times` that of W: 2 for each row of weights, 1 for the one row of two classes.
    """
    known, scale = model.settings, held_values(model.scaling.scale)
    rows, given = known.get("train_rows"), dict[str, Any](fit_intercept=model.intercept)
    if penalised := known.get("intercept_penalty"):
        given |= {"solver": "liblinear", "intercept_scaling": penalised}
    weighted = known.get("sample_weight") or isinstance(known.get("class_weight"), Mapping)
    other = known.get("penalty_factors") is not None or known.get("grouped")
    if not rows or weighted or other or not (scale == scale[0]).all():
        return given
    l1, l2 = model.l1 / float(scale[0]), times * (model.l2 or 0.0) / float(scale[0]) ** 2
    if l1:
        given |= {"l1_ratio": l1 / (l1 + l2), "solver": given.get("solver", "saga")}
    return given | ({"C": 1.0 / ((l1 + l2) * rows)} if l1 + l2 else {})


def _one_each(model: Model, linear_model: Any) -> Any:
    """The fitted OneVsRestClassifier of many labels a row, with a LogisticRegression of each."""
    multiclass = _required("sklearn.multiclass", "scikit-learn")
    preprocessing = _required("sklearn.preprocessing", "scikit-learn")
    given = _penalty_of(model, 2.0)
    together = multiclass.OneVsRestClassifier(linear_model.LogisticRegression(**given))
    together.estimators_ = []
    for w, b in zip(*_raw_weights(model), strict=True):
        one = linear_model.LogisticRegression(**given)
        one.coef_, one.intercept_, one.classes_ = w[None], np.array([b]), np.array([0, 1])
        one.n_features_in_, one.n_iter_ = model.features, np.zeros(1, np.int32)
        together.estimators_.append(one)
    binary = np.eye(model.classes, dtype=np.int64)
    binary[0, :2] = 1  # a row of two labels, by which these are known to be many
    together.label_binarizer_ = preprocessing.LabelBinarizer(sparse_output=True).fit(binary)
    together.n_features_in_ = model.features
    return together


def to_torch(model: Model, dtype: str | None) -> Linear:
    """The torch.nn.Linear; see `Model.to_torch`."""
    dtype = dtype or _float_type(model)
    state = _state(model, dtype)
    torch = _required("torch", "onelayer[torch]")
    sizes, how = (model.features, model.classes), {"dtype": getattr(torch, dtype)}
    linear: Linear = torch.nn.Linear(*sizes, bias=model.intercept, **how)
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
    _check_float_type("dtype", dtype, model)
    W, b = _raw_weights(model)
    bias = {"bias": b.astype(dtype)} if model.intercept else {}
    return {"weight": W.astype(dtype)} | bias


def _check_float_type(name: str, dtype: str, model: Model) -> None:
    """Raise `SettingsError` for another type than those of floats, and one that is too narrow."""
    require_choice(name, dtype, WEIGHT_TYPES)
    if dtype == "float32" and _float_type(model) != dtype:
        raise SettingsError(
            "float32 cannot tell apart the values of features as far from 0 as this model's; "
            f"use {name}='float64'."
        )


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
