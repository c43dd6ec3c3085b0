"""Commands on rows of many labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Command
from tests.test_many_labels import NAMES, written


def test_commands_take_columns_of_many_labels(run: Command, tmp_path: Path) -> None:
    written(tmp_path)
    rows = ("--data", "c.csv", "--labels", "is_*")
    code, said, _ = run("solve", *rows, "--l2", "0.01", "--scoring", "f1_macro", "--out", "m")
    assert code == 0
    assert "macro F1" in said
    code, said, _ = run("evaluate", "m", "--scoring", "f1_micro")
    assert code == 0
    assert "subset accuracy" in said
    _, said, _ = run("evaluate", "m", "--scoring", "f1_micro", "--json")
    found = json.loads(said)
    assert [label["name"] for label in found["labels"]] == [f"is_{name}" for name in NAMES]
    assert found["metrics"]["f1_micro"]["value"] == pytest.approx(found["f1_micro"], abs=1e-12)
    assert run("predict", "m", "X.npy", "p.npy")[0] == 0
    assert np.load("p.npy")["label"].shape == (300, 4)
    code, said, _ = run("train", *rows, "--loss", "sigmoid", "--epochs", "1", "--out", "r")
    assert code == 0
    code, _, wrong = run("train", *rows, "--epochs", "1", "--out", "r2")
    assert code == 2
    assert "(--loss sigmoid)" in wrong
