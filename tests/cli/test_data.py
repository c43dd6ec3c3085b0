"""Every option about the data reaches `load`, in every command that takes --data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onelayer import cli
from onelayer.training.result import Result
from tests.cli.conftest import Command

COMMANDS = {
    "reproduce": ("reproduce",),
    "train": ("train",),
    "solve": ("solve",),
    "best-linear": ("best-linear",),
    "suggest-learning-rate": ("suggest-learning-rate",),
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

    monkeypatch.setattr("onelayer.cli.options.load", load)
    words = (
        "--data a.csv --labels species --test t.csv --test-labels kind --test-size 0.3 "
        "--validation v.csv --validation-labels sort --validation-size 0.1 --split-seed 7 "
        "--features x*,z --drop x1 --id code --image-size 8x9 --stream "
        "--split fold --weights w --offsets o"
    )
    run(*COMMANDS[command], *words.split())
    run(*COMMANDS[command], "--validation-size", "0.4")
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
            "split": "fold",
            "groups": None,
            "weights": "w",
            "offsets": "o",
            "features": "x*,z",
            "drop": "x1",
            "id": "code",
            "image_size": "8x9",
            "stream": True,
        },
    )
    assert got[1][0] is None
    assert got[1][1]["validation_size"] == 0.4


def test_a_csv_is_trained_on_from_the_command_line(run: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{'pos' if a > b else 'neg'}" for a, b in rng.normal(size=(200, 2))]
    (tmp_path / "a.csv").write_text("\n".join(["a,b,sign", *rows]))
    code, _, err = run(
        "train", "--data", "a.csv", "--labels", "sign", "--learning-rate", "1",
        "--batch-size", "16", "--out", "done",
    )  # fmt: skip
    assert code == 0, err
    result = Result.load(tmp_path / "done")
    assert result.data.class_names == ("neg", "pos")
    assert result.test_accuracy[0] > 0.9


def test_what_is_wrong_with_a_file_is_one_sentence_and_exit_code_1(run: Command) -> None:
    code, out, err = run("suggest-learning-rate", "--data", "no.csv")
    assert (code, out) == (1, "")
    assert err == "error: no such file or folder: no.csv.\n"


def test_where_every_column_is_left_out_the_message_says_so(run: Command, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,label\n1,a\n2,b\n")
    _, _, err = run("solve", "--data", "a.csv", "--drop", "x")
    assert "no numeric column besides the labels and those that are left out" in err


def test_a_fraction_out_of_range_is_wrong_usage(run: Command) -> None:
    assert run("suggest-learning-rate", "--data", "x.npy", "--validation-size", "2")[0] == 2


def test_the_commands_still_have_their_own_help(run: Command) -> None:
    code, out, _ = run("train", "--help")
    assert code == 0
    assert "Train one setting or many" in out
    assert cli.train.train.__name__ == "train"


def test_columns_are_chosen_left_out_and_repeated_beside_predictions(
    run: Command, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{i:04d},{i},{a:.3f},{'ab'[i % 2]}" for i, a in enumerate(rng.normal(size=60))]
    Path("rows.csv").write_text("code,leak,x,kind\n" + "\n".join(rows) + "\n")
    words = "--data rows.csv --labels kind --drop leak --id code --epochs 1 --batch-size 8"
    assert run("train", *words.split(), "--out", "r")[0] == 0
    assert Result.load("r").best.feature_names == ("x",)
    code, out, _ = run("evaluate", "r", "--json")
    assert code == 0
    assert '"rows": 10' in out.replace("\n", " ")  # drawn by their ids, about a fifth of 60
    for ending in ("csv", "parquet", "npy"):
        assert run("predict", "r", "rows.csv", f"p.{ending}", "--id", "code")[0] == 0
    assert Path("p.csv").read_text().splitlines()[3].startswith('"0002","')
    assert np.load("p.npy")["code"].tolist() == [f"{i:04d}" for i in range(60)]
    code, _, err = run("predict", "r", "digits", "q.csv", "--id", "code")
    assert (code, "--id has no effect on digits" in err) == (2, True)
