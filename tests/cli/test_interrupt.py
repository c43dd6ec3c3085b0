"""Ctrl-C, SIGTERM and SIGHUP end a command with one line and 128 + n, wherever they come."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from onelayer import Result, load, reproduce
from onelayer.cli import interrupt
from onelayer.engines.native import NativeTrainer
from onelayer.solver.solver import Solver
from onelayer.training import sweep as sweeping
from onelayer.training.run_folder import saved_origin
from tests.cli.conftest import Command

# Runs a command that gets a signal when a module is imported.
CHILD = """
import importlib.abc, os, signal, sys

number, module, how = int(sys.argv[1]), sys.argv[2], sys.argv[3]
signal.signal(number, signal.SIG_IGN if how == "ignored" else signal.SIG_DFL)
if number == signal.SIGINT and how != "ignored":
    signal.signal(number, signal.default_int_handler)

class AtImport(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            try:
                os.kill(os.getpid(), number)
                signal.getsignal(number)  # the handler runs between two instructions
            except KeyboardInterrupt:
                if how == "turned":
                    raise ImportError("the library could not be loaded") from None
                raise

sys.meta_path.insert(0, AtImport())
sys.argv[1:] = sys.argv[4:]
from onelayer import cli
cli.main()
"""


# Loaded by `python -m onelayer` before anything of onelayer: Ctrl-C before it listens.
AT_START = """
import importlib.abc, os, signal, sys

class AtImport(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "onelayer.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, AtImport())
"""


def in_child(number: int, module: str, how: str, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(number), module, how, *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", interrupt.ENDING)
def test_a_signal_while_modules_are_imported_ends_with_one_line(number: int) -> None:
    assert in_child(number, "numpy", "default", "data", "list") == (128 + number, "interrupted.\n")


@pytest.mark.slow
def test_ctrl_c_before_a_command_listens_ends_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(AT_START)
    where = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "onelayer", "data", "list"],
        env={**os.environ, "PYTHONPATH": where}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


@pytest.mark.slow
def test_a_signal_that_a_library_turns_into_an_error_ends_with_one_line(tmp_path: Path) -> None:
    words = ("solve", "--data", "digits", "--l2", "1", "--out", str(tmp_path / "r"))
    code, said = in_child(signal.SIGINT, "pyarrow", "turned", *words)
    assert (code, said.splitlines()[-1]) == (130, "interrupted.")
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_signal_that_was_ignored_from_the_start_stays_so() -> None:
    """As under nohup, and for a background job of a shell."""
    code, said = in_child(signal.SIGHUP, "numpy", "ignored", "data", "list")
    assert (code, said) == (0, "")


def weights(folder: str) -> bytes:
    return (Path(folder) / "weights.safetensors").read_bytes()


@pytest.fixture
def pressed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Ctrl-C in the first epoch in which the best run is trained once more, while it holds True."""
    watched, now = sweeping._with_best, [True]

    def with_best(*work: Any) -> Result:
        def press(self: NativeTrainer, *steps: Any) -> None:
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            if now[0]:
                patch.setattr(NativeTrainer, "epoch", press)
            return watched(*work)

    monkeypatch.setattr(sweeping, "_with_best", with_best)
    return now


@pytest.mark.slow
def test_a_sweep_interrupted_at_its_best_run_is_not_finished_and_resumes(
    run: Command, pressed: list[bool]
) -> None:
    words = ("train", "--data", "digits", "--lr", "0.05,0.1", "--epochs", "3",
             "--checkpoint-every", "0")  # fmt: skip
    code, _, err = run(*words)
    assert code == 130
    assert "interrupted: the weights of 6 of 6 epochs over 2 runs are kept, but not all" in err
    given = "--learning-rate 0.05,0.1 --epochs 3 --data digits --out runs/train"
    assert err.endswith(f"resume with: onelayer train {given} --resume\n"), "no default is repeated"
    assert Result.load("runs/train").interrupted
    assert saved_origin("runs/train").interrupted
    assert list(Path("runs/train/checkpoints").iterdir())
    pressed[0] = False
    code, out, err = run(*shlex.split(err.partition("resume with: ")[2])[1:])
    assert code == 0, err
    assert "has finished" not in out
    assert run(*words, "--out", "whole")[0] == 0
    assert weights("runs/train") == weights("whole")
    assert not saved_origin("runs/train").interrupted


@pytest.mark.slow
def test_the_cost_on_the_way_is_never_written_as_an_optimum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluate, count = Solver._evaluate, [0]

    def press(self: Solver, *at: Any) -> Any:
        count[0] += 1
        if count[0] == 4:
            raise KeyboardInterrupt
        return evaluate(self, *at)

    monkeypatch.setattr(Solver, "_evaluate", press)
    result = reproduce(load("digits"), only=["l2-0.1", "l2-1"], seeds=1)
    assert count[0] >= 4
    assert (result.optima, result.interrupted, result.cut_short) == ((), True, True)
    assert result.outcomes[0].status == "finished"


def test_certificates_that_ctrl_c_left_out_are_not_those_of_a_finished_run(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onelayer.training.loop.certify_all", press)
    code, _, err = run("train", "--data", "digits", "--lr", "0.1", "--epochs", "2")
    assert code == 130, err
    result = Result.load("runs/train")
    assert (result.certificates, result.cut_short) == ((), True)


def test_ctrl_c_after_a_run_was_saved_says_that_it_is(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onelayer.cli.runs.print_table", press)
    code, _, err = run("train", "--data", "digits", "--lr", "0.1", "--epochs", "2")
    assert code == 130
    assert err.endswith("note: interrupted; the run is saved: runs/train\n")
    assert not Result.load("runs/train").interrupted


def test_a_signal_that_is_lost_in_a_callback_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python prints and forgets what is raised in __del__ and in callbacks."""
    signals = interrupt._Signals()
    signals.received = signal.SIGINT
    monkeypatch.setattr(interrupt, "AGAIN_SECONDS", 0.0)

    class Lost:
        exc_value = KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        signals.lost(Lost)
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()
        assert thread, "Python answers signals between its steps"
