"""Options from a TOML file, the command that a run remembers, and running it again."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from onelayer.solver import Path as LambdaPath
from onelayer.training.result import Result
from tests.cli.conftest import Command
from tests.training.damage import reseal

TRAIN = ("train", "--data", "digits", "--learning-rate", "0.1", "--epochs", "2")


def options_in(folder: Path) -> dict[str, Any]:
    command = json.loads((folder / "settings.json").read_text())["command"]
    options: dict[str, Any] = command["options"]
    return options


def test_options_come_from_the_file_and_the_command_line_wins(run: Command, tmp_path: Path) -> None:
    Path("my.toml").write_text(
        'data = "digits"\nlearning_rate = [0.1, "auto"]\nl2 = 0.01\nbatch-size = 50\nepochs = 9\n'
    )
    code, _, err = run("train", "--config", "my.toml", "--epochs", "1")
    assert code == 0, err
    runs = Result.load(tmp_path / "runs" / "train").runs
    assert [(r.l2, r.batch_size, r.epochs) for r in runs] == [(0.01, 50, 1)] * 2
    assert runs[0].learning_rate == 0.1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epohcs = 3", "my.toml: train has no option 'epohcs'; did you mean 'epochs'?"),
        ("zzz = 3", "train has no option 'zzz'; options: learning-rate, l2"),
        ("config = 'other.toml'", "train has no option 'config'"),
        ("epochs = 2.5", "--epochs must be whole numbers, got '2.5'"),
        ("epochs = true", "--epochs must be numbers"),
        ("random = 2.5", "'--random'"),
        ("random = [1, 2]", "'random' must be one value, not a list"),
        ("epochs = {a = 1}", "'epochs' must be a number, a string, a boolean or a list"),
        ("epochs = ", "my.toml is not a valid TOML file"),
        ("#" * 1_000_001, "my.toml is not a valid TOML file: it has more than 1,000,000 bytes."),
        (f"epochs = {'[' * 5000}", "my.toml is not a valid TOML file: it is nested too deeply."),
        (f"epochs = {'9' * 5000}", "my.toml is not a valid TOML file: Exceeds the limit"),
        (f"epochs = 0x{'f' * 5000}", "'epochs' must be a number of at most 64 bits"),
        ('"a\\nb" = 1', r"train has no option 'a\nb'"),
        ("epochs = 1000000000000", "1 run over 1,000,000,000,000 epochs need"),
        ("l2 = '1e-9:1:1000000000'", "a range has at most 99999 values"),
        ("epochs = 1979-05-27", "'epochs' must be a number, a string, a boolean or a list"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_a_sentence_and_nothing_is_left(
    text: str, said: str, run: Command, tmp_path: Path
) -> None:
    Path("my.toml").write_text(text)
    code, _, err = run(*TRAIN[:5], "--config", "my.toml")
    assert code == 2
    assert said in " ".join(err.split())
    assert [p.name for p in tmp_path.iterdir()] == ["my.toml"]


def test_options_come_from_a_stream_that_is_open_and_a_pipe_without_a_writer_is_not_waited_for(
    run: Command, tmp_path: Path
) -> None:
    for name in ("-", "/dev/fd/{}"):
        reader, writer = os.pipe()
        os.write(writer, b"zzz = 3")
        os.close(writer)
        own = os.dup(0)
        os.dup2(reader, 0)
        try:
            code, _, err = run("train", "--config", name.format(reader))
        finally:
            os.dup2(own, 0)
            os.close(own)
            os.close(reader)
        assert (code, "train has no option 'zzz'" in err) == (2, True), err
    os.mkfifo("waits")
    late = threading.Timer(5.0, lambda: open("waits", "wb").close())
    late.start()
    code, _, err = run("train", "--config", "waits")
    late.cancel()
    assert (code, "cannot read waits: it is no file but a pipe" in err) == (2, True), err


def test_a_missing_config_file_is_named(run: Command) -> None:
    code, _, err = run("train", "--config", "absent.toml")
    assert code == 2
    assert "cannot read absent.toml: No such file" in err


@pytest.mark.parametrize(
    "words",
    [
        (*TRAIN, "--l2", "0.1,0", "--seeds", "2", "--shuffle-seed", "1"),
        ("solve", "--data", "digits", "--l2", "0.01:0.1:2", "--folds", "2"),
        ("solve", "--data", "digits", "--C", "2"),
        ("reproduce", "--data", "digits", "--only", "eta-0.1", "--seeds", "1"),
    ],
    ids=["train", "solve", "solve of one", "reproduce"],
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


@pytest.mark.parametrize(
    "options",
    [
        {"data": "/etc/passwd"},
        {"data": "../secret.csv"},
        {"data": "digits", "labels": "/dev/zero"},
        {"data": "digits", "test": "inside/../../x.npy"},
        {"data": "digits", "validation-labels": "a\0b"},
        {"data": "l*k.csv"},
        {"data": "folder"},
    ],
)
def test_rerun_shows_the_command_and_refuses_to_read_outside_of_the_folder(
    options: dict[str, str], run: Command, tmp_path: Path
) -> None:
    assert run(*TRAIN[:3], "--epochs", "1", "--out", "theirs")[0] == 0
    Path("folder").mkdir()
    for link in ("link.csv", "folder/link.csv"):
        Path(link).symlink_to("/etc/passwd")
    settings = json.loads(Path("theirs/settings.json").read_text())
    settings["command"]["options"] |= options
    Path("theirs/settings.json").write_text(json.dumps(settings))
    reseal(Path("theirs"))
    code, out, err = run("rerun", "theirs")
    assert code == 1
    assert "onelayer train" in out
    assert len(err.strip().splitlines()) == 1
    assert "which is outside of the current folder; add --trust" in err
    assert not Path("theirs-rerun").exists()


def test_rerun_does_not_depend_on_the_config_file(run: Command, tmp_path: Path) -> None:
    Path("my.toml").write_text("learning-rate = 0.05")
    assert run(*TRAIN[:3], "--epochs", "1", "--config", "my.toml")[0] == 0
    Path("my.toml").unlink()
    assert options_in(tmp_path / "runs" / "train")["learning-rate"] == "0.05"
    assert run("rerun", "runs/train", "--out", "again")[0] == 0
    assert Result.load(tmp_path / "again").runs[0].learning_rate == 0.05


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("onelayer", "bits may differ from those of first: onelayer was abacus"),
        ("instruction_set", ""),  # each trains to the same bits
    ],
)
def test_rerun_says_what_may_give_other_bits(
    name: str, said: str, run: Command, tmp_path: Path
) -> None:
    assert run(*TRAIN, "--out", "first")[0] == 0
    file = tmp_path / "first" / "settings.json"
    settings = json.loads(file.read_text())
    settings["environment"][name] = "abacus"
    file.write_text(json.dumps(settings))
    reseal(tmp_path / "first")
    code, out, err = run("rerun", "first")
    assert code == 0
    assert said in err
    assert ("bits may differ" in err) == bool(said)
    assert "the same bits" in out


def test_other_weights_without_a_reason_are_a_failure(run: Command, tmp_path: Path) -> None:
    assert run(*TRAIN, "--out", "first")[0] == 0
    weights = tmp_path / "first" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    reseal(tmp_path / "first")
    code, _, err = run("rerun", "first")
    assert code == 1
    assert "differ from those of first, although nothing that is recorded changed" in err


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("best-linear", {"data": "digits"}, "says that it was made by 'best-linear', and runs are"),
        ("data", {}, "says that it was made by 'data'"),
        ("train", {"out": "elsewhere", "threads": "many"}, "Invalid value for '--threads'"),
        ("train", {"config": "mine.toml"}, "train has no option 'config'"),
        ("train", {"data": {"a": 1}}, "'data' must be a number, a string"),
    ],
)
def test_a_foreign_run_repeats_no_other_command_and_writes_nowhere_else(
    name: str, options: dict[str, Any], said: str, run: Command, tmp_path: Path
) -> None:
    assert run(*TRAIN, "--out", "first")[0] == 0
    file = tmp_path / "first" / "settings.json"
    settings = json.loads(file.read_text())
    settings["command"] |= {"name": name, "options": options}
    file.write_text(json.dumps(settings))
    reseal(tmp_path / "first")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run("rerun", "first")
    assert code in (1, 2)
    assert said in " ".join(err.split())
    assert out.startswith("onelayer ")  # the command is shown, and nothing else is done
    assert sorted(tmp_path.rglob("*")) == before


def test_the_page_drawn_anew_keeps_the_command(run: Command, tmp_path: Path) -> None:
    assert run(*TRAIN, "--out", "first")[0] == 0
    assert run("solve", "--data", "digits", "--l2", "1", "--out", "second")[0] == 0
    before = [options_in(tmp_path / name) for name in ("first", "second")]
    assert run("report", "first")[0] == run("report", "second")[0] == 0
    assert [options_in(tmp_path / name) for name in ("first", "second")] == before
    command = LambdaPath.load(tmp_path / "second").command
    assert command is not None
    assert command.line.startswith("onelayer solve --l2 1")


def test_a_run_made_from_python_cannot_be_run_again_by_command(
    run: Command, tmp_path: Path
) -> None:
    from onelayer import Run, load, train
    from onelayer.training.run_folder import save_records

    save_records(train(load("digits"), [Run(0.1, epochs=1)]), tmp_path / "mine")
    code, _, err = run("rerun", "mine")
    assert code == 1
    assert "mine has no command to repeat" in err
