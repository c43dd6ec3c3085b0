"""The commands about one model: evaluate, predict, inspect, export."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from onelayer import Model, grid, load, train
from onelayer.cli.models import open_model
from onelayer.training.run_folder import save_result
from tests.cli.test_app import Command, run
from tests.model.made_models import make_model, make_rows

__all__ = ["run"]


@pytest.fixture
def fitted(run: Command, tmp_path: Path) -> Command:
    """Two runs on the digits in runs/fit."""
    runs = grid(learning_rate=[0.01, 0.0001], epochs=2)
    save_result(train(load("digits"), runs), tmp_path / "runs" / "fit")
    return run


def test_evaluate_prints_what_the_function_returns(fitted: Command, tmp_path: Path) -> None:
    code, out, err = fitted("evaluate", "runs/fit", "--data", "digits", "--json", "sub/e.json")
    assert code == 0, err
    assert "the model is λ=0, η=0.01, seed 0: the best of 2 runs by validation" in err
    expected = open_model("runs/fit").model.evaluate(load("digits").test)
    assert f"{100 * expected.accuracy:.2f} %" in out
    assert f"{expected.log_loss:.4f}" in out
    assert f"{100 * expected.reliability.error:.2f} %" in out
    assert max(map(len, out.splitlines())) <= 80
    told = json.loads((tmp_path / "sub" / "e.json").read_text())
    assert told == json.loads(json.dumps(expected.as_dict()))


def test_evaluate_takes_the_setting_and_the_rows_that_are_named(fitted: Command) -> None:
    code, out, err = fitted(
        *("evaluate", "runs/fit:λ=0, η=0.0001", "--data", "digits", "--on", "validation"),
        *("--engine", "reference"),
    )
    assert code == 0
    assert "note: the model is λ=0, η=0.0001, seed 0." in err
    expected = open_model("runs/fit:1").model.evaluate(load("digits").validation)
    assert f"{100 * expected.accuracy:.2f} %" in out
    assert "digits validation rows" in out


def test_a_path_is_evaluated_by_its_chosen_model(run: Command) -> None:
    assert run("path", "--data", "digits", "--l2", "1", "--l2", "0.01")[0] == 0
    code, out, err = run("evaluate", "runs/path", "--data", "digits")
    assert code == 0
    assert "chosen by accuracy" in err
    expected = open_model("runs/path").model.evaluate(load("digits").test)
    assert f"{100 * expected.accuracy:.2f} %" in out


def test_export_then_predict_gives_the_labels_of_the_run(fitted: Command, tmp_path: Path) -> None:
    code, out, _ = fitted("export", "runs/fit", "model.safetensors")
    assert (code, out) == (0, "model: model.safetensors\n")
    code, out, _ = fitted("predict", "model.safetensors", "digits:validation", "out/p.npy")
    assert (code, out) == (0, "397 predictions: out/p.npy\n")
    chosen = open_model("runs/fit").model
    labels = np.load(tmp_path / "out" / "p.npy")["label"]
    expected = chosen.predict(load("digits").validation.X)
    assert labels.tolist() == [chosen.class_names[k] for k in expected]


def test_predict_reads_and_writes_files(run: Command, tmp_path: Path) -> None:
    make_model().save(tmp_path / "m")
    np.save(tmp_path / "rows.npy", make_rows(5))
    for ending in ("csv", "parquet"):
        assert run("predict", "m", "rows.npy", f"p.{ending}")[0] == 0
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert len(lines) == 6
    assert lines[0] == '"label","p_class 0","p_class 1","p_class 2"'


def test_export_to_onnx_and_torch(fitted: Command, tmp_path: Path) -> None:
    code, out, err = fitted("export", "runs/fit", "m.onnx", "--to", "onnx")
    assert code == 0, err
    assert "onnxruntime gives the same labels for 256 rows" in out
    assert fitted("export", "runs/fit:1", "m.safetensors", "--to", "torch")[0] == 0
    from safetensors.numpy import load_file

    assert load_file(tmp_path / "m.safetensors")["weight"].shape == (10, 64)


def test_a_missing_extra_names_the_pip_command_and_writes_nothing(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    make_model().save(tmp_path / "m")
    code, _, err = run("export", "m", "m.onnx", "--to", "onnx")
    assert code == 1
    assert "pip install 'onelayer[onnx]'" in err
    assert not (tmp_path / "m.onnx").exists()


def test_inspect_draws_templates_of_images(fitted: Command, tmp_path: Path) -> None:
    code, out, _ = fitted("inspect", "runs/fit")
    assert code == 0
    assert "templates.png" in out
    assert (tmp_path / "templates.png").read_bytes().startswith(b"\x89PNG")
    assert fitted("inspect", "runs/fit", "--out", "t.svg")[0] == 0
    assert (tmp_path / "t.svg").exists()


def test_inspect_names_the_strongest_features_otherwise(run: Command, tmp_path: Path) -> None:
    make_model(image_shape=None).save(tmp_path / "m")
    code, out, _ = run("inspect", "m", "--most", "2")
    assert code == 0
    W = make_model().W
    assert f"pixel {int(W[0].argmax())} +{W[0].max():.3g}" in out
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("evaluate", "m", "--on", "all", "--data", "digits"), 2, "--on must be one of test"),
        (("evaluate", "m", "--data", "digits"), 1, "should have the model's classes"),
        (("evaluate", "absent"), 1, "absent should be a model file, but it is not there"),
        (("evaluate", "m", "--engine", "gpu"), 2, "engine must be one of"),
        (("predict", "m", "digits", "p.xlsx"), 2, "predictions are written as"),
        (("predict", "m", "digits", "p.csv"), 1, "rows must have 12 features"),
        (("predict", "m", "rows.npy", "p.csv"), 1, "no such file or folder: rows.npy"),
        (("inspect", "bare", "--out", "t.png"), 2, "features are no image"),
        (("inspect", "m", "--out", "t.gif"), 2, "written as .png or .svg"),
        (("inspect", "m", "--most", "0"), 2, "--most must be 1 or above"),
        (("export", "m", "x", "--to", "sklearn"), 2, "--to must be one of model, onnx, torch"),
        (("export", "m", "x", "--input-type", "uint8"), 2, "--input-type means nothing"),
        (("export", "m", "x", "--to", "onnx", "--input-type", "int4"), 2, "input_type must be"),
        (("export", "m", "."), 1, "it is a folder"),
        (("export", "broken", "x"), 1, "its content changed since it was written"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(
    words: tuple[str, ...], code: int, said: str, run: Command, tmp_path: Path
) -> None:
    make_model().save(tmp_path / "m")
    make_model(image_shape=None).save(tmp_path / "bare")
    whole = bytearray((tmp_path / "m").read_bytes())
    whole[-1] ^= 1
    (tmp_path / "broken").write_bytes(whole)
    got, _, err = run(*words)
    assert got == code, err
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bare", "broken", "m"]


def test_a_saved_model_of_a_run_is_the_run(fitted: Command, tmp_path: Path) -> None:
    assert fitted("export", "runs/fit:0", "m")[0] == 0
    np.testing.assert_array_equal(Model.load("m").W, open_model("runs/fit:0").model.W)


@pytest.mark.parametrize("command", ["evaluate", "predict", "inspect", "export"])
def test_every_command_has_help_with_an_example(command: str, run: Command) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "Example: onelayer " + command in " ".join(out.split())
