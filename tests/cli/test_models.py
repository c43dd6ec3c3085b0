"""The commands about one model: evaluate, predict, inspect, export."""

from __future__ import annotations

import itertools
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pyarrow.parquet as pq
import pytest
from PIL import Image

from onelayer import Model, compare, grid, load, solve, train
from onelayer.cli.models import open_model
from onelayer.data.scaling import Scaling
from onelayer.model.calibration import Calibration
from onelayer.solver import Path as LambdaPath
from onelayer.training.result import Result
from onelayer.training.run_folder import save_records
from tests.cli.conftest import Command
from tests.model.datasets import make_model, make_rows


@pytest.fixture
def fitted(run: Command, tmp_path: Path) -> Command:
    """Two runs on the digits in runs/train."""
    runs = grid(learning_rate=[0.01, 0.0001], epochs=2)
    save_records(train(load("digits"), runs), tmp_path / "runs" / "train")
    return run


def test_evaluate_prints_what_the_function_returns(fitted: Command) -> None:
    code, out, err = fitted("evaluate", "runs/train")
    assert code == 0, err
    assert "the model is λ=0, η=0.01, seed 0: best of 2 runs by validation" in err
    expected = open_model("runs/train").model.evaluate(load("digits").test)
    assert f"{100 * expected.accuracy:.2f} %" in out
    assert f"{expected.log_loss:.4f}" in out
    assert f"{100 * expected.reliability.error:.2f} %" in out
    assert max(map(len, out.splitlines())) <= 80
    told = json.loads(fitted("evaluate", "runs/train", "--json")[1])
    assert told == json.loads(json.dumps(expected.as_dict()))


def test_evaluate_takes_the_setting_and_the_rows_that_are_named(fitted: Command) -> None:
    code, out, err = fitted(
        *("evaluate", "runs/train:λ=0, η=0.0001", "--data", "digits", "--on", "validation"),
        *("--engine", "reference"),
    )
    assert code == 0
    assert "note: the model is λ=0, η=0.0001, seed 0\n" in err
    expected = open_model("runs/train:λ=0, η=0.0001").model.evaluate(load("digits").validation)
    assert f"{100 * expected.accuracy:.2f} %" in out
    assert "on digits validation" in out


def test_a_path_is_evaluated_by_its_chosen_model(run: Command) -> None:
    assert run("solve", "--data", "digits", "--l2", "1,0.01")[0] == 0
    code, out, err = run("evaluate", "runs/solve")
    assert code == 0
    assert "chosen by accuracy" in err
    expected = open_model("runs/solve").model.evaluate(load("digits").test)
    assert f"{100 * expected.accuracy:.2f} %" in out


def test_export_then_predict_gives_the_labels_of_the_run(fitted: Command, tmp_path: Path) -> None:
    code, out, _ = fitted("export", "runs/train", "model.safetensors")
    assert (code, out) == (0, "model: model.safetensors\n")
    code, out, _ = fitted("predict", "model.safetensors", "digits:validation", "out/p.npy")
    assert (code, out) == (0, "397 predictions: out/p.npy\n")
    chosen = open_model("runs/train").model
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
    assert lines[0] == '"row","label","p_class 0","p_class 1","p_class 2"'
    assert [line.split(",")[0] for line in lines[1:]] == list("01234")


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ("photos", ["ant/a.png", "ant/b.png", "bee/c.png", "d.png"]),
        ("photos/ant", ["a.png", "b.png"]),
        ("photos/d.png", ["photos/d.png"]),
        ("photos/*/*.png", ["photos/ant/a.png", "photos/ant/b.png", "photos/bee/c.png"]),
    ],
)
def test_predict_classifies_every_picture_in_order_with_its_name(
    rows: str, named: list[str], run: Command, tmp_path: Path
) -> None:
    model = make_model(image_shape=(1, 3, 4))
    model.save(tmp_path / "m")
    places = [f"photos/{name}" for name in ("ant/a.png", "ant/b.png", "bee/c.png", "d.png")]
    pixels = dict(zip(places, make_rows(4), strict=True))
    for place, row in pixels.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(row.reshape(3, 4)).save(tmp_path / place)
    code, _, err = run("predict", "m", rows, "p.parquet")
    assert (code, err) == (0, "")
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet")
    assert table["file"].to_pylist() == named
    classified = model.predict(np.array([pixels[p] for p in places if p.endswith(tuple(named))]))
    assert table["label"].to_pylist() == [model.class_names[k] for k in classified]


def test_export_follows_the_suffix(fitted: Command, tmp_path: Path) -> None:
    code, out, err = fitted("export", "runs/train", "m.onnx")
    assert code == 0, err
    assert "onnxruntime gives the same labels for 256 rows" in out
    from safetensors.numpy import load_file

    torch = pytest.importorskip("torch")
    assert fitted("export", "runs/train:2", "m.pt")[0] == 0
    state = torch.load(tmp_path / "m.pt", weights_only=True)
    linear = open_model("runs/train:2").model.to_torch()
    assert torch.equal(state["weight"], linear.weight)
    assert torch.equal(state["bias"], linear.bias)
    assert fitted("export", "runs/train:2", "m.safetensors", "--to", "torch")[0] == 0
    assert load_file(tmp_path / "m.safetensors")["weight"].shape == (10, 64)
    assert fitted("export", "runs/train:2", "m.safetensors")[0] == 0
    assert Model.load(tmp_path / "m.safetensors").settings["learning_rate"] == 0.0001


def test_a_missing_extra_names_the_pip_command_and_writes_nothing(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    make_model().save(tmp_path / "m")
    code, _, err = run("export", "m", "m.onnx")
    assert code == 1
    assert "pip install 'onelayer[onnx]'" in err
    assert not (tmp_path / "m.onnx").exists()


def test_inspect_draws_templates_of_images(fitted: Command, tmp_path: Path) -> None:
    code, out, _ = fitted("inspect", "runs/train")
    assert code == 0
    assert "templates.png" in out
    assert (tmp_path / "templates.png").read_bytes().startswith(b"\x89PNG")
    assert fitted("inspect", "runs/train", "--out", "t.svg")[0] == 0
    assert (tmp_path / "t.svg").exists()


def test_inspect_names_the_strongest_features_otherwise(run: Command, tmp_path: Path) -> None:
    make_model(image_shape=None).save(tmp_path / "m")
    code, out, _ = run("inspect", "m", "--most", "2")
    assert code == 0
    W = make_model().W
    assert f"pixel {int(W[0].argmax())} +{W[0].max():.3g}" in out
    assert "Weights on the scaled features" in out
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    plain = Scaling("none", np.ones(12), np.zeros(12))
    make_model(image_shape=None, scaling=plain).save(tmp_path / "plain")
    _, out, _ = run("inspect", "plain")
    assert "Weights on the features, strongest first" in out
    assert "scaled features" not in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("evaluate", "m", "--on", "all", "--data", "digits"), 2, "--on must be one of test"),
        (("evaluate", "m", "--data", "digits"), 1, "should have the model's classes"),
        (("evaluate", "m"), 2, "cannot tell which data the model was trained on; pass --data"),
        (("evaluate", "absent"), 1, "absent should be a model file, but it is not there"),
        (("evaluate", "m", "--engine", "gpu"), 2, "engine must be one of"),
        (("predict", "m", "digits", "p.xlsx"), 2, "predictions are written as"),
        (("predict", "m", "digits", "p.csv"), 1, "rows must have 12 features"),
        (("predict", "m", "rows.npy", "p.csv"), 1, "no such file or folder: rows.npy"),
        (("inspect", "bare", "--out", "t.png"), 2, "features are no image"),
        (("inspect", "m", "--out", "t.gif"), 2, "written as .png or .svg"),
        (("inspect", "m", "--most", "0"), 2, "--most must be a whole number, 1 or above"),
        (("export", "m", "m.onnx", "--to", "sklearn"), 2, "--to must be one of model, torch, onnx"),
        (("export", "m", "m.pt", "--input-type", "uint8"), 2, "--input-type has no effect"),
        (("export", "m", "m.onnx", "--to", "torch"), 2, "but m.onnx ends in .onnx"),
        (("export", "m", "m.pt", "--to", "model"), 2, "--to model writes .safetensors"),
        (("export", "m", "m.xyz"), 2, "unsupported file type '.xyz'; supported: .safetensors"),
        (("export", "m", "x"), 2, "unsupported file type 'x'"),
        (("export", "m", "x.onnx", "--input-type", "int4"), 2, "input_type must be"),
        (("export", "m", "d.safetensors"), 1, "it is a folder"),
        (("export", "broken", "x.onnx"), 1, "its content changed since it was written"),
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
    (tmp_path / "d.safetensors").mkdir()
    got, _, err = run(*words)
    assert got == code, err
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bare", "broken", "d.safetensors", "m"]


def test_a_saved_model_of_a_run_is_the_run(fitted: Command) -> None:
    assert fitted("export", "runs/train:2", "m.safetensors")[0] == 0
    np.testing.assert_array_equal(Model.load("m.safetensors").W, open_model("runs/train:2").model.W)


@pytest.fixture
def own(run: Command) -> Command:
    """A run on a file of its own, with a split of its own, in runs/train."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)).astype(np.float32)
    np.savez("rows.npz", X=X, kind=(X[:, 0] > 0.3 * rng.normal(size=300)).astype(int))
    np.savez("other.npz", X=X[::2], kind=(X[::2, 0] > 0).astype(int))
    words = ("--data", "rows.npz", "--labels", "kind", "--split-seed", "7", "--test-size", "0.3")
    assert run("train", *words, "--scaling", "standardize", "--epochs", "3")[0] == 0
    return run


def test_a_run_folder_knows_its_data_its_labels_and_its_split(own: Command) -> None:
    result = Result.load(Path("runs/train"))
    code, out, err = own("evaluate", "runs/train", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["rows"] == 90
    assert told["accuracy"] == result.test_accuracy[0]
    code, out, err = own("certify", "runs/train", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)[0]["cost"] == pytest.approx(result.certificates[0].cost, rel=1e-12)


def test_another_split_or_other_data_than_the_runs_are_noted_in_one_line(own: Command) -> None:
    code, _, err = own("evaluate", "runs/train", "--split-seed", "8")
    assert code == 0
    assert err == "note: left out, because the model was trained on them: 53 of 90 rows\n"
    code, _, err = own("evaluate", "runs/train", "--split-seed", "7")
    assert (code, err) == (0, "")
    code, _, err = own("evaluate", "runs/train", "--data", "other.npz", "--labels", "kind")
    assert code == 0
    assert err == (
        "note: other.npz is other data than the model was trained on: all of its rows are taken\n"
        "note: left out, because the model was trained on them: 86 of 150 rows\n"
    )
    code, out, err = own("evaluate", "runs/train", "--test", "other.npz", "--json")
    assert code == 0
    assert json.loads(out)["rows"] == 64


def test_inspect_shows_coefficients_with_their_errors(run: Command) -> None:
    assert run("solve", "--data", "digits", "--l2", "0.1", "--tol", "1e-9")[0] == 0
    code, out, err = run("inspect", "runs/solve", "--inference", "--reference", "3")
    assert code == 0, err
    assert "Log odds against 3 by unit of each feature" in out
    assert "with λ = 0.1 intervals are of what this λ gives on ever more rows" in out
    assert max(map(len, out.partition("Errors by")[0].splitlines())) <= 80
    drawn = ("--errors", "bootstrap", "--resamples", "100", "--json")
    code, out, err = run("inspect", "runs/solve", "--inference", *drawn)
    assert code == 0, err
    told = json.loads(out)
    assert (told["errors"], told["rows"], len(told["coefficients"])) == ("bootstrap", 1000, 9 * 65)
    found = open_model("runs/solve").model.inference(
        load("digits").train, errors="bootstrap", resamples=100
    )
    assert told["coefficients"][1]["low"] == found.low[0, 1]


def test_a_model_too_far_from_its_optimum_for_errors_has_them_after_the_command_of_the_message(
    run: Command,
) -> None:
    run("solve", "--data", "digits", "--l2", "1e-4", "--tol", "1e-3")
    code, _, err = run("inspect", "runs/solve", "--inference")
    assert code != 0
    found = re.search(r"in feature '\d+' for class '\d'; .* onelayer solve … (--l2 .*)\.\n", err)
    assert found is not None, err
    run("solve", "--data", "digits", *found[1].split(), "--overwrite")
    code, _, err = run("inspect", "runs/solve", "--inference")
    assert code == 0, err


def test_calibrate_writes_a_model_whose_probabilities_are_better(run: Command) -> None:
    assert run("solve", "--data", "digits", "--l2", "0.1")[0] == 0
    code, out, err = run("calibrate", "runs/solve", "c.safetensors")
    assert code == 0, err
    expected = open_model("runs/solve").model.calibrate(load("digits"))
    assert f"T = {expected.temperature:.4g} on 397 rows: log loss" in out
    assert (Model.load("c.safetensors").W == expected.W).all()
    assert out.endswith("page: runs/solve/report.html\n")
    [of] = LambdaPath.load("runs/solve").calibrations
    assert of == Calibration.of(expected, "λ=0.1", "c.safetensors")
    code, out, err = run("evaluate", "c.safetensors", "--data", "digits")
    assert (code, "ECE before" in out) == (0, True), err
    told = json.loads(run("calibrate", "runs/solve", "d.safetensors", "--json")[1])
    assert told["temperature"] == expected.temperature
    assert run("calibrate", "c.safetensors", "f.safetensors")[1].endswith("model: f.safetensors\n")
    assert [of.file for of in LambdaPath.load("runs/solve").calibrations] == ["d.safetensors"]
    for wrong, words in (
        (("runs/solve", "e.safetensors", "--on", "train"), "--on must be one of test, validation"),
        (("runs/solve", "e.onnx"), "e.onnx is no model file: give NAME.safetensors, and export"),
        (("c.safetensors", "c.safetensors"), "would be overwritten"),
    ):
        code, _, err = run("calibrate", *wrong)
        assert (code, words in err) == (2, True), err


def test_options_of_inference_have_no_effect_without_it(run: Command, tmp_path: Path) -> None:
    make_model().save(tmp_path / "m")
    for given in (("--reference", "a"), ("--data", "digits"), ("--trust",)):
        code, _, err = run("inspect", "m", *given)
        assert code == 2
        assert f"{given[0]} has no effect without --inference" in err
    code, _, err = run("inspect", "m", "--inference", "--out", "t.png")
    assert (code, "--out has no effect with --inference" in err) == (2, True)


def test_inspect_prints_the_strongest_features_as_json(run: Command, tmp_path: Path) -> None:
    model = make_model(image_shape=None)
    model.save(tmp_path / "m")
    code, out, _ = run("inspect", "m", "--most", "2", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["classes"] == list(model.class_names)
    best = told["strongest"]["class 0"]["for"]
    assert next(iter(best.values())) == pytest.approx(float(model.W[0].max()))
    assert len(best) <= 2


@pytest.mark.parametrize(
    ("classes", "said", "rows"),
    [
        ("xy", "no rows of the classes: z", 200),
        ("x", "no rows of the classes: y, z", 200),
        ("xyzq", "left out, because the model has no such class: 50 rows of 'q'", 150),
    ],
)
def test_a_model_is_evaluated_on_a_file_with_other_classes_by_their_names(
    run: Command, classes: str, said: str, rows: int
) -> None:
    def write(name: str, classes: str, rows: int) -> None:
        features = np.random.default_rng(rows).normal(size=rows)
        lines = [f"{f},{classes[i % len(classes)]}" for i, f in enumerate(features)]
        Path(name).write_text("\n".join(["a,kind", *lines]) + "\n")

    write("train.csv", "xyz", 90)
    write("other.csv", classes, 200)
    words = ("--labels", "kind")
    assert run("solve", "--data", "train.csv", *words, "--l2", "0.1", "--out", "m")[0] == 0
    code, out, err = run("evaluate", "m", "--data", "other.csv", *words, "--json")
    assert code == 0
    assert said in err
    assert json.loads(out)["rows"] == rows
    assert said in run("evaluate", "m", "--test", "other.csv")[2]


@pytest.fixture
def split_run(run: Command) -> Command:
    """A run on files of its own with a split of its own, and a file of other rows."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 4)), rng.integers(0, 3, 100)
    other, labels = rng.normal(size=(40, 4)), rng.integers(0, 3, 40)
    arrays = {
        "x": X, "y": y, "copy": X.astype(np.float64), "new": other, "newy": labels,
        "more": np.concatenate([X, other]), "morey": np.concatenate([y, labels]),
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)
    words = ("--labels", "y.npy", "--split-seed", "7", "--test-size", "0.3")
    code, _, err = run("train", "--data", "x.npy", *words, "--epochs", "2", "--out", "r")
    assert code == 0, err
    assert run("export", "r", "m.safetensors")[0] == 0
    return run


def figures(run: Command, *words: str) -> dict[str, object]:
    code, out, err = run(*words, "--json")
    assert code == 0, err
    told: dict[str, object] = json.loads(out)
    return told


@pytest.mark.parametrize("model", ["r", "m.safetensors"])
def test_the_same_data_by_another_name_give_the_same_test_rows(
    split_run: Command, model: str
) -> None:
    own = figures(split_run, "evaluate", "r")
    copy = figures(split_run, "evaluate", model, "--data", "copy.npy", "--labels", "y.npy")
    assert (own["rows"], own["training_rows"]) == (31, 0)
    assert copy == own
    assert own["accuracy"] == Result.load("r").test_accuracy[0]


def test_the_same_table_with_its_columns_in_another_order_gives_the_same_test_rows(
    run: Command,
) -> None:
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=90) for name in "abc"} | {"label": rng.integers(0, 3, 90)}
    table = pa.table(columns)
    pq.write_table(table, "t.parquet")
    pq.write_table(table.select(["c", "label", "a", "b"]), "turned.parquet")
    words = ("--l2", "0.1", "--split-seed", "4", "--out", "m")
    assert run("solve", "--data", "t.parquet", *words)[0] == 0
    own = figures(run, "evaluate", "m")
    assert figures(run, "evaluate", "m", "--data", "turned.parquet") == own
    assert own["training_rows_left_out"] == 0


@pytest.mark.parametrize("model", ["r", "m.safetensors"])
@pytest.mark.parametrize(
    "words",
    [
        ("--data", "new.npy", "--labels", "newy.npy"),
        ("--test", "new.npy", "--test-labels", "newy.npy"),
    ],
)
def test_every_row_of_other_data_is_evaluated(
    split_run: Command, model: str, words: tuple[str, ...]
) -> None:
    new, labels = np.load("new.npy"), np.load("newy.npy")
    right = int((Model.load("m.safetensors").predict(new) == labels).sum())
    told = figures(split_run, "evaluate", model, *words)
    assert (told["rows"], told["accuracy"]) == (40, right / 40)
    assert "new.npy is other data than the model was trained on" in split_run(
        "evaluate", model, *words
    )[2]  # fmt: skip


def test_gray_pictures_are_evaluated_in_the_form_of_a_model_of_colours(
    run: Command, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    shapes = {"colours": (6, 6, 3), "gray": (6, 6), "large": (12, 12)}
    for (folder, shape), k in itertools.product(shapes.items(), (0, 1)):
        place = tmp_path / folder / "ab"[k]
        place.mkdir(parents=True)
        for i in range(8):
            pixels = (rng.random(shape) * 100 + 120 * k).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{i}.png")
    data = load(tmp_path / "colours", log=lambda line: None)
    solve(data, l2=0.01).save(tmp_path / "m.safetensors")
    for folder, words in itertools.product(("gray", "large"), ((), ("--test-size", "0.25"))):
        given = ("--data", str(tmp_path / folder), *words)
        told = figures(run, "evaluate", str(tmp_path / "m.safetensors"), *given)
        assert (told["rows"], told["accuracy"]) == (4 if words else 16, 1.0)


def test_rows_trained_on_are_left_out_of_other_data_unless_asked(split_run: Command) -> None:
    words = ("evaluate", "m.safetensors", "--data", "more.npy", "--labels", "morey.npy")
    told = figures(split_run, *words)
    assert (told["rows"], told["training_rows_left_out"]) == (85, 55)
    assert "the model was trained on them: 55 of 140 rows" in " ".join(split_run(*words)[2].split())
    every = figures(split_run, *words, "--include-training-rows")
    assert (every["rows"], every["training_rows"]) == (140, 55)
    another = figures(split_run, *words, "--split-seed", "1")
    assert another["training_rows_left_out"]


def test_certify_takes_the_training_rows_of_the_same_data_and_all_rows_of_other_data(
    split_run: Command,
) -> None:
    def certified(*words: str) -> list[dict[str, object]]:
        return json.loads(split_run("certify", *words, "--json")[1])  # type: ignore[no-any-return]

    [own] = certified("r")
    [copy] = certified("m.safetensors", "--data", "copy.npy", "--labels", "y.npy")
    [other] = certified("m.safetensors", "--data", "more.npy", "--labels", "morey.npy")
    assert (own["rows"], other["rows"]) == (55, 140)
    assert (copy["cost"], copy["gradient_norm"]) == (own["cost"], own["gradient_norm"])


@pytest.mark.parametrize("verb", ["evaluate", "certify"])
def test_a_run_folder_reads_no_files_from_elsewhere_unless_it_is_trusted(
    split_run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    words = ("--data", str(tmp_path / "x.npy"), "--labels", str(tmp_path / "y.npy"))
    assert split_run("train", *words, "--epochs", "1", "--out", "in/r")[0] == 0
    monkeypatch.chdir(tmp_path / "in")
    code, _, err = split_run(verb, "r")
    assert code == 1
    assert f"r would read {tmp_path / 'x.npy'}, {tmp_path / 'y.npy'}, which is outside" in err
    assert split_run(verb, "r", "--trust")[0] == 0
    assert split_run(verb, "r", "--data", "../new.npy", "--labels", "../newy.npy")[0] == 0


def test_a_path_to_the_home_folder_is_outside_of_the_current_one(split_run: Command) -> None:
    result = Result.load("r")
    assert result.command is not None
    options = dict(result.command.options) | {"data": "~/secret.npy"}
    save_records(replace(result, command=replace(result.command, options=options)), "foreign")
    code, _, err = split_run("evaluate", "foreign")
    assert code == 1
    assert "would read ~/secret.npy, which is outside" in err


def test_metrics_are_measured_with_their_intervals(fitted: Command) -> None:
    code, out, err = fitted("evaluate", "runs/train", "--scoring", "f1_macro,roc_auc_ovr")
    assert code == 0, err
    f1, area = (
        open_model("runs/train")
        .model.evaluate(load("digits"), scoring=["f1_macro", "roc_auc_ovr"])
        .metrics
    )
    assert f"{100 * f1.value:.2f} %" in out
    assert f"{area.value:.4f}" in out
    told = json.loads(fitted("evaluate", "runs/train", "--scoring", "f1_macro", "--json")[1])
    assert told["metrics"]["f1_macro"]["interval_95"] == [f1.low, f1.high]
    code, _, err = fitted("evaluate", "runs/train", "--scoring", "roc_auc")
    assert (code, err.count("\n")) == (2, 2)
    assert "roc_auc is for two classes, but there are 10" in err


def test_models_are_compared_on_the_rows_of_the_first_ones_data(fitted: Command) -> None:
    both = ("runs/train:1", "runs/train:2")
    code, out, err = fitted("compare", *both)
    assert code == 0, err
    first, second = (open_model(name).model for name in both)
    found = compare(first, second, load("digits"), names=both)
    assert " ".join(found.sentences[0].split()) in " ".join(out.split())
    told = json.loads(fitted("compare", *both, "--json")[1])
    assert told["differences"][0]["p"] == found.p
    code, out, _ = fitted("compare", "runs/train", "--scoring", "f1_macro")
    assert code == 0
    assert "bootstrap" in out
    code, _, err = fitted("compare", "runs/train:1")
    assert code == 2
    assert "name two models" in err
