"""Every option about the data reaches `load`, in every command that takes --data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onelayer import cli
from onelayer.cli.options import DataOptions
from onelayer.training.run_folder import load_result

from .test_app import Command, run

__all__ = ["run"]  # a fixture

COMMANDS = {
    "reproduce": ("reproduce",),
    "fit": ("fit", "--learning-rate", "0.1"),
    "path": ("path",),
    "suggest": ("suggest",),
    "check-gradient": ("check-gradient",),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_passes_every_option_on(
    command: str, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[tuple[Any, dict[str, Any]]] = []

    def load(data: Any, **choices: Any) -> None:
        got.append((data, choices))
        raise KeyboardInterrupt

    monkeypatch.setattr("onelayer.data.load", load)
    words = (
        "--data a.csv --labels species --test t.csv --test-labels kind --test-size 0.3 "
        "--validation v.csv --validation-labels sort --validation-size 0.1 --split-seed 7 "
        "--image-size 8x9 --stream"
    )
    run(*COMMANDS[command], *words.split())
    run(*COMMANDS[command])
    assert got[0] == (
        "a.csv",
        {
            "labels": "species",
            "test": "t.csv",
            "test_labels": "kind",
            "test_size": 0.3,
            "validation": "v.csv",
            "validation_labels": "sort",
            "validation_size": 0.1,
            "split_seed": 7,
            "image_size": "8x9",
            "stream": True,
        },
    )
    nothing = DataOptions()
    assert got[1][0] is None
    assert got[1][1]["validation_size"] == nothing.validation_size


def test_a_csv_is_trained_on_from_the_command_line(run: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{'pos' if a > b else 'neg'}" for a, b in rng.normal(size=(200, 2))]
    (tmp_path / "a.csv").write_text("\n".join(["a,b,sign", *rows]))
    code, _, err = run(
        "fit", "--data", "a.csv", "--labels", "sign", "--learning-rate", "1",
        "--batch-size", "16", "--out", "done",
    )  # fmt: skip
    assert code == 0, err
    result = load_result(tmp_path / "done")
    assert result.data.class_names == ("neg", "pos")
    assert result.test_accuracy[0] > 0.9


def test_what_is_wrong_with_a_file_is_one_sentence_and_exit_code_1(run: Command) -> None:
    code, out, err = run("suggest", "--data", "no.csv")
    assert (code, out) == (1, "")
    assert err == "error: no such file or folder: no.csv.\n"


def test_a_fraction_out_of_range_is_wrong_usage(run: Command) -> None:
    assert run("suggest", "--data", "x.npy", "--test-size", "2")[0] == 2


def test_the_commands_still_have_their_own_help(run: Command) -> None:
    code, out, _ = run("fit", "--help")
    assert code == 0
    assert "Train a grid of settings" in out
    assert cli.train.fit.__name__ == "fit"
