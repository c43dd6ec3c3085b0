"""What other tools compute from an export is what the model computes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone

from onelayer.data import Splits, load
from onelayer.data.scaling import Scaling
from onelayer.errors import OnelayerError, SaveError, SettingsError, SourceError
from onelayer.model import Model
from onelayer.model import export as onnx_module
from onelayer.solver import solve
from onelayer.training.loop import train
from onelayer.training.run import Run
from tests.made_data import make_dataset
from tests.model.datasets import make_model, make_rows


def run_onnx(path: Path, rows: Any) -> tuple[Any, Any]:
    runtime = pytest.importorskip("onnxruntime", reason="ONNX WAS NOT TESTED: pip install onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    label, probabilities = session.run(None, {"rows": rows})
    return label, probabilities


@pytest.fixture(scope="module")
def cifar() -> Any:
    try:
        return load(progress=False)
    except SourceError as error:
        pytest.skip(f"ONNX ON THE REAL CIFAR-10 WAS NOT TESTED: {error}")


@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["unit", "standardize"])
def test_onnx_agrees_on_the_10_000_test_images(scaling: str, cifar: Any, tmp_path: Path) -> None:
    result = train(cifar, [Run(0.002, 0.01, epochs=3)], scaling=scaling)
    model = result.model()
    model.to_onnx(tmp_path / "m.onnx")
    label, probabilities = run_onnx(tmp_path / "m.onnx", cifar.test.X)
    assert len(label) == 10_000
    np.testing.assert_array_equal(label, model.predict(cifar.test.X))
    np.testing.assert_allclose(probabilities, model.predict_proba(cifar.test.X), atol=1e-6, rtol=0)
    assert (label == cifar.test.y).mean() == result.test_accuracy[0]


def test_onnx_agrees_on_the_digits_and_says_so(tmp_path: Path) -> None:
    splits = load("digits")
    model = train(splits, [Run(0.01, epochs=5)], scaling="standardize").model()
    tested = model.to_onnx(tmp_path / "m.onnx", rows=splits.test.X)
    assert (tested.rows, tested.difference < 1e-12) == (400, True)
    label, probabilities = run_onnx(tmp_path / "m.onnx", splits.test.X)
    np.testing.assert_array_equal(label, model.predict(splits.test.X))
    np.testing.assert_allclose(probabilities, model.predict_proba(splits.test.X), atol=1e-12)


@pytest.mark.parametrize("input_type", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_onnx_takes_rows_of_each_type(
    dtype: type, classes: int, input_type: str, tmp_path: Path
) -> None:
    model, X = make_model(classes, dtype=dtype), make_rows()
    model.to_onnx(tmp_path / "m.onnx", input_type=input_type)
    label, probabilities = run_onnx(tmp_path / "m.onnx", X.astype(input_type))
    np.testing.assert_array_equal(label, model.predict(X))
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=1e-13)


def test_large_scores_and_ties_are_the_same_in_onnx(tmp_path: Path) -> None:
    W = make_model().W * 1e4
    W[2] = W[1]
    model = make_model(W=W, b=np.zeros(3))
    model.to_onnx(tmp_path / "m.onnx", rows=make_rows(2000))


def test_onnx_tells_its_names_and_types(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="ONNX WAS NOT TESTED: pip install onnx")
    model = make_model()
    model.to_onnx(tmp_path / "m.onnx")
    made = onnx.load(tmp_path / "m.onnx")
    told = {item.key: json.loads(item.value) for item in made.metadata_props}
    assert told["class_names"] == list(model.class_names)
    assert told["settings"] == model.settings
    [rows] = made.graph.input
    assert rows.name == "rows"
    assert rows.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [out.name for out in made.graph.output] == ["label", "probabilities"]
    make_model(image_shape=None).to_onnx(tmp_path / "m.onnx")
    [rows] = onnx.load(tmp_path / "m.onnx").graph.input
    assert rows.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert onnx_module.onnx_bytes(model, "uint8") == onnx_module.onnx_bytes(model, "uint8")


@pytest.mark.parametrize("part", ["W", "b", "scale", "offset"])
def test_a_graph_that_disagrees_is_not_written(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    wrong = Scaling("standardize", model.scaling.scale * 1.001, model.scaling.offset)
    if part == "offset":
        wrong = Scaling("standardize", model.scaling.scale, model.scaling.offset + 0.001)
    changed = {
        "W": make_model(W=model.W[::-1]),
        "b": make_model(b=model.b + np.float32(0.001) * np.arange(3, dtype=np.float32)),
        "scale": make_model(scaling=wrong),
        "offset": make_model(scaling=wrong),
    }[part]
    graph = onnx_module._graph
    monkeypatch.setattr(onnx_module, "_graph", lambda onnx, _, *rest: graph(onnx, changed, *rest))
    with pytest.raises(SaveError, match=r"of 256 rows \d+ have another label"):
        model.to_onnx(tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scaling", ["unit", "standardize"])
def test_a_graph_of_float32_agrees_to_within_its_bound(scaling: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="ONNX WAS NOT TESTED: pip install onnx")
    splits = load("digits")
    model = train(splits, [Run(0.01, epochs=5)], scaling=scaling).model()
    tested = model.to_onnx(tmp_path / "m.onnx", rows=splits.test, precision="float32")
    assert 0.0 < tested.difference < tested.bound < 1e-3
    label, probabilities = run_onnx(tmp_path / "m.onnx", splits.test.X)
    assert probabilities.dtype == np.float32
    assert (label == model.predict(splits.test.X)).mean() > 0.99
    graph = onnx.load(tmp_path / "m.onnx").graph
    kinds = {node.attribute[0].i for node in graph.node if node.op_type == "Cast"}
    kinds |= {tensor.data_type for tensor in graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e2])
def test_the_bound_of_float32_holds_for_weights_of_any_size(factor: float, tmp_path: Path) -> None:
    for dtype in (np.float32, np.float64):
        model = make_model(W=make_model().W * factor, dtype=dtype)
        for kind in ("uint8", "float64"):
            tested = model.to_onnx(tmp_path / "m.onnx", input_type=kind, precision="float32")
            assert tested.difference <= tested.bound


def test_a_graph_of_float32_that_is_wrong_by_more_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, graph = make_model(), onnx_module._graph
    changed = make_model(b=model.b + np.float32(0.01) * np.arange(3, dtype=np.float32))
    monkeypatch.setattr(onnx_module, "_graph", lambda onnx, _, *rest: graph(onnx, changed, *rest))
    with pytest.raises(SaveError, match="probabilities differ by up to"):
        model.to_onnx(tmp_path / "m.onnx", precision="float32")
    with pytest.raises(SettingsError, match="precision must be float32 or float64"):
        model.to_onnx(tmp_path / "m.onnx", precision="float16")


def test_an_unknown_type_of_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="input_type must be one of uint8"):
        make_model().to_onnx(tmp_path / "m.onnx", input_type="int4")
    with pytest.raises(SettingsError, match="dtype must be float32 or float64"):
        make_model().to_state_dict(tmp_path / "m", "int8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_library_is_one_sentence_with_the_pip_command(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(OnelayerError, match=rf"needs {missing}, .* pip install 'onelayer\[onnx\]'"):
        make_model().to_onnx(tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_missing_torch_or_scikit_learn_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(OnelayerError, match=r"needs torch, .* pip install 'onelayer\[torch\]'"):
        make_model().to_torch()
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(OnelayerError, match="pip install 'scikit-learn'"):
        make_model().to_sklearn()


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_logistic_regression_predicts_the_same_from_rows_as_stored(classes: int) -> None:
    model, X = make_model(classes, feature_names=None), make_rows(200)
    fitted = model.to_sklearn()
    np.testing.assert_array_equal(fitted.predict(X), model.predict(X))
    np.testing.assert_allclose(fitted.predict_proba(X), model.predict_proba(X), atol=1e-13)
    assert fitted.score(X, model.predict(X)) == 1.0


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_regression_with_that_strength_fits_the_same_model(classes: int) -> None:
    rows = make_dataset(90, 1, classes=classes)
    splits = Splits(rows, rows, rows, name="made", source="made")
    exported = solve(splits, 0.01, tol=1e-10, scaling="none").to_sklearn()
    assert exported.C < 1.2
    again = clone(exported).set_params(tol=1e-10, max_iter=100_000).fit(rows.X, rows.y)
    np.testing.assert_allclose(
        again.predict_proba(rows.X), exported.predict_proba(rows.X), atol=1e-3
    )


def test_logistic_regression_knows_the_features_by_name_and_has_no_strength_without_l2() -> None:
    fitted = make_model(settings={"l2": 0.0, "train_rows": 90}).to_sklearn()
    assert fitted.feature_names_in_[0] == "pixel 0"
    assert fitted.C == 1.0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_torch_linear_computes_the_same_from_rows_as_stored(dtype: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch WAS NOT TESTED: pip install torch")
    from safetensors.torch import load_file

    model, X = make_model(dtype=np.float64), make_rows()
    linear = torch.nn.Linear(12, 3, dtype=getattr(torch, dtype))
    model.to_state_dict(tmp_path / "m.safetensors", dtype)
    for state in (model.to_torch(dtype).state_dict(), load_file(tmp_path / "m.safetensors")):
        torch.nn.init.zeros_(linear.weight)
        linear.load_state_dict(state)
        p = linear(torch.from_numpy(X).to(getattr(torch, dtype))).softmax(1).detach().numpy()
        tolerance = 1e-12 if dtype == "float64" else 1e-4
        np.testing.assert_allclose(p, model.predict_proba(X), atol=tolerance)


def test_the_state_dict_needs_no_torch_and_has_the_class_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import safe_open

    monkeypatch.setitem(sys.modules, "torch", None)
    model = make_model()
    model.to_state_dict(tmp_path / "m")
    with safe_open(tmp_path / "m", "np") as file:
        assert json.loads(file.metadata()["class_names"]) == list(model.class_names)
        weight, bias = file.get_tensor("weight"), file.get_tensor("bias")
    X = make_rows()
    np.testing.assert_allclose(X @ weight.T + bias, model.scores(X), atol=1e-3)


def test_features_far_from_0_are_exported_in_float64(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3)) + np.array([1.6e9, 0.0, 5.0])
    offset = -X.mean(axis=0)
    model = Model(rng.normal(size=(2, 3)), np.zeros(2), Scaling("standardize", np.ones(3), offset))
    model.to_onnx(tmp_path / "m.onnx")
    np.testing.assert_array_equal(run_onnx(tmp_path / "m.onnx", X)[0], model.predict(X))
    with pytest.raises(SettingsError, match="as far from 0 as this model's; use dtype='float64'"):
        model.to_torch("float32")
    scores = model.to_torch()(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_array_equal(scores.argmax(axis=1), model.predict(X))


def test_an_export_to_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for write in (make_model().to_onnx, make_model().to_state_dict):
        with pytest.raises(SaveError, match="could not be written"):
            write(tmp_path / "file" / "m")
    assert (tmp_path / "file").read_text() == ""


def test_a_model_without_an_intercept_is_exported_as_one(tmp_path: Path) -> None:
    data = load("digits")
    model = solve(data, 1.0, intercept=False, tol=1e-10, scaling="none")
    rows = data.test.X[:50].astype(np.float64)
    expected = model.scores(rows)
    logistic = model.to_sklearn()
    assert not logistic.fit_intercept
    np.testing.assert_allclose(logistic.decision_function(rows), expected, atol=1e-9)
    refitted = clone(logistic).set_params(max_iter=5000, tol=1e-8)
    refitted.fit(data.train.X, data.train.y)
    np.testing.assert_allclose(refitted.coef_, logistic.coef_, atol=1e-3)
    linear = model.to_torch("float64")
    assert linear.bias is None
    np.testing.assert_allclose(linear(torch.from_numpy(rows)).detach(), expected, atol=1e-9)
    model.to_onnx(tmp_path / "model.onnx", input_type="float64")
    probabilities = run_onnx(tmp_path / "model.onnx", rows)[1]
    np.testing.assert_allclose(probabilities, model.predict_proba(rows), atol=1e-6)
