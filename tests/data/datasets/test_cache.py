"""The cache: nothing half-written is believed, whoever dies, and whatever the disk does."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from onelayer.data import cached
from onelayer.data.datasets.cache import cache_folder, fetch, store
from onelayer.data.datasets.decode import read_binary
from onelayer.data.datasets.layout import Layout
from onelayer.data.datasets.named import load_cifar10
from onelayer.errors import SourceError

from .conftest import Serve, refusing, sending
from .test_cifar10 import check_bits
from .tiny_cifar import STEMS, TinyCifar, write_files

FETCH = """
import pickle, sys
from onelayer.data.datasets.cache import fetch
fetch(progress=False, log=lambda line: print(line, flush=True),
              layout=pickle.loads(bytes.fromhex(sys.argv[1])))
"""
HANGS_WHILE_WRITING = """
import os, time
def hang(handle):
    print("writing", flush=True)
    time.sleep(600)
os.fsync = hang
"""


def start(program: str, layout: Layout) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, pickle.dumps(layout).hex()],
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def states(tiny: TinyCifar) -> list[str]:
    return [record.state for record in cached(tiny.layout)]


def test_the_environment_variable_moves_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONELAYER_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere" / "cifar10"
    monkeypatch.delenv("ONELAYER_CACHE")
    assert cache_folder().parent.name == "onelayer"


def test_the_list_says_where_each_file_is_and_whether_it_is_right(
    tiny: TinyCifar, cache: Path
) -> None:
    assert states(tiny) == ["missing"] * 6
    files = tiny.binary_files()
    files["data_batch_2.bin"] = files["data_batch_2.bin"][:-5]
    files["data_batch_3.bin"] = bytes(len(files["data_batch_3.bin"]))
    del files["test_batch.bin"]
    write_files(cache, files)
    assert states(tiny) == ["verified", "damaged", "damaged", "verified", "verified", "missing"]
    first, second = cached(tiny.layout)[:2]
    assert first.state == "verified"
    assert second.state == "damaged"
    assert (second.file, second.path) == ("data_batch_2.bin", cache / "data_batch_2.bin")
    assert second.bytes == len(files["data_batch_2.bin"])
    assert str(first.path) in str(first)
    assert "verified" in str(first)


def test_a_cache_that_was_copied_here_needs_no_network(
    tiny: TinyCifar, cache: Path, no_npm: None
) -> None:
    write_files(cache, tiny.binary_files())
    check_bits(load_cifar10(layout=tiny.layout), tiny)
    assert {p.name for p in cache.iterdir()} == set(tiny.binary_files()), "it is only read"


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_file_is_said_in_one_line_and_fetched_again(
    damage: str, tiny: TinyCifar, cache: Path, serve: Serve
) -> None:
    files = tiny.binary_files()
    content = files["data_batch_1.bin"]
    files["data_batch_1.bin"] = content[:99] if damage == "cut" else content[:-1] + b"\0"
    write_files(cache, files)
    archive = tiny.binary_archive()
    messages: list[str] = []
    layout = tiny.at(serve(sending(archive)), archive)
    check_bits(load_cifar10(log=messages.append, progress=False, layout=layout), tiny)
    assert "data_batch_1.bin" in messages[0]
    assert "removed and downloaded again" in messages[0]
    assert "\n" not in messages[0]
    assert states(tiny) == ["verified"] * 6


def test_a_damaged_file_is_gone_even_when_nothing_comes_in_its_place(
    tiny: TinyCifar, cache: Path, no_npm: None
) -> None:
    write_files(cache, tiny.binary_files() | {"test_batch.bin": b"half"})
    with pytest.raises(SourceError, match=r"the cache .*: test_batch\.bin not there"):
        load_cifar10(log=print, layout=tiny.layout)
    assert states(tiny) == ["verified"] * 5 + ["missing"]


def test_fetch_returns_what_is_cached(tiny: TinyCifar, cache: Path, serve: Serve) -> None:
    archive = tiny.binary_archive()
    layout = tiny.at(serve(sending(archive), refusing(500)), archive)
    assert all(record.state == "verified" for record in fetch(log=print, layout=layout))
    messages: list[str] = []
    fetch(log=messages.append, layout=layout)
    assert messages == [], "what is there is not fetched again"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_leaves_no_half_file(
    code: int, tiny: TinyCifar, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir(parents=True)

    def fail(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    space = "free some space or " if code == errno.ENOSPC else ""
    with pytest.raises(SourceError, match=rf"{os.strerror(code)}; {space}set ONELAYER"):
        store(cache, tiny.layout.test, tiny.records["test_batch"])
    assert not list(cache.iterdir())


def test_a_full_disk_ends_the_search(
    tiny: TinyCifar, cache: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    archive = tiny.binary_archive()
    messages: list[str] = []
    with pytest.raises(SourceError, match=r"cannot be kept in the cache .*No space left"):
        fetch(log=messages.append, layout=tiny.at(serve(sending(archive)), archive))
    assert messages == [], "another source would fill the same disk"
    assert states(tiny) == ["missing"] * 6
    assert not list(cache.glob(".work-*"))


def test_a_disk_that_fills_while_downloading_is_the_source_s_reason(
    tiny: TinyCifar, cache: Path, serve: Serve, no_npm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    archive = tiny.binary_archive()
    with pytest.raises(SourceError, match=r"official archive .*: No space left on device"):
        fetch(log=print, layout=tiny.at(serve(sending(archive)), archive))
    assert not list(cache.glob(".work-*"))


def test_a_cache_that_cannot_be_made_says_so(
    tiny: TinyCifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ONELAYER_CACHE", str(tmp_path / "file"))
    with pytest.raises(SourceError, match=r"cannot be kept in the cache .*file.*ONELAYER_CACHE"):
        load_cifar10(layout=tiny.layout)


def test_a_read_only_cache_that_is_full_is_read(
    tiny: TinyCifar, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(cache, tiny.binary_files())

    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    for writing in ("mkdir", "unlink", "replace", "write_bytes"):
        monkeypatch.setattr(Path, writing, refuse)
    check_bits(load_cifar10(layout=tiny.layout), tiny)


def test_a_process_killed_while_writing_leaves_nothing_that_is_believed(
    tiny: TinyCifar, cache: Path, serve: Serve
) -> None:
    archive = tiny.binary_archive()
    layout = tiny.at(serve(sending(archive)), archive)
    process = start(HANGS_WHILE_WRITING + FETCH, layout)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    kill(process)
    assert states(tiny) == ["missing"] * 6
    assert list(cache.glob(".work-*/data_batch_1.bin")), "it was killed with a file unfinished"
    check_bits(load_cifar10(log=print, progress=False, layout=layout), tiny)
    assert not list(cache.glob(".work-*")), "the next one clears what the killed one left"


def test_a_process_killed_while_downloading_leaves_nothing_that_is_believed(
    tiny: TinyCifar, cache: Path, serve: Serve
) -> None:
    archive = tiny.binary_archive()
    half_sent, give_up = threading.Event(), threading.Event()

    def half(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(archive)))
        request.end_headers()
        request.wfile.write(archive[: len(archive) // 2])
        half_sent.set()
        give_up.wait(60)

    layout = tiny.at(serve(half, sending(archive)), archive)
    process = start(FETCH, layout)
    assert half_sent.wait(60)
    while not any(p.is_file() for p in cache.glob(".work-*/*")):
        time.sleep(0.01)
    kill(process)
    give_up.set()
    assert states(tiny) == ["missing"] * 6
    check_bits(load_cifar10(log=print, progress=False, layout=layout), tiny)
    assert not list(cache.glob(".work-*"))


def test_two_processes_at_once_fetch_once(tiny: TinyCifar, cache: Path, serve: Serve) -> None:
    archive = tiny.binary_archive()
    asked, second_waits = threading.Event(), threading.Event()
    requests: list[str] = []

    def slow(request: BaseHTTPRequestHandler) -> None:
        requests.append(request.path)
        asked.set()
        second_waits.wait(60)
        sending(archive)(request)

    layout = tiny.at(serve(slow), archive)
    first = start(FETCH, layout)
    assert asked.wait(60)
    second = start(FETCH, layout)
    assert second.stdout is not None
    assert "another process is filling it" in second.stdout.readline()
    second_waits.set()
    assert "came from the official archive" in finish(first)
    finish(second)
    assert len(requests) == 1
    assert states(tiny) == ["verified"] * 6


def test_a_lock_that_is_held_is_waited_for_and_said(
    tiny: TinyCifar, cache: Path, serve: Serve
) -> None:
    cache.mkdir(parents=True)
    holder = (cache / ".lock").open("wb")
    fcntl.flock(holder, fcntl.LOCK_EX)
    write_files(cache / ".work-of-the-holder", {"data_batch_1.bin": b"half"})
    messages: list[str] = []

    def release(line: str) -> None:
        messages.append(line)
        holder.close()

    archive = tiny.binary_archive()
    layout = tiny.at(serve(sending(archive)), archive)
    check_bits(load_cifar10(log=release, progress=False, layout=layout), tiny)
    assert messages[0] == "cache: another process is filling it; waiting for that one."


def test_without_locks_whole_files_still_land(
    tiny: TinyCifar, cache: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onelayer.files.lock.fcntl", None)
    write_files(cache / ".work-of-another", {"data_batch_1.bin": b"half"})
    archive = tiny.binary_archive()
    layout = tiny.at(serve(sending(archive)), archive)
    check_bits(load_cifar10(log=print, progress=False, layout=layout), tiny)
    assert (cache / ".work-of-another").exists(), "it may belong to a process that lives"


def test_a_cached_file_is_checked_whenever_it_is_read(tiny: TinyCifar, cache: Path) -> None:
    write_files(cache, tiny.binary_files())
    part = tiny.layout.test
    read_binary(cache, part, tiny.layout)
    with (cache / "test_batch.bin").open("r+b") as file:
        file.seek(5000)
        file.write(b"\0\1\2")
    with pytest.raises(Exception, match="is not test_batch"):
        read_binary(cache, part, tiny.layout)


def test_all_stems_are_files_of_the_cache(tiny: TinyCifar, cache: Path) -> None:
    assert [record.file for record in cached()] == [f"{stem}.bin" for stem in STEMS]
