"""`onelayer best-linear`: the file, the tables, refusals before the work, Ctrl-C."""

from __future__ import annotations

from pathlib import Path

import pytest

from onelayer import Model, load
from onelayer.experiments.best_linear import Recipe, fit_best_linear
from tests.cli.conftest import Command

QUICK = ("best-linear", "--data", "digits", "--epochs", "4", "--batch-size", "200", "--seeds", "2")


def test_it_saves_the_mean_map_of_all_training_rows_and_prints_how_good_it_is(
    run: Command, tmp_path: Path
) -> None:
    code, out, err = run(*QUICK, "--folds", "2", "--out", "sub/best.safetensors")
    assert code == 0, err
    splits, model = load("digits"), Model.load(tmp_path / "sub" / "best.safetensors")
    assert model.settings["train_rows"] == splits.train.rows + splits.validation.rows
    assert model.settings["seeds"] == [0, 1]
    judged = model.evaluate(splits.test)
    low, high = judged.interval
    assert f"{100 * judged.accuracy:.2f}" in out
    assert f"{100 * low:.2f} to {100 * high:.2f}" in out
    recipe = Recipe(epochs=4, batch_size=200)
    each = [
        100 * fit_best_linear(splits.train_and_validation, recipe, seed=s).evaluate(splits.test)
        .accuracy
        for s in (0, 1)
    ]  # fmt: skip
    assert f"{min(each):.2f} to {max(each):.2f} %." in out
    assert "Training rows held out, 2 folds" in out
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80


def test_the_settings_that_are_typed_are_those_of_the_file(run: Command, tmp_path: Path) -> None:
    words = ("--q", "0.3", "--l2", "0.01", "--moves", "0", "--no-flips", "--folds", "0")
    code, out, err = run(*QUICK, *words, "--learning-rate", "0.2", "--momentum", "0.5")
    assert code == 0, err
    assert "held out" not in out
    settings = Model.load(tmp_path / "best-linear.safetensors").settings
    expected = {
        "q": 0.3, "l2": 0.01, "moves": 0, "flips": False, "epochs": 4, "batch_size": 200,
        "learning_rate": 0.2, "momentum": 0.5,
    }  # fmt: skip
    assert {name: settings[name] for name in expected} == expected


def test_compare_takes_the_recipe_that_did_best_on_the_folds(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poor = Recipe(learning_rate=1e-9, epochs=1, moves=0, flips=False)
    good = Recipe(batch_size=100, epochs=20, moves=0, flips=False)
    monkeypatch.setattr("onelayer.experiments.best_linear.CANDIDATES", (poor, good))
    words = ("best-linear", "--data", "digits", "--seeds", "1", "--folds", "2", "--compare")
    code, out, err = run(*words)
    assert code == 0, err
    settings = Model.load(tmp_path / "best-linear.safetensors").settings
    assert settings["learning_rate"] == good.learning_rate
    assert out.count("chosen") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--compare", "--q", "0.3"), "--compare chooses"),
        (("--compare", "--folds", "0"), "--compare chooses"),
        (("--seeds", "0"), "seeds"),
        (("--folds", "1"), "folds"),
        (("--q", "2"), "q must be"),
        (("--out", "."), "folder"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_fitted(
    run: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr("onelayer.experiments.best_linear.fit_best_linear", None)
    monkeypatch.setattr("onelayer.experiments.best_linear.fit_best_linear", None)
    code, _, err = run("best-linear", "--data", "digits", *words)
    assert code == (1 if "--out" in words else 2)
    assert said in err
    assert len(err.splitlines()) == 1


def test_ctrl_c_leaves_nothing_and_an_older_file_as_it_was(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "best-linear.safetensors").write_text("older")
    monkeypatch.setattr("onelayer.experiments.best_linear.fit_best_linear", interrupted)
    code, out, err = run(*QUICK, "--folds", "2")
    assert code == 130
    assert err.endswith("interrupted.\n")
    assert "test rows" not in out
    assert [p.name for p in tmp_path.iterdir()] == ["best-linear.safetensors"]
    assert (tmp_path / "best-linear.safetensors").read_text() == "older"
