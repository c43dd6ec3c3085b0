"""The command line as a user meets it: what it prints, what it leaves, how it exits."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from onelayer.cli import output
from onelayer.cli.app import app
from onelayer.data import cached
from onelayer.errors import OnelayerError
from onelayer.training.loop import Training
from onelayer.training.result import Result
from tests.cli.conftest import Command


@pytest.mark.usefixtures("drawn_pages")
def test_reproduce_leaves_a_page_that_report_redraws_from_the_records(
    run: Command, tmp_path: Path
) -> None:
    code, out, err = run("reproduce", "--data", "digits", "--seeds", "2")
    assert code == 0, err
    folder = tmp_path / "runs" / "reproduce"
    for name in ("λ=0, η=0.1", "λ=0, η=0.01", "λ=0.1, η=0.01", "λ=1, η=0.01"):
        assert name in out
    assert "runs/reproduce/report.html" in out
    assert len(Result.load(folder).runs) == 8
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["reproduce"]
    page, weights = (folder / "report.html").read_bytes(), folder / "weights.safetensors"
    kept = weights.read_bytes()
    assert len(page) > 100_000
    (folder / "report.html").unlink()
    code, _, _ = run("report", str(folder))
    assert code == 0
    assert (folder / "report.html").read_bytes() == page
    assert weights.read_bytes() == kept


def test_reproduce_only_trains_the_settings_that_are_named(run: Command, tmp_path: Path) -> None:
    code, out, _ = run(
        "reproduce", "--data", "digits", "--seeds", "1", "--only", "l2-1,l2-0.1", "--out", "some"
    )
    assert code == 0
    assert "λ=1, η=0.01" in out
    assert "η=0.1 " not in out
    assert Result.load(tmp_path / "some").settings == ("λ=0.1, η=0.01", "λ=1, η=0.01")


def test_both_engines_and_any_number_of_threads_give_the_same_accuracies(
    run: Command, tmp_path: Path
) -> None:
    ways = {"1": ("--threads", "1"), "3": ("--threads", "3"), "r": ("--engine", "reference")}
    train = ("train", "--data", "digits", "--lr", "0.1", "--epochs", "3", "--out")
    for name, words in ways.items():
        assert run(*train, name, *words)[0] == 0
    one, three, reference = (Result.load(tmp_path / name) for name in ways)
    np.testing.assert_array_equal(one.W, three.W)
    np.testing.assert_array_equal(one.test_accuracy, reference.test_accuracy)
    assert one.environment["engine"] == "native"
    assert one.environment["instruction_set"]
    assert reference.environment["engine"] == "reference"


def test_a_diverged_run_is_noted_and_the_command_succeeds(run: Command) -> None:
    code, out, err = run(
        "train", "--data", "digits", "--epochs", "2", "--learning-rate", "0.1,1e30", "--l2", "1"
    )
    assert code == 0
    assert "diverged in epoch 1: with η = 1e+30" in err
    assert "diverged" in out


def test_check_gradient_prints_both_parameters_at_three_batch_sizes(run: Command) -> None:
    code, out, _ = run("check-gradient", "--data", "digits")
    assert code == 0
    for word in ("W", "b", "20", "100", "0.1", "max", "median"):
        assert word in out


def test_check_gradient_fails_when_the_gradients_disagree(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onelayer.objective import gradcheck
    from onelayer.objective.loss import Gradient, gradient

    monkeypatch.setattr(
        gradcheck, "gradient", lambda *a: Gradient(1.001 * gradient(*a).W, gradient(*a).b)
    )
    code, _, err = run("check-gradient", "--data", "digits")
    assert code == 1
    assert "disagree" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("train --learning-rate 0", "learning_rate (η) must be"),
        ("train --lr -1", "learning_rate (η) must be"),
        ("train --learning-rate nan", "--learning-rate must be numbers"),
        ("train --l2 -0.1", "l2 (λ) must be"),
        ("train --C 0", "C must be a finite number above 0"),
        ("train --C 1 --l2 0.1", "--l2 and --C set the same penalty"),
        ("train --batch-size 0", "batch_size must be"),
        ("train --scaling max", "scaling must"),
        ("train --dtype int8", "dtype must be"),
        ("train --test-size 20", "test_size (--test-size) must be a fraction above 0 and below 1"),
        ("solve --validation-size 0", "validation_size (--validation-size) must be a fraction"),
        ("train --split-seed -1", "split_seed (--split-seed) must be a whole number, 0 or above"),
        ("reproduce --only eta", "unknown experiment 'eta'"),
        ("reproduce --seeds 0", "seeds must be"),
        ("train --seeds 1e6", "at most 100,000 runs are trained together"),
        ("train --data digits --lr 1e-4:1:99999 --seeds 2", "at most 100,000 runs are trained"),
        ("train --data digits --lr 1e-4:1 --random 1000000", "at most 100,000 runs are trained"),
        ("train --data digits --epochs 100000000000", "need 1.36e+05 GB of memory for"),
        ("train --seeds 1e30", "seeds must be a whole number, below"),
        ("train --random 1e30", "--random"),
        ("reproduce --engine gpu", "engine must be one of"),
        ("reproduce --threads 0", "threads must be 1 or above"),
        ("reproduce --engine reference --threads 1", "for the native engine only"),
        ("train --learning-rte 0.1", "No such option"),
        ("train --learning-rate fast", "--learning-rate must be numbers"),
        ("tain", "No such command 'tain'. Did you mean 'train'?"),
        ("solve --tol 0", "tol must be a finite number above 0"),
        ("solve --folds 1", "folds must be a whole number, 2 or above"),
        ("solve --l2 -1", "l2 (λ) must be"),
        ("certify runs --l2 -1", "l2 (λ) must be"),
        ("suggest-learning-rate --batch-size 0", "batch_size must be"),
        ("check-gradient --label-smoothing 1", "label_smoothing"),
        ("compare runs/a b runs/a", "runs/a is named twice; name different models to compare"),
        ("train --random 5 --lr 0.1", "draw fewer (n, --random), or give a range such as"),
        ("evaluate runs --on all", "--on must be one of test"),
    ],
)
def test_a_wrong_value_exits_2_in_one_sentence_before_data_are_loaded(
    words: str, sentence: str, run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("onelayer.data.load"), "load_cifar10", None)
    code, out, err = run(*words.split())
    assert (code, out) == (2, "")
    assert sentence in " ".join(err.split())
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_the_data_make_wrong_is_refused_before_the_progress_bar(
    run: Command, tmp_path: Path
) -> None:
    code, _, err = run("train", "--data", "digits", "--batch-size", "99999")
    assert code == 2
    assert err.startswith("error: batch_size must be at most the number of training rows, 1000")
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_missing_data_folder_exits_1_and_names_it(run: Command, tmp_path: Path) -> None:
    code, _, err = run("reproduce", "--data", "nowhere")
    assert code == 1
    assert "nowhere" in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_a_run_is_refused_before_any_work(
    run: Command, tmp_path: Path
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("precious")
    code, _, err = run("reproduce", "--data", "nowhere", "--out", "thesis")
    assert code == 1
    assert "holds other files" in err
    code, _, err = run("report", "thesis")
    assert code == 1
    assert "thesis is not a run folder: it has no manifest.json" in err


def test_a_full_disk_exits_1_and_leaves_nothing_but_the_checkpoint_to_save_again_from(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    code, _, err = run("train", "--data", "digits", "--learning-rate", "0.1", "--epochs", "1")
    assert code == 1
    assert "No space left on device" in err
    assert "The checkpoints are kept: --resume" in err
    assert [path.name for path in tmp_path.glob("runs/train/*")] == ["checkpoints"]


def test_ctrl_c_while_training_saves_what_was_trained_and_exits_130(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, calls = Training.record, []

    def third_is_interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return record(*arguments)

    monkeypatch.setattr(Training, "record", third_is_interrupted)
    code, _, err = run("train", "--data", "digits", "--lr", "0.1", "--epochs", "9")
    assert code == 130
    assert "interrupted: the weights of 1 of 9 epochs are kept" in err
    assert Result.load(tmp_path / "runs" / "train").outcomes[0].status == "interrupted"


def test_initial_weights_of_an_interrupted_grid_are_never_called_the_best(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("onelayer.engines.native.NativeTrainer.epoch", interrupted)
        code, out, err = run("train", "--data", "digits", "--lr", "0.1,0.2", "--epochs", "9")
    assert code == 130
    assert "interrupted before the first epoch: all figures are those of the initial weights" in err
    assert out.count("1 of 1 interrupted") == 2
    assert "none is best: the runs were interrupted before their first epoch" in out
    assert "best by validation" not in out
    code, _, err = run("evaluate", "runs/train")
    assert "training was interrupted before the first epoch: the weights are the initial" in err


def test_ctrl_c_before_training_saves_nothing_and_exits_130(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onelayer.cli.options.load_splits", interrupted)
    code, _, err = run("reproduce")
    assert code == 130
    assert err.endswith("interrupted.\n")
    assert list(tmp_path.iterdir()) == []


COMMANDS = (
    "train", "solve", "probe", "reproduce", "best-linear", "suggest-learning-rate",
    "check-gradient", "evaluate", "compare", "predict", "inspect", "calibrate", "export", "certify",
    "report", "rerun", "data list", "data fetch",
)  # fmt: skip


def test_help_lists_every_command_in_the_order_of_their_use(run: Command) -> None:
    code, out, _ = run("--help")
    assert code == 0
    names = dict.fromkeys(command.split()[0] for command in COMMANDS)
    places = [out.index(f"  {name} ") for name in names]
    assert places == sorted(places)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_80_columns_and_says_what_each_option_is(command: str, run: Command) -> None:
    code, out, _ = run(*command.split(), "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert len(out.splitlines()) <= 130
    assert f"Usage: onelayer {command} [OPTIONS]" in out
    assert f"  onelayer {command}" in out.partition("Example")[2]
    shown = " ".join(out.split())
    for parameter in parameters_of(command):
        name = parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[0]
        assert name in shown
        assert parameter.help, name
        assert " ".join(parameter.help.split()) in shown.replace("- ", "-"), name


def parameters_of(command: str) -> list[Any]:
    one: Any = typer.main.get_command(app)
    for name in command.split():
        one = one.commands[name]
    return list(one.params)


def test_the_help_of_all_commands_lists_each_in_a_panel(run: Command) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    for name in {command.split()[0] for command in COMMANDS}:
        assert re.search(rf"^  {name} +[A-Z]", out, flags=re.MULTILINE)


def test_completion_is_offered_for_the_shells(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The shell is looked for among the parents of the process; tests may have none.
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    code, out, _ = run("--show-completion")
    assert code == 0
    assert "_ONELAYER_COMPLETE=complete_bash" in out
    assert "--install-completion" in run("--help")[1]


def test_data_list_says_when_nothing_is_cached(
    run: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ONELAYER_CACHE", str(tmp_path / "cache"))
    assert not any(record.state == "verified" for record in cached())
    code, out, _ = run("data", "list")
    assert code == 0
    assert str(tmp_path / "cache") in out.replace("\n", "")


def test_data_list_prints_each_file_as_json(
    run: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ONELAYER_CACHE", str(tmp_path / "cache"))
    code, out, _ = run("data", "list", "--json")
    assert code == 0
    told = json.loads(out)
    assert [one["file"] for one in told] == [record.file for record in cached()]
    assert {one["state"] for one in told} == {"missing"}


def test_of_many_runs_that_diverge_eight_are_noted_and_the_rest_counted(run: Command) -> None:
    code, _, err = run("train", "--data", "digits", "--l2", "1", "--lr", "1e30:1e31:10")
    assert code == 0
    assert err.count(" diverged in epoch 1: ") == 8
    assert "note: 2 more runs ended the same way; see the page\n" in err


def test_the_installed_command_and_the_module_are_the_same(tmp_path: Path) -> None:
    for command in (
        [sys.executable, "-m", "onelayer"],
        [str(Path(sys.executable).parent / "onelayer")],
    ):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0
        assert done.stdout.strip().startswith("onelayer ")


def test_errors_are_of_one_family() -> None:
    from onelayer import errors

    raised = [getattr(errors, n) for n in dir(errors) if n.endswith("Error")]
    assert all(issubclass(e, OnelayerError) for e in raised if e is not OnelayerError)


def test_what_is_printed_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for show in (output.print_line, output.note):
        show("a run called \x1b]0;title\x07 of two\nlines")
    out, err = capsys.readouterr()
    assert out == "a run called \\x1b]0;title\\x07 of two\\nlines\n"
    assert err == f"note: {out}"
