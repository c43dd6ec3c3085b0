"""The tables of what-travels.md name all that the code has, and nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

import onelayer as ol
from onelayer.data.dataset import DataCard
from onelayer.experiments.best_linear import Recipe

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "what-travels.md"
ABOUT_THE_FILE = {"format", "version", "sha256"}


def named(heading: str, column: int) -> set[str]:
    """What a column of the first table under a heading names as code."""
    text = PAGE.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")][2:]
    found = [name for row in rows for name in re.findall("`([^`]+)`", row[column])]
    assert len(set(found)) == len(found), f"twice: {sorted(found)}"
    return set(found)


@pytest.fixture(scope="module")
def data() -> ol.Splits:
    rng = np.random.default_rng(0)
    kinds = np.array(["cat", "dog"] * 30)
    X = rng.normal(size=(60, 3)) + (kinds == "dog")[:, None]
    return ol.split(X, kinds, feature_names=("a", "b", "c"))


@pytest.fixture(scope="module")
def solved(data: ol.Splits) -> ol.Path:
    return ol.solve_path(data, [0.1, 0.01], folds=2)


@pytest.fixture(scope="module")
def trained(data: ol.Splits) -> ol.Result:
    return ol.train(data, ol.Run(learning_rate=0.1, epochs=1))


def test_every_part_of_a_model_is_in_the_table() -> None:
    assert named("The model", 1) == {field.name for field in fields(ol.Model)}


def test_every_part_of_a_model_file_is_in_the_table(solved: ol.Path, tmp_path: Path) -> None:
    solved.best.save(tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "np") as file:
        stored = set(file.keys()) | set(file.metadata()) - ABOUT_THE_FILE
    assert named("The model", 2) == stored


@pytest.mark.usefixtures("blank_pages")
def test_what_the_table_names_in_a_run_folder_is_there(trained: ol.Result, tmp_path: Path) -> None:
    trained.save(tmp_path / "run")
    settings = json.loads((tmp_path / "run" / "settings.json").read_text("utf-8"))
    for name in named("The model", 3):
        found: Any = settings
        for part in name.split("."):
            found = found[part]


def test_every_setting_of_a_model_is_in_the_table(solved: ol.Path, trained: ol.Result) -> None:
    held = set(ol.solve(ol.load("digits"), l1=0.1).settings)
    held |= set(solved.best.settings) | set(trained.best.settings) | {"seeds"}
    held |= {field.name for field in fields(Recipe)}  # of a best linear classifier
    card = replace(trained.data, first_index=1)  # of columns that files number
    named_so = ol.Model.of_data(np.eye(2, 3), np.zeros(2), None, card, {}, {}, None)  # type: ignore[arg-type]
    held |= set(named_so.settings)
    held |= set(ol.SoftmaxClassifier().fit([[0.0], [1.0]], [0, 1]).to_model().settings)
    assert named("Its settings", 0) == held


def test_every_field_of_a_data_card_is_in_the_table() -> None:
    assert named("The data card", 0) == {field.name for field in fields(DataCard)}
