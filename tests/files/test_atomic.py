"""A file or a folder appears whole, with nothing beside it."""

from __future__ import annotations

import os
from pathlib import Path

from onelayer.files.atomic import durable_file, staged_file, staged_folder
from onelayer.files.manifest import SETTINGS_FILE


def test_a_staged_file_appears_alone(tmp_path: Path) -> None:
    with staged_file(tmp_path / "model.onnx") as path:
        path.write_bytes(b"whole")
        assert path.name == "model.onnx"
        assert not (tmp_path / "model.onnx").exists()
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_durable_file_appears_alone(tmp_path: Path) -> None:
    with durable_file(tmp_path / "one") as stream:
        stream.write(b"whole")
        assert os.listdir(tmp_path) == [".one.part"]
    assert os.listdir(tmp_path) == ["one"]


def test_a_staged_folder_appears_alone(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "run", finished=True) as folder:
        (folder / SETTINGS_FILE).write_text("{}")
    assert os.listdir(tmp_path) == ["run"]
