"""The commands on rows that stay in their files, and what they say before they begin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from onelayer.data import load
from onelayer.training.result import Result
from onelayer.training.run_folder import saved_origin
from tests.cli.conftest import Command


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits in three files, with labels beside them."""
    folder = tmp_path_factory.mktemp("digits")
    splits = load("digits")
    X = np.concatenate([splits.train.X, splits.validation.X, splits.test.X])
    y = np.concatenate([splits.train.y, splits.validation.y, splits.test.y])
    for i, part in enumerate(np.array_split(np.arange(len(X)), 3)):
        np.save(folder / f"X-{i}.npy", X[part])
    np.save(folder / "labels.npy", y)
    return folder


def test_every_command_works_on_shards(shards: Path, run: Command, tmp_path: Path) -> None:
    data = ("--data", f"{shards}/X-*.npy", "--labels", f"{shards}/labels.npy", "--stream")
    fitted = str(tmp_path / "train")
    words = ("--learning-rate", "0.1", "--l2", "0.01", "--epochs", "5", "--shuffle-seed", "1",
             "--scaling", "standardize")  # fmt: skip
    code, _, err = run("train", *data, *words, "--out", fitted)
    assert code == 0, err
    assert "stay on disk, as requested" in err
    result = Result.load(Path(fitted))
    assert result.test_accuracy[0] > 0.85
    for command in (
        ("evaluate", fitted, *data),
        ("certify", fitted, *data),
        ("predict", fitted, f"{shards}/X-*.npy", str(tmp_path / "p.npy")),
        ("train", *data, "--learning-rate", "0.1,0.01", "--l2", "0", "--seeds", "1", "--epochs",
         "1", "--out", str(tmp_path / "train"), "--overwrite"),
        ("solve", *data, "--l2", "0.01", "--out", str(tmp_path / "solve")),
        ("suggest-learning-rate", *data),
    ):  # fmt: skip
        code, _, err = run(*command)
        assert code == 0, (command, err)
    assert len(np.load(tmp_path / "p.npy")) == 1797


def test_it_is_said_before_what_a_pass_takes(shards: Path, run: Command, tmp_path: Path) -> None:
    words = ("--learning-rate", "0.1,0.2", "--epochs", "1")
    data = ("--data", f"{shards}/X-*.npy", "--labels", f"{shards}/labels.npy", "--stream")
    _, _, err = run("train", *data, *words, "--out", str(tmp_path / "train"))
    said = " ".join(err.split())
    assert "1,151 rows of 64 uint8 features, 73.7 kB; about " in said
    assert "training 2 runs takes about" in said


def test_the_choice_to_stream_is_saved_and_given_again(
    shards: Path, run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine with more memory would load the rows and shuffle them in another way."""
    monkeypatch.setattr("onelayer.data.formats.registry.available_memory", lambda: 1000)
    words = ("train", "--data", f"{shards}/X-*.npy", "--labels", f"{shards}/labels.npy",
             "--learning-rate", "0.1", "--epochs", "1", "--shuffle-seed", "1")  # fmt: skip
    _, _, err = run(*words, "--out", str(tmp_path / "train"))
    assert "more than a quarter of the 1 kB" in " ".join(err.split())
    assert "--stream" in saved_origin(tmp_path / "train").command.line
    monkeypatch.setattr("onelayer.data.formats.registry.available_memory", lambda: 10**12)
    again = run("rerun", str(tmp_path / "train"), "--trust")
    assert "the same bits" in again[1], again[2]
    assert run(*words, "--no-stream", "--out", str(tmp_path / "loaded"))[0] == 0
    assert "--no-stream" in saved_origin(tmp_path / "loaded").command.line
    assert (Result.load(tmp_path / "loaded").W != Result.load(tmp_path / "train").W).any()


def test_ctrl_c_while_rows_are_read_ends_the_command(tmp_path: Path) -> None:
    X = np.zeros((40_000, 256), np.float16)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", np.arange(len(X)) % 2)
    words = ["train", "--data", "X.npy", "--labels", "y.npy", "--stream", "--learning-rate", "0.1",
             "--epochs", "100000"]  # fmt: skip
    # A shell's job in the background ignores SIGINT, and so would its children.
    with subprocess.Popen(
        [sys.executable, "-m", "onelayer", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stderr is not None
        while "a pass" not in process.stderr.readline():
            assert process.poll() is None
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
