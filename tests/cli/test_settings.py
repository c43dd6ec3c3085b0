"""Settings from a TOML file, the command that a run remembers, and running it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onelayer.training.run_folder import load_path, load_result
from tests.cli.test_app import Command, run

__all__ = ["run"]

FIT = ("fit", "--data", "digits", "--learning-rate", "0.1", "--epochs", "2")


def options_in(folder: Path) -> dict[str, Any]:
    command = json.loads((folder / "settings.json").read_text())["command"]
    options: dict[str, Any] = command["options"]
    return options


def test_options_come_from_the_file_and_the_command_line_wins(run: Command, tmp_path: Path) -> None:
    Path("my.toml").write_text(
        'data = "digits"\nlearning_rate = [0.1, "auto"]\nl2 = 0.01\nbatch-size = 50\nepochs = 9\n'
    )
    code, _, err = run("fit", "--settings", "my.toml", "--epochs", "1")
    assert code == 0, err
    runs = load_result(tmp_path / "runs" / "fit").runs
    assert [(r.l2, r.batch_size, r.epochs) for r in runs] == [(0.01, 50, 1)] * 2
    assert runs[0].learning_rate == 0.1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epohcs = 3", "my.toml has 'epohcs', which fit does not take; did you mean 'epochs'?"),
        ("zzz = 3", "'zzz', which fit does not take; it takes learning-rate, data"),
        ("settings = 'other.toml'", "'settings', which fit does not take"),
        ("epochs = 2.5", "'--epochs'"),
        ("epochs = true", "'--epochs'"),
        ("epochs = [1, 2]", "'epochs', must be one value, but a list was given"),
        ("epochs = {a = 1}", "'epochs', must be a number, a text, true, false or a list"),
        ("epochs = ", "my.toml should be a TOML file, but it is not"),
        ("tol = 1e-3", "--tol means nothing to the solver minibatch"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_a_sentence_and_nothing_is_left(
    text: str, said: str, run: Command, tmp_path: Path
) -> None:
    Path("my.toml").write_text(text)
    code, _, err = run(*FIT[:5], "--settings", "my.toml")
    assert code == 2
    assert said in " ".join(err.split())
    assert [p.name for p in tmp_path.iterdir()] == ["my.toml"]


def test_a_missing_settings_file_is_named(run: Command) -> None:
    code, _, err = run("fit", "--settings", "absent.toml")
    assert code == 2
    assert "the settings in absent.toml could not be read: No such file" in err


@pytest.mark.parametrize(
    "words",
    [
        (*FIT, "--l2", "0.1", "--l2", "0", "--seeds", "2", "--shuffle-seed", "1"),
        ("fit", "--data", "digits", "--solver", "optimum", "--l2", "0.1"),
        ("path", "--data", "digits", "--points", "2", "--folds", "2"),
        ("path", "--data", "digits", "--l2", "0.5"),
        ("reproduce", "--data", "digits", "--only", "eta-0.1", "--seeds", "1"),
    ],
    ids=["fit", "optimum", "path", "path of one", "reproduce"],
)
def test_rerun_gives_the_same_bits(words: tuple[str, ...], run: Command, tmp_path: Path) -> None:
    assert run(*words, "--out", "first")[0] == 0
    code, out, err = run("rerun", "first")
    assert code == 0, err
    assert "the same bits" in out
    first, again = tmp_path / "first", tmp_path / "first-rerun"
    name = "weights.safetensors"
    assert (again / name).read_bytes() == (first / name).read_bytes()
    assert options_in(again) == options_in(first)


def test_rerun_does_not_depend_on_the_settings_file(run: Command, tmp_path: Path) -> None:
    Path("my.toml").write_text("learning-rate = 0.05")
    assert run(*FIT[:3], "--epochs", "1", "--settings", "my.toml")[0] == 0
    Path("my.toml").unlink()
    assert options_in(tmp_path / "runs" / "fit")["learning-rate"] == ["0.05"]
    assert run("rerun", "runs/fit", "--out", "again")[0] == 0
    assert load_result(tmp_path / "again").runs[0].learning_rate == 0.05


def test_rerun_says_when_another_instruction_set_may_give_other_bits(
    run: Command, tmp_path: Path
) -> None:
    assert run(*FIT, "--out", "first")[0] == 0
    file = tmp_path / "first" / "settings.json"
    settings = json.loads(file.read_text())
    settings["environment"]["instruction_set"] = "abacus"
    file.write_text(json.dumps(settings))
    code, out, err = run("rerun", "first")
    assert code == 0
    assert "bits may differ from those of first: instruction set was abacus" in err
    assert "the same bits" in out


def test_other_weights_without_a_reason_are_a_failure(run: Command, tmp_path: Path) -> None:
    assert run(*FIT, "--out", "first")[0] == 0
    weights = tmp_path / "first" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    code, _, err = run("rerun", "first")
    assert code == 1
    assert "are not those of first, although nothing that is recorded has changed" in err


def test_the_page_drawn_anew_keeps_the_command(run: Command, tmp_path: Path) -> None:
    assert run(*FIT, "--out", "first")[0] == 0
    assert run("path", "--data", "digits", "--l2", "1", "--out", "second")[0] == 0
    before = [options_in(tmp_path / name) for name in ("first", "second")]
    assert run("report", "first")[0] == run("report", "second")[0] == 0
    assert [options_in(tmp_path / name) for name in ("first", "second")] == before
    command = load_path(tmp_path / "second").command
    assert command is not None
    assert command.line.startswith("onelayer path --data digits")


def test_a_run_made_from_python_cannot_be_run_again_by_command(
    run: Command, tmp_path: Path
) -> None:
    from onelayer import Run, load, train
    from onelayer.training.run_folder import save_result

    save_result(train(load("digits"), [Run(0.1, epochs=1)]), tmp_path / "mine")
    code, _, err = run("rerun", "mine")
    assert code == 1
    assert "mine does not say which command made it" in err
