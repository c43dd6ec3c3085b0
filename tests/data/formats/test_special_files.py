"""What is no file, may not be read or is too large for memory is refused and named as such."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onelayer.data import load
from onelayer.data.formats.base import file_errors
from onelayer.data.formats.images import PICTURES
from onelayer.data.formats.registry import FORMATS, LABELS
from onelayer.errors import DataError, SaveError
from onelayer.files.manifest import MANIFEST_FILE, read_manifest
from onelayer.model import Model
from onelayer.model.predictions import read_rows


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)  # of at most a hundred letters, so relative


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


MAKERS = {"pipe": make_pipe, "socket": make_socket, "device": make_device}


@pytest.fixture(params=MAKERS)
def special(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Callable[[Path], None]]:
    monkeypatch.chdir(tmp_path)
    return request.param, MAKERS[request.param]


@pytest.mark.parametrize("suffix", [*FORMATS, ".png"])
def test_rows_that_are_no_file_are_refused_without_waiting(
    special: tuple[str, Callable[[Path], None]], suffix: str, tmp_path: Path
) -> None:
    kind, make = special
    path = tmp_path / f"rows{suffix}"
    make(path)
    with pytest.raises(DataError, match=f"cannot be read: it is no file but a {kind}"):
        read_rows(str(path))
    if suffix not in PICTURES:
        with pytest.raises(DataError, match=f"cannot be read: it is no file but a {kind}"):
            load(path)
        return
    for label in ("ant", "bee"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "0.png").symlink_to(path)
    with pytest.raises(DataError, match=f"0.png cannot be read: it is no file but a {kind}"):
        load(tmp_path, log=lambda line: None)


@pytest.mark.parametrize("suffix", LABELS)
def test_labels_that_are_no_file_are_refused(
    special: tuple[str, Callable[[Path], None]], suffix: str, tmp_path: Path
) -> None:
    kind, make = special
    np.save(tmp_path / "rows.npy", np.ones((4, 2)))
    make(tmp_path / f"labels{suffix}")
    with pytest.raises(DataError, match=f"cannot be read: it is no file but a {kind}"):
        load(tmp_path / "rows.npy", labels=tmp_path / f"labels{suffix}")


def test_models_and_manifests_that_are_no_file_are_refused(
    special: tuple[str, Callable[[Path], None]], tmp_path: Path
) -> None:
    kind, make = special
    make(tmp_path / MANIFEST_FILE)
    with pytest.raises(SaveError, match=f"could not be read: it is no file but a {kind}"):
        Model.load(tmp_path / MANIFEST_FILE)
    with pytest.raises(SaveError, match=f"cannot be read .it is no file but a {kind}"):
        read_manifest(tmp_path)


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that may not be entered, with a file in it; root acts as nobody for a while."""
    with tempfile.TemporaryDirectory() as place:  # pytest's own are closed to others further up
        folder, file = Path(place) / "closed", Path(place) / "rows.npy"
        folder.mkdir()
        np.save(folder / "rows.npy", np.ones((4, 2)))
        np.save(file, np.ones((4, 2)))
        Path(place).chmod(0o755)
        file.chmod(0)
        folder.chmod(0)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        yield folder
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_what_may_not_be_read_is_not_called_missing(closed: Path) -> None:
    denied: list[Any] = [closed / "rows.npy", closed.parent / "rows.npy", closed / "data"]
    for path in denied:
        with pytest.raises(DataError, match=f"{path} cannot be read: Permission denied"):
            load(path)
    for path in (closed, closed / "*.npy"):
        with pytest.raises(DataError, match=r"closed cannot be listed: Permission denied"):
            read_rows(str(path))
    with pytest.raises(SaveError, match=r"rows\.npy could not be read: Permission denied"):
        Model.load(closed / "rows.npy")


def test_a_file_too_large_for_memory_is_not_called_damaged() -> None:
    with pytest.raises(DataError) as caught, file_errors(Path("a.npz"), ".npz file"):
        raise MemoryError("Unable to allocate 9.00 GiB")
    assert str(caught.value) == (
        "a.npz takes more memory than there is (Unable to allocate 9.00 GiB); read it with stream "
        "(--stream), or split it."
    )
