"""A file or a folder appears whole, with nothing beside it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from onelayer.errors import SaveError
from onelayer.files.atomic import durable_file, staged_file, staged_folder
from onelayer.files.manifest import SETTINGS_FILE, Manifest
from tests.examples import few


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
    with staged_folder(tmp_path / "run", Manifest(finished=True)) as folder:
        (folder / SETTINGS_FILE).write_text("{}")
    assert os.listdir(tmp_path) == ["run"]


def _write(target: Path, content: bytes = b"whole") -> None:
    with staged_file(target) as path:
        path.write_bytes(content)


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("")
    (tmp_path / "secret").chmod(0o600)
    _write(tmp_path / "secret")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_link_stays_and_the_file_that_it_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "model").write_text("old")
    (tmp_path / "link").symlink_to("disk/model")
    _write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "model").read_bytes() == b"whole"
    (tmp_path / "new").symlink_to("disk/new")
    _write(tmp_path / "new")
    assert (tmp_path / "disk" / "new").read_bytes() == b"whole"
    assert sorted(os.listdir(tmp_path)) == ["disk", "link", "new"]
    assert sorted(os.listdir(tmp_path / "disk")) == ["model", "new"]


def test_a_device_is_written_to_and_stays_one(tmp_path: Path) -> None:
    _write(Path(os.devnull))
    assert Path(os.devnull).is_char_device()
    (tmp_path / "null").symlink_to(os.devnull)
    _write(tmp_path / "null")
    assert Path(os.devnull).is_char_device()
    with pytest.raises(SaveError, match="No space left on device"):
        _write(Path("/dev/full"))
    assert os.listdir(tmp_path) == ["null"]


@pytest.mark.parametrize("name", few(1, ["-", "/dev/stdout", "/dev/fd/1"]))
@pytest.mark.parametrize("to_file", [False, True])
def test_standard_output_is_written_to_in_order(name: str, to_file: bool, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from onelayer.files.atomic import staged_file\n"
        "print('before', flush=True)\n"
        f"with staged_file(Path({name!r})) as path: path.write_bytes(b'whole\\n')\n"
        "print('after')"
    )
    words = [sys.executable, "-c", code]
    if not to_file:
        done = subprocess.run(words, capture_output=True, check=True)
        assert done.stdout == b"before\nwhole\nafter\n"
    elif name != "/dev/fd/1":  # where the system opens the file once more
        with (tmp_path / "out").open("wb") as file:
            subprocess.run(words, stdout=file, check=True)
        assert (tmp_path / "out").read_bytes() == b"before\nwhole\nafter\n"
        assert os.listdir(tmp_path) == ["out"]


def test_a_pipe_is_written_to_and_a_socket_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        _write(tmp_path / "pipe")
        assert reader.communicate()[0] == b"whole"
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # for a short name
        listening.bind("socket")
    with pytest.raises(SaveError, match="it is no file; name a file"):
        _write(tmp_path / "socket")


def test_what_killed_processes_left_beside_a_file_is_removed_and_what_others_use_stays(
    tmp_path: Path,
) -> None:
    code = (
        "import os, sys; from pathlib import Path; from onelayer.files.atomic import staged_file\n"
        "with staged_file(Path(sys.argv[1])) as path:\n"
        "    path.write_bytes(b'half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "one"], check=False)
    (tmp_path / ".onelayer.tmp-notes").write_text("a file of another")
    assert len(os.listdir(tmp_path)) == 2
    with staged_file(tmp_path / "two") as path:
        _write(tmp_path / "three")
        path.write_bytes(b"whole")
    assert sorted(os.listdir(tmp_path)) == [".onelayer.tmp-notes", "three", "two"]


def test_a_half_written_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("precious")
    (tmp_path / ".one.part").symlink_to("thesis")
    with durable_file(tmp_path / "one") as stream:
        stream.write(b"whole")
    assert (tmp_path / "thesis").read_text() == "precious"
    assert (tmp_path / "one").read_bytes() == b"whole"
