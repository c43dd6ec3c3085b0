"""An output never takes the place of what the command reads, under whatever name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onelayer import _native
from tests.cli.conftest import Command
from tests.model.datasets import make_model, make_rows


@pytest.fixture
def inputs(run: Command, tmp_path: Path) -> Command:
    """Rows under several names and a model."""
    make_model(feature_names=None).save(tmp_path / "m.safetensors")
    (tmp_path / "shards").mkdir()
    for i in range(2):
        np.save(tmp_path / "shards" / f"{i}.npy", make_rows(5))
    np.save(tmp_path / "rows.npy", make_rows(5))
    (tmp_path / "link.npy").symlink_to("rows.npy")
    os.link(tmp_path / "rows.npy", tmp_path / "hard.npy")
    (tmp_path / "out.npy").symlink_to("shards/1.npy")
    return run


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "m.safetensors", "rows.npy", "rows.npy"),
        ("predict", "m.safetensors", "./rows.npy", "shards/../rows.npy"),
        ("predict", "m.safetensors", "rows.npy", "link.npy"),
        ("predict", "m.safetensors", "link.npy", "rows.npy"),
        ("predict", "m.safetensors", "rows.npy", "hard.npy"),
        ("predict", "m.safetensors", "shards", "shards/0.npy"),
        ("predict", "m.safetensors", "shards", "out.npy"),
        ("predict", "m.safetensors", "shards/*.npy", "shards/1.npy"),
        ("export", "m.safetensors", "m.safetensors", "--to", "torch"),
        ("best-linear", "--data", "rows.npy", "--labels", "y.npy", "--out", "hard.npy"),
    ],
)
def test_an_output_that_is_an_input_is_refused_and_stays_as_it_is(
    inputs: Command, tmp_path: Path, words: tuple[str, ...]
) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, _, err = inputs(*words)
    assert (code, err.count("\n")) == (2, 1)
    assert "is read by this command" in err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_output_beside_the_rows_is_written(inputs: Command, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("old")
    assert inputs("predict", "m.safetensors", "rows.npy", "p.csv")[0] == 0
    assert (tmp_path / "p.csv").read_text().startswith('"row"')


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--data", "digits", "--out", "NAME"),
        ("predict", "NAME", "digits", "p.csv"),
        ("predict", "m.safetensors", "NAME.npy", "p.csv"),
        ("predict", "m.safetensors", "rows.npy", "NAME.csv"),
        ("export", "m.safetensors", "NAME.onnx"),
        ("evaluate", "NAME"),
        ("train", "--config", "NAME"),
    ],
)
def test_a_name_of_256_letters_is_one_sentence(inputs: Command, words: tuple[str, ...]) -> None:
    code, _, err = inputs(*(word.replace("NAME", "x" * 256) for word in words))
    assert code in (1, 2)
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "File name too long" in err


def test_predictions_on_a_full_disk_are_one_sentence_and_leave_nothing(
    inputs: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: Any = Path.open

    def full(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        """Writing to predictions goes to a device that is always full."""
        staged = path.name == "p.npy" and mode != "rb"
        return opened(Path("/dev/full") if staged else path, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", full)
    before = sorted(tmp_path.iterdir())
    code, _, err = inputs("predict", "m.safetensors", "rows.npy", "p.npy")
    assert (code, sorted(tmp_path.iterdir())) == (1, before)
    assert "p.npy could not be written: No space left on device; free some space" in err


def test_a_rank_that_is_none_is_one_sentence(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "x", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    code, _, err = run("train", "--data", "digits")
    assert (code, err.count("\n")) == (2, 1)
    assert "variable RANK should be a whole number from 0 to 1, but it is 'x'" in err


def test_an_instruction_set_that_is_none_is_one_sentence(
    inputs: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> str:
        """As the kernel does, which reads ONELAYER_ISA once in a process."""
        raise ValueError("ONELAYER_ISA: expected an instruction set of this machine, got junk")

    monkeypatch.setattr(_native, "instruction_set", refuse)
    code, _, err = inputs("predict", "m.safetensors", "rows.npy", "p.csv")
    assert (code, err.count("\n")) == (2, 1)
    assert "error: ONELAYER_ISA: expected an instruction set" in err


@pytest.mark.parametrize("ending", [".npz", ".csv", ".parquet", ".feather"])
def test_names_that_are_no_utf8_are_read_and_written(
    ending: str, run: Command, tmp_path: Path
) -> None:
    import pyarrow as pa
    from pyarrow import csv, feather, parquet

    name, X, y = os.fsdecode(b"\xe4"), make_rows(40).astype(np.float64), np.arange(40) % 2
    if ending == ".npz":
        np.savez(tmp_path / "rows.npz", X=X, y=y)
    else:
        columns = {f"x{i}": column for i, column in enumerate(X.T)}
        write: Any = {".csv": csv.write_csv, ".parquet": parquet.write_table}
        table = pa.table(columns | {"label": y})
        write.get(ending, feather.write_feather)(table, str(tmp_path / f"rows{ending}"))
    (tmp_path / f"rows{ending}").rename(tmp_path / (name + ending))
    code, _, err = run("train", "--data", name + ending, "--epochs", "1", "--out", name)
    assert code == 0, err
    assert (
        json.loads((tmp_path / name / "settings.json").read_text())["command"]["options"]["data"]
        == "\\udce4" + ending
    )
    code, _, err = run("predict", name, name + ending, name + ".out.csv")
    assert code == 0, err
