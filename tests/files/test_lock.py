"""A run folder has one writer at a time, and a dead one keeps nobody out."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from onelayer.errors import CheckpointWarning, SaveError
from onelayer.files.atomic import staged_file, staged_folder
from onelayer.files.lock import holder, run_lock

HOLD = """
import sys, time
from pathlib import Path
from onelayer.files.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def held_by_another(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of a folder."""
    words = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_writer_is_told_who_the_first_is_and_a_killed_one_keeps_nobody_out(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "runs" / "sweep"
    with held_by_another(folder) as other:
        assert holder(folder) == f"process {other.pid}"
        said = f"sweep is being written by process {other.pid}; wait until"
        with pytest.raises(SaveError, match=said), run_lock(folder):
            pytest.fail("two writers")
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert (tmp_path / "runs" / ".sweep.lock").exists()
        assert holder(folder) is None
        with run_lock(folder):
            assert holder(folder) == f"process {os.getpid()}"
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_a_thread_holds_it_may_hold_again_and_another_thread_may_not(tmp_path: Path) -> None:
    refused: list[Exception] = []

    def second() -> None:
        try:
            with run_lock(tmp_path / "run"):
                pass
        except SaveError as error:
            refused.append(error)

    with run_lock(tmp_path / "run"):
        with run_lock(tmp_path / "other" / ".." / "run"):
            pass
        assert holder(tmp_path / "run") is not None
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert f"process {os.getpid()}" in str(refused[0])
    with run_lock(tmp_path / "run"):
        pass


def test_parents_that_nothing_was_put_in_are_gone_again(tmp_path: Path) -> None:
    with run_lock(tmp_path / "a" / "b" / "run"):
        pass
    assert list(tmp_path.iterdir()) == []
    with run_lock(tmp_path / "a" / "b" / "run"):
        (tmp_path / "a" / "kept").write_text("")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]
    with run_lock(tmp_path / "run"):
        pass
    assert tmp_path.exists()


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened before the holder let go, locked after: the name belongs to nobody or another."""
    flock, calls = fcntl.flock, []

    def lets_go_first(file: int, how: int) -> None:
        calls.append(file)
        if len(calls) == 1:
            (tmp_path / ".run.lock").unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", lets_go_first)
    with run_lock(tmp_path / "run"):
        owner = json.loads((tmp_path / ".run.lock").read_text())
        assert owner["process"] == os.getpid()
    assert len(calls) == 2


def test_a_disk_without_locks_is_told_of_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.warns(CheckpointWarning, match="has no locks"), run_lock(tmp_path / "run"):
        pass


def test_the_writer_of_another_machine_is_named_with_it(tmp_path: Path) -> None:
    with held_by_another(tmp_path / "run"):
        place = tmp_path / ".run.lock"
        place.write_text(json.dumps({"process": 7, "machine": "node17"}))
        assert holder(tmp_path / "run") == "process 7 on node17"
        place.write_text("")
        assert holder(tmp_path / "run") == "another process"


def test_a_lock_that_is_a_link_or_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("precious")
    (tmp_path / ".a.lock").symlink_to("thesis")
    os.mkfifo(tmp_path / ".b.lock")
    for name, said in (("a", "is a link"), ("b", "is not a file")):
        with pytest.raises(SaveError, match=said), run_lock(tmp_path / name):
            pytest.fail("locked")
        assert holder(tmp_path / name) is None
    assert (tmp_path / "thesis").read_text() == "precious"


def test_a_full_disk_is_one_sentence_and_leaves_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        said = "run could not be written: No space left on device; free some space"
        with pytest.raises(SaveError, match=said), run_lock(tmp_path / "run"):
            pytest.fail("locked")
    assert os.listdir(tmp_path) == []


def test_where_writing_is_forbidden_nobody_is_told_to_free_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    said = r"could not be written: Permission denied; choose another (folder|place)\.$"
    with pytest.raises(SaveError, match=said), staged_folder(tmp_path / "run"):
        pytest.fail("written")
    with pytest.raises(SaveError, match=said), staged_file(tmp_path / "m.npy"):
        pytest.fail("written")


def test_a_folder_has_one_lock_by_all_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    with held_by_another(tmp_path / "link") as other:
        assert holder(tmp_path / "run") == f"process {other.pid}"
        with pytest.raises(SaveError, match="is being written by"), run_lock(tmp_path / "run"):
            pytest.fail("two writers")


WITHOUT_POSIX = """
import os, sys, tempfile, warnings
from pathlib import Path

class Without:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "resource"):
            raise ImportError(name)

sys.meta_path.insert(0, Without())
for name in ("fcntl", "resource"):
    sys.modules.pop(name, None)
for name in ("sysconf", "preadv", "pread", "pwrite"):
    if hasattr(os, name):
        delattr(os, name)

import numpy as np
import onelayer
from onelayer.data.streaming import stored_rows
from onelayer.files.atomic import staged_folder
from onelayer.files.manifest import Manifest

with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    np.save(f"{place}/X.npy", np.eye(20))
    splits = onelayer.load(f"{place}/X.npy", labels=[0, 1] * 10, stream=True, log=lambda line: None)
    assert stored_rows(splits.train.X) is not None and splits.train.X[:2].shape == (2, 20)
    with staged_folder(Path(place) / "run", Manifest(finished=True)) as folder:
        (folder / "settings.json").write_text("{}")
    print(sorted(os.listdir(f"{place}/run")), [warning.category.__name__ for warning in caught])
"""


@pytest.mark.slow
def test_rows_are_streamed_and_runs_saved_where_the_system_has_neither_locks_nor_limits() -> None:
    """As on Windows: modules and functions that only POSIX systems have are not needed."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "['manifest.json', 'settings.json'] ['CheckpointWarning']", (
        done.stderr
    )
