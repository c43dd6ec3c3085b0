"""The commands say the same of the same rows, whatever file and order of columns they come in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.test_metamorphic import COLUMNS, FRAMES, NAMED, NAMES, over, tables, write

OTHERS = [(way, stream) for way, stream in NAMED if way not in FRAMES]


@pytest.fixture
def model(run: Command) -> str:
    for role, table in tables().items():
        write("parquet", Path(role), table)
    words = "--data train.parquet --validation validation.parquet --test test.parquet --l2 0.05"
    code, _, err = run("solve", *words.split(), "--out", "r")
    assert code == 0, err
    return "r"


@over(OTHERS)
def test_evaluate_certify_and_predict_say_the_same_of_every_file_of_the_same_rows(
    way: str, stream: bool, run: Command, model: str
) -> None:
    table = tables()["test"].select([*(NAMES[i] for i in COLUMNS), "label"])
    other = str(write(way, Path("other"), table))
    shards = str(write(way, Path("shards"), table, 3))
    read = ["--stream"] if stream else []
    for source in (other, shards):
        for command, usual, words in (
            ("evaluate", ["--test", "test.parquet"], ["--test", source, *read]),
            ("certify", ["--data", "test.parquet"], ["--data", source, *read]),
        ):
            code, wanted, err = run(command, model, *usual, "--json")
            assert code == 0, err
            code, found, err = run(command, model, *words, "--json")
            assert code == 0, err
            assert found == wanted
        assert run("predict", model, "test.parquet", "wanted.csv")[0] == 0
        assert run("predict", model, source, "found.csv")[0] == 0
        assert Path("found.csv").read_text() == Path("wanted.csv").read_text()
