"""The official archive, from a server on this machine that does all that servers do."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import requests

from onelayer.data.datasets.cache import _reason, fetch_archive
from onelayer.data.datasets.decode import BINARY
from onelayer.data.datasets.layout import Layout
from onelayer.data.datasets.named import load_cifar10
from onelayer.errors import DataError

from .conftest import Serve, refusing, sending
from .test_cifar10 import check_bits
from .tiny_cifar import STEMS, TinyCifar, tar_gz


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    return work


def fetch(work: Path, layout: Layout) -> None:
    assert fetch_archive(work, layout, progress=False) is BINARY


def test_the_archive_is_downloaded_and_unpacked(tiny: TinyCifar, serve: Serve, work: Path) -> None:
    archive = tiny.binary_archive()
    fetch(work, tiny.at(serve(sending(archive)), archive))
    for stem in STEMS:
        assert (work / f"{stem}.bin").read_bytes() == tiny.records[stem].tobytes()


def test_a_download_lands_in_the_cache_and_is_not_repeated(
    tiny: TinyCifar, serve: Serve, cache: Path
) -> None:
    archive = tiny.binary_archive()
    layout = tiny.at(serve(sending(archive), refusing(500)), archive)
    messages: list[str] = []
    check_bits(load_cifar10(log=messages.append, progress=False, layout=layout), tiny)
    check_bits(load_cifar10(log=messages.append, progress=False, layout=layout), tiny)
    assert len(messages) == 1
    assert messages[0].startswith(f"CIFAR-10 came from the official archive {layout.archive_url}")
    assert {p.name for p in cache.iterdir()} == {".lock"} | {f"{stem}.bin" for stem in STEMS}


@pytest.mark.parametrize("first", [refusing(503), sending(b"other"), sending(b"cut", 10_000)])
def test_a_download_that_fails_once_is_tried_again(
    first: object, tiny: TinyCifar, serve: Serve, work: Path
) -> None:
    archive = tiny.binary_archive()
    fetch(work, tiny.at(serve(first, sending(archive)), archive))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (refusing(503), "the server answered 503 Service Unavailable"),
        (refusing(404), "the server answered 404 Not Found"),
        (sending(b"<html>other</html>"), "not the official archive: its SHA-256 is another one"),
        (sending(b"cut", 100_000), "the download broke off"),
    ],
)
def test_a_download_that_keeps_failing_says_why_and_leaves_nothing(
    answer: object, message: str, tiny: TinyCifar, serve: Serve, work: Path
) -> None:
    with pytest.raises(DataError, match=message):
        fetch(work, tiny.at(serve(answer), tiny.binary_archive()))
    assert not list(work.iterdir())


def test_a_truncated_download_of_an_unknown_length_is_not_believed(
    tiny: TinyCifar, serve: Serve, work: Path
) -> None:
    archive = tiny.binary_archive()

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(archive[:-100])

    with pytest.raises(DataError, match="SHA-256 is another one"):
        fetch(work, tiny.at(serve(answer), archive))
    assert not list(work.iterdir())


def test_a_download_without_end_is_stopped(tiny: TinyCifar, serve: Serve, work: Path) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            for _ in range(64):  # far above the bound, and no more than a disk can take
                request.wfile.write(bytes(1 << 20))
        except OSError:
            pass

    with pytest.raises(DataError, match="more than the expected"):
        fetch(work, tiny.at(serve(answer), b""))
    assert not list(work.iterdir())


def test_a_server_that_does_not_answer_is_given_up(
    tiny: TinyCifar, serve: Serve, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onelayer.data.datasets.cache._READ_SECONDS", 0.1)
    with pytest.raises(DataError, match="did not answer in time"):
        fetch(work, tiny.at(serve(lambda request: time.sleep(0.5)), b""))


def test_a_download_that_stalls_is_given_up(
    tiny: TinyCifar, serve: Serve, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stall(request: BaseHTTPRequestHandler) -> None:
        sending(b"a little", 100_000)(request)
        time.sleep(0.5)

    monkeypatch.setattr("onelayer.data.datasets.cache._READ_SECONDS", 0.1)
    with pytest.raises(DataError, match="did not answer in time"):
        fetch(work, tiny.at(serve(stall), b""))
    assert not list(work.iterdir())


def test_no_network_is_said_at_once(tiny: TinyCifar, serve: Serve, work: Path) -> None:
    before = time.perf_counter()
    with pytest.raises(DataError, match="could not be reached"):
        fetch(work, tiny.layout)
    assert time.perf_counter() - before < 5


def test_an_archive_without_the_files_is_refused(tiny: TinyCifar, serve: Serve, work: Path) -> None:
    archive = tar_gz({"cifar-10-batches-bin/readme.html": b""})
    with pytest.raises(DataError, match=r"does not hold data_batch_1\.bin"):
        fetch(work, tiny.at(serve(sending(archive)), archive))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (requests.exceptions.SSLError("long"), "certificate is not trusted"),
        (requests.exceptions.ProxyError("long"), "the proxy did not let it through"),
        (requests.exceptions.TooManyRedirects("30 of them\nmore"), r"failed \(30 of them\)"),
    ],
)
def test_every_failure_has_a_reason_of_one_line(error: Exception, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        raise DataError(_reason(error))
    assert "\n" not in _reason(error)
