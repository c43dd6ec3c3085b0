"""The command line as a user meets it: what it prints, what it leaves, how it exits."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onelayer import cli
from onelayer.data import cached
from onelayer.errors import OnelayerError
from onelayer.training.run_folder import load_result


def onelayer(
    *words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """Run a command in this process: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["onelayer", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    code = ended.value.code
    assert isinstance(code, int)
    return code, printed.out, printed.err


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Run commands in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: onelayer(*words, monkeypatch=monkeypatch, capsys=capsys)


def test_reproduce_leaves_the_page_and_prints_the_table(run: Command, tmp_path: Path) -> None:
    code, out, err = run("reproduce", "--data", "digits", "--seeds", "2")
    assert code == 0, err
    folder = tmp_path / "runs" / "reproduce"
    assert (folder / "report.html").stat().st_size > 100_000
    for name in ("λ=0, η=0.1", "λ=0, η=0.01", "λ=0.1, η=0.01", "λ=1, η=0.01"):
        assert name in out
    assert "runs/reproduce/report.html" in out
    assert len(load_result(folder).runs) == 8
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["reproduce"]


def test_reproduce_only_trains_the_settings_that_are_named(run: Command, tmp_path: Path) -> None:
    code, out, _ = run(
        "reproduce", "--data", "digits", "--seeds", "1", "--only", "l2-1", "--out", "one"
    )
    assert code == 0
    assert "λ=1, η=0.01" in out
    assert "η=0.1 " not in out
    assert load_result(tmp_path / "one").settings == ("λ=1, η=0.01",)


def test_both_engines_and_any_number_of_threads_give_the_same_accuracies(
    run: Command, tmp_path: Path
) -> None:
    ways = {"1": ("--threads", "1"), "3": ("--threads", "3"), "r": ("--engine", "reference")}
    fit = ("fit", "--data", "digits", "--learning-rate", "0.1", "--epochs", "3", "--out")
    for name, words in ways.items():
        assert run(*fit, name, *words)[0] == 0
    one, three, reference = (load_result(tmp_path / name) for name in ways)
    np.testing.assert_array_equal(one.W, three.W)
    np.testing.assert_array_equal(one.test_accuracy, reference.test_accuracy)
    assert one.environment["engine"] == "native"
    assert one.environment["instruction_set"]
    assert reference.environment["engine"] == "reference"


def test_fit_trains_the_grid_that_is_asked_for(run: Command, tmp_path: Path) -> None:
    code, out, _ = run(
        *("fit", "--data", "digits", "--learning-rate", "0.2", "--learning-rate", "0.1"),
        *("--l2", "0", "--l2", "0.01", "--epochs", "2", "--batch-size", "50", "--seeds", "2"),
        *("--shuffle-seed", "3", "--scaling", "standardize", "--dtype", "float64"),
    )
    assert code == 0
    result = load_result(tmp_path / "runs" / "fit")
    assert len(result.runs) == 8
    assert {r.learning_rate for r in result.runs} == {0.2, 0.1}
    assert {(r.batch_size, r.epochs, r.shuffle_seed) for r in result.runs} == {(50, 2, 3)}
    assert result.W.dtype == np.float64
    assert result.scaling.name == "standardize"
    assert "λ=0.01, η=0.2" in out


def test_a_diverged_run_is_said_and_the_command_is_done(run: Command) -> None:
    code, out, err = run(
        *("fit", "--data", "digits", "--epochs", "2"),
        *("--learning-rate", "0.1", "--learning-rate", "1e30", "--l2", "1"),
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
    from onelayer.objective.cost import Gradient, gradient

    monkeypatch.setattr(
        gradcheck, "gradient", lambda *a: Gradient(1.001 * gradient(*a).W, gradient(*a).b)
    )
    code, _, err = run("check-gradient", "--data", "digits")
    assert code == 1
    assert "disagree" in err


def test_report_draws_the_page_of_a_saved_run_anew(run: Command, tmp_path: Path) -> None:
    run("fit", "--data", "digits", "--learning-rate", "0.1", "--epochs", "1")
    folder = tmp_path / "runs" / "fit"
    page = (folder / "report.html").read_bytes()
    weights = (folder / "weights.safetensors").read_bytes()
    (folder / "report.html").unlink()
    code, _, _ = run("report", str(folder))
    assert code == 0
    assert (folder / "report.html").read_bytes() == page
    assert (folder / "weights.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fit", "--data", "digits", "--learning-rate", "0"), "learning_rate (η) must be"),
        (("fit", "--data", "digits", "--learning-rate", "-1"), "learning_rate (η) must be"),
        (("fit", "--data", "digits", "--learning-rate", "nan"), "learning_rate (η) must be"),
        (
            ("fit", "--data", "digits", "--learning-rate", "0.1", "--l2", "-0.1"),
            "l2 (λ) must be",
        ),
        (
            ("fit", "--data", "digits", "--learning-rate", "0.1", "--batch-size", "0"),
            "batch_size must be",
        ),
        (
            ("fit", "--data", "digits", "--learning-rate", "0.1", "--batch-size", "99999"),
            "at most the number of training rows",
        ),
        (("fit", "--data", "digits", "--learning-rate", "0.1", "--scaling", "max"), "scaling must"),
        (("fit", "--data", "digits", "--learning-rate", "0.1", "--dtype", "int8"), "dtype must be"),
        (("reproduce", "--data", "digits", "--only", "eta"), "unknown experiment 'eta'"),
        (("reproduce", "--data", "digits", "--seeds", "0"), "seeds must be"),
        (("reproduce", "--data", "digits", "--engine", "gpu"), "engine must be one of"),
        (("reproduce", "--data", "digits", "--threads", "0"), "threads must be 1 or above"),
        (
            ("reproduce", "--data", "digits", "--engine", "reference", "--threads", "1"),
            "for the native engine only",
        ),
        (("fit", "--learning-rte", "0.1"), "No such option"),
        (("fit", "--data", "digits"), "needs --learning-rate"),
        (("fit", "--data", "digits", "--learning-rate", "fast"), "--learning-rate"),
        (("train",), "No such command"),
    ],
)
def test_wrong_usage_exits_2_says_what_is_wrong_and_leaves_nothing(
    words: tuple[str, ...], said: str, run: Command, tmp_path: Path
) -> None:
    code, _, err = run(*words)
    assert code == 2
    assert said in " ".join(err.split())
    assert "Traceback" not in err
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
    assert "settings.json is not there" in err


def test_a_full_disk_exits_1_and_leaves_nothing(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    code, _, err = run("fit", "--data", "digits", "--learning-rate", "0.1", "--epochs", "1")
    assert code == 1
    assert "No space left on device" in err
    assert list(tmp_path.glob("runs/*")) == []


def test_ctrl_c_while_training_saves_what_was_trained_and_exits_130(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = importlib.import_module("onelayer.training.loop")
    enter = loop.Job.enter
    calls = []

    def third_is_interrupted(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return enter(*arguments)

    monkeypatch.setattr(loop.Job, "enter", third_is_interrupted)
    code, _, err = run("fit", "--data", "digits", "--learning-rate", "0.1", "--epochs", "9")
    assert code == 130
    assert "after 1 of 9 epochs" in err
    assert load_result(tmp_path / "runs" / "fit").outcomes[0].status == "interrupted"


def test_ctrl_c_before_training_saves_nothing_and_exits_130(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.train, "load_splits", interrupted)
    code, _, err = run("reproduce")
    assert code == 130
    assert "nothing was saved" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        "reproduce",
        "fit",
        "path",
        "certify",
        "suggest",
        "check-gradient",
        "report",
        "sweep",
        "rerun",
        "data list",
        "data fetch",
    ],
)
def test_every_command_has_help(command: str, run: Command) -> None:
    code, out, _ = run(*command.split(), "--help")
    assert code == 0
    assert "Usage:" in out
    if not command.startswith("data"):
        assert "Example:" in out


def test_data_list_says_when_nothing_is_cached(
    run: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ONELAYER_CACHE", str(tmp_path / "cache"))
    assert not any(record.verified for record in cached())
    code, out, _ = run("data", "list")
    assert code == 0
    assert str(tmp_path / "cache") in out.replace("\n", "")


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
