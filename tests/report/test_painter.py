"""The processes that draw: what they hand back, and how they fail."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from onelayer.report import painter
from onelayer.report.painter import PNG_SCALE, Drawer, DrawingError, Painter, work

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"><rect width="9"/></svg>'

POINT = {
    "data": {"values": [{"x": 1}]},
    "mark": "point",
    "encoding": {"x": {"field": "x", "type": "quantitative"}},
}


def test_it_paints_what_it_is_told_and_hands_back_the_scripts(tmp_path: Path) -> None:
    stems = [tmp_path / "lambda-0.1", tmp_path / "with space λ", tmp_path / "line\nend"]
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


def test_the_scripts_are_made_once_and_made_again_where_they_were_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELAYER_CACHE", str(tmp_path))

    def scripts() -> tuple[str, bool]:
        kept = painter.kept_scripts() is not None
        with Painter() as second:
            return second.scripts(), kept

    made, kept = scripts()
    assert not kept
    assert scripts() == (made, True)
    [file] = (tmp_path / "scripts").iterdir()
    file.write_text(made + "alert(1)")
    assert scripts() == (made, False)
    assert file.read_text() == made


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ONELAYER_CACHE", str(tmp_path / "file"))
    with Painter() as second:
        assert "vegaEmbed" in second.scripts()


def test_all_processes_draw_the_same(tmp_path: Path) -> None:
    with Painter() as both:
        both.draw(tmp_path / "theirs", POINT)
        scripts = both.scripts()
    lines = [["bundle", "", None], ["svg", str(tmp_path / "own"), POINT]]
    lines.append(["png", str(tmp_path / "own"), None])
    assert work(map(json.dumps, lines)) == scripts
    for ending in ("svg", "png"):
        theirs, own = (tmp_path / f"{name}.{ending}" for name in ("theirs", "own"))
        assert theirs.read_bytes() == own.read_bytes()


def test_a_picture_that_cannot_be_written_is_the_first_processs_error(tmp_path: Path) -> None:
    stem = tmp_path / "taken"
    Path(f"{stem}.svg").write_text(SVG)
    Path(f"{stem}.png").mkdir()
    with Painter() as second:
        second.paint(stem)
        with pytest.raises(OSError, match="directory") as refusal:
            second.scripts()
    assert refusal.value.errno == errno.EISDIR
    with Painter() as first, pytest.raises(OSError, match="No such file"):
        first.draw(tmp_path / "absent" / "stem", POINT)


def test_a_chart_that_cannot_be_drawn_says_why_on_one_line(tmp_path: Path) -> None:
    with Painter() as first, pytest.raises(DrawingError) as refusal:
        first.draw(tmp_path / "odd", {"mark": {"type": "nonsense"}, "encoding": 7})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("which", ["_first", "_second"])
def test_a_process_that_was_killed_is_noticed(which: str, tmp_path: Path) -> None:
    with Painter() as both:
        both.start()
        drawer: Drawer = getattr(both, which)
        drawer.process.kill()
        drawer.process.wait()
        with pytest.raises(DrawingError, match="was ended by signal 9"):
            both.draw(tmp_path / "nothing", POINT)


def test_an_error_in_the_first_process_ends_the_others() -> None:
    with pytest.raises(ZeroDivisionError), Painter() as both:
        _fail(both)
    assert both._first is not None
    assert None not in (both._first.process.returncode, both._second.process.returncode)


def _fail(both: Painter) -> None:
    both.start()
    raise ZeroDivisionError


def test_no_code_in_the_current_folder_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("json", "signal", "vl_convert", "random", "subprocess"):
        Path(f"{name}.py").write_text("open('ran', 'w').write('')")
    with Painter() as both:
        both.draw(tmp_path / "one", POINT)
        both.scripts()
    assert not (tmp_path / "ran").exists()


def test_main_writes_scripts_or_the_disks_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    ended: list[int] = []
    monkeypatch.setattr(sys, "stdout", written)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(os, "_exit", ended.append)
    for action, stem in (("bundle", ""), ("png", str(tmp_path / "absent"))):
        line = json.dumps([action, stem, None]).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line)))
        painter.main()
    assert ended == [0, painter.FAILED]
    assert b"vegaEmbed" in written.buffer.getvalue()
    assert b"2 No such file" in written.buffer.getvalue()


def test_ctrl_c_is_left_to_the_first_process() -> None:
    code = (
        "import os, signal; from onelayer.report import painter;"
        "painter.work = lambda lines: (os.kill(os.getpid(), signal.SIGINT), 'still here')[1];"
        "painter.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="", capture_output=True, text=True, check=True
    )
    assert done.stdout == "still here"
