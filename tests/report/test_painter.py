"""The painting process: what it hands back, and how it fails."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from onelayer.report import render as painter
from onelayer.report.render import PNG_SCALE, Painter, paint_all

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"><rect width="9"/></svg>'


def test_it_paints_what_it_is_told_and_hands_back_the_scripts(tmp_path: Path) -> None:
    stems = [tmp_path / "lambda-0.1", tmp_path / "with space λ"]
    with Painter() as second:
        for stem in stems:
            Path(f"{stem}.svg").write_text(SVG)
            second.paint(stem)
        scripts = second.scripts()
    for stem in stems:
        with Image.open(f"{stem}.png") as picture:
            assert picture.size == (20 * PNG_SCALE, 10 * PNG_SCALE)
    assert "vegaEmbed" in scripts
    assert "</script" not in scripts


def test_both_processes_make_the_same(tmp_path: Path) -> None:
    stem = tmp_path / "one"
    Path(f"{stem}.svg").write_text(SVG)
    with Painter() as second:
        second.paint(stem)
        scripts = second.scripts()
    theirs = Path(f"{stem}.png").read_bytes()
    assert paint_all([f"{stem}\n"]) == scripts
    assert Path(f"{stem}.png").read_bytes() == theirs


def test_a_picture_that_cannot_be_written_is_the_first_processs_error(tmp_path: Path) -> None:
    stem = tmp_path / "taken"
    Path(f"{stem}.svg").write_text(SVG)
    Path(f"{stem}.png").mkdir()
    with Painter() as second:
        second.paint(stem)
        with pytest.raises(OSError, match="directory") as refusal:
            second.scripts()
    assert refusal.value.errno == errno.EISDIR


def test_a_painter_that_died_is_noticed(tmp_path: Path) -> None:
    with Painter() as second:
        second._process.kill()
        second._process.wait()
        with pytest.raises(OSError, match="ended with -9"):
            second.paint(tmp_path / "nothing")


def test_an_error_in_the_first_process_ends_the_second() -> None:
    with pytest.raises(RuntimeError), Painter() as second:
        raise RuntimeError
    assert second._process.returncode is not None


def test_main_writes_scripts_or_the_disks_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    monkeypatch.setattr(sys, "stdout", written)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    painter.main()
    assert b"vegaEmbed" in written.buffer.getvalue()
    absent = os.fsencode(tmp_path / "absent") + b"\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(absent)))
    with pytest.raises(SystemExit) as ended:
        painter.main()
    assert ended.value.code == painter.DISK_REFUSED
    assert b"2 No such file" in written.buffer.getvalue()


def test_ctrl_c_is_left_to_the_first_process() -> None:
    code = (
        "import os, signal, sys; from onelayer.report import render as painter;"
        "painter.paint_all = lambda lines: (os.kill(os.getpid(), signal.SIGINT), 'still here')[1];"
        "painter.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="", capture_output=True, text=True, check=True
    )
    assert done.stdout == "still here"
