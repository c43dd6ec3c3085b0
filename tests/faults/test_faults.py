"""`make faults` itself: every kind of fault is seen, and a few cases of each kind pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.commands import FaultError, Said, require_tidy, require_unchanged, snapshot
from tests.fuzz.campaign import ROOT


@pytest.mark.parametrize(
    ("code", "err", "ended"),
    [
        (0, "note: one of two\n", "read"),
        (1, "note: a\nerror: no such file.\n", "refused"),
        (130, "interrupted; nothing was saved.\n", "refused"),
        (1, "Traceback (most recent call last):\nValueError: raw\n", "traceback: ValueError: raw"),
        (1, "", "0 lines of error"),
        (1, "error: a\nb\n", "2 lines of error"),
        (0, "error: a\n", "an error and exit code 0"),
        (-11, "", "ends with -11"),
    ],
)
def test_every_end_of_a_command_is_told_apart(code: int, err: str, ended: str) -> None:
    said = Said(("train",), code, "", err)
    if ended in ("read", "refused"):
        assert said.end() == ended
    else:
        with pytest.raises(FaultError, match=f"^{ended}"):
            said.end()


def test_every_change_of_a_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a", "b", "sub/c"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("a")
    before = snapshot(tmp_path)
    require_unchanged(before, snapshot(tmp_path))
    require_tidy(tmp_path)
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("b")
    with pytest.raises(FaultError, match="changed: link"):
        require_unchanged(before, snapshot(tmp_path))
    (tmp_path / "link").unlink()
    with pytest.raises(FaultError, match="lost: link"):
        require_unchanged(before, snapshot(tmp_path))
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "sub" / "c").chmod(0o600)
    with pytest.raises(FaultError, match="changed: c"):
        require_unchanged(before, snapshot(tmp_path))
    (tmp_path / ".out-x7").mkdir()
    with pytest.raises(FaultError, match="left behind"):
        require_tidy(tmp_path)


@pytest.mark.slow
def test_a_case_of_every_kind_passes() -> None:
    """`make faults` runs more of them."""
    words = [sys.executable, "-m", "tests.faults", "9", "--signals", "0"]
    ran = subprocess.run(words, cwd=ROOT, text=True, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "9 cases, 0 faults, seed 0" in ran.stdout
