"""Standard streams that are closed, full, narrow or without a reader; names that are commands."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from onelayer import Model, sweep
from onelayer.cli import output
from onelayer.data.progress import WIDTH, counting, print_line, spelled, terminal
from onelayer.errors import printable
from onelayer.training.result import Result
from onelayer.training.run_folder import save_records
from tests.cli.conftest import Command
from tests.made_data import make_splits

# An escape sequence, markup of rich, an emoji of rich, a line end, a reversal, half a surrogate.
HOSTILE = ("\x1b[31mred", "[/b]x", "[red]y", ":car:", "a\nb", "\u202egnp", "\x9b2J", "\udcff")

COMMANDS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")

TRAIN = ("train", "--data", "digits", "--lr", "0.1", "--epochs", "1")


@pytest.fixture(autouse=True)
def _new_process() -> Iterator[None]:
    """A command that could not print ends its process, and what it had to print ends with it."""
    yield
    output.console._buffer.clear()


def hostile_model() -> Model:
    K = len(HOSTILE) - 1  # half a surrogate is no text that a model's file can hold
    return Model(np.eye(K), np.zeros(K), class_names=HOSTILE[:K], feature_names=HOSTILE[:K])


def test_names_reach_the_terminal_as_text_in_tables_notes_errors_and_json(
    run: Command, tmp_path: Path
) -> None:
    path = "[red]m\x1b[2J.safetensors"
    hostile_model().save(tmp_path / path)
    code, out, err = run("inspect", path)
    assert code == 0, err
    assert not COMMANDS.search(out + err)
    for name in HOSTILE[:-1]:
        assert printable(name) in out.replace("\n", "")
    assert r"[red]m\x1b[2J" in out
    code, out, _ = run("inspect", path, "--json")
    assert not COMMANDS.search(out)
    assert json.loads(out)["classes"] == list(HOSTILE[:-1])
    code, out, err = run("inspect", f"{path}x")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not COMMANDS.search(err)


def test_notes_lines_and_bars_show_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    for name in HOSTILE:
        output.note(name)
        output.print_line(name)
        print_line(name)
        shown = capsys.readouterr()
        assert shown.out == f"{printable(name)}\n"
        assert shown.err == f"note: {printable(name)}\n{printable(name)}\n"
    with counting("[/b]\x1b[2J", 1, show=False) as step:
        step()


def test_closed_streams_are_no_reason_to_hang(tmp_path: Path) -> None:
    result = sweep(make_splits(), learning_rate=0.1, epochs=1, batch_size=9)
    save_records(result, tmp_path / "run")
    command = f'exec "{sys.executable}" -m onelayer report run <&- >&- 2>&-'
    ended = subprocess.run(["sh", "-c", command], cwd=tmp_path, timeout=60, check=False)
    assert ended.returncode == 0
    assert (tmp_path / "run" / "report.html").stat().st_size > 100_000


def test_a_full_disk_under_the_output_is_one_sentence_after_the_run_was_saved(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        code, _, err = run(*TRAIN, "--out", "a")
        assert code == 1
        assert err.splitlines()[-1] == (
            "error: standard output cannot be written (No space left on device); files that were "
            "saved are whole."
        )
    assert Result.load(tmp_path / "a").outcomes[0].status == "finished"


def test_a_log_that_is_full_loses_notes_and_nothing_else(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stderr", full)
        code, out, _ = run(*TRAIN, "--lr", "0.1,1e30", "--l2", "1", "--out", "a")
        assert code == 0
        assert "a/report.html" in out
        assert run("inspect", "absent")[0] == 1
        print_line("a line of the library")
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # it is closed without an error
    assert Result.load(tmp_path / "a").settings


def test_a_reader_that_is_gone_ends_the_command_in_silence(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile_model().save(tmp_path / "m.safetensors")
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert run("inspect", "m.safetensors") == (output.BROKEN_PIPE, "", "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_greek_letters_spells_them_in_aligned_tables(
    encoding: str, run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert run(*TRAIN, "--lr", "0.1,0.01", "--seeds", "2", "--out", "a")[0] == 0
    assert run("train", "--help")[0] == 0
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)
    assert "best by validation: lambda=0, eta=0.1" in text
    assert ("+-" if encoding == "ascii" else "±") in text
    assert "\\u" not in text
    table = text.splitlines()[1:5]
    assert len({len(line) for line in table}) == 1
    assert spelled("漢 η", encoding) == "\\u6f22 eta"
    assert json.dumps("η") == '"\\u03b7"'


@pytest.mark.parametrize("columns", ["0", "1", "40"])
def test_no_figure_is_cut_on_a_narrow_terminal(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onelayer.report.tables import ranking_table

    result = sweep(make_splits(), learning_rate=[0.1, 0.2], seeds=2, epochs=1, batch_size=9)

    def printed() -> str:
        stream = io.StringIO()
        terminal(file=stream).print(ranking_table(result))
        return stream.getvalue()

    monkeypatch.setenv("COLUMNS", str(WIDTH))
    whole = printed()
    monkeypatch.setenv("COLUMNS", columns)
    assert printed() == whole
