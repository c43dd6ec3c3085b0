"""The benchmark of rows larger than memory: files, ratio, and other bits refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.harness.record import ONELAYER, Measure
from benchmarks.harness.rounds import Session
from benchmarks.suites import streaming
from benchmarks.suites.streaming import BLOCK_ROWS, SHARDS, shard_paths, write_shards


def test_shards_hold_all_rows_with_the_first_shard_s_labels_apart(tmp_path: Path) -> None:
    shards = replace(SHARDS, rows=2 * BLOCK_ROWS + 20, features=8, classes=3)
    write_shards(shards, tmp_path, count=2)
    X = [np.load(path) for path in shard_paths(tmp_path)]
    y = np.load(tmp_path / "y.npy")
    assert sum(part.nbytes for part in X) == shards.x_bytes
    assert np.array_equal(np.load(tmp_path / "y-first.npy"), y[: len(X[0])])
    means = np.array([np.concatenate(X)[y == k].astype(float).mean(0) for k in range(3)])
    # Class means of unit spread, times .2, stand out of the noise of thousands of rows.
    assert np.abs(means[0] - means[1]).max() > 0.1


def test_the_ratio_is_to_the_larger_floor(session: Session) -> None:
    ours = Measure("epoch", ONELAYER, "an epoch", (5.0, 6.0, 9.0),
                   series={"group": (5e8,), "process": (2e8,)})  # fmt: skip
    part = session.part(about="rows").with_([
        Measure("epoch", "read", "reading", (4.0, 4.0, 4.0)),
        Measure("epoch", "memory", "the kernel", (1.0, 2.0, 3.0)),
        ours,
    ])  # fmt: skip
    page = "\n".join(streaming.render(part, Path()))
    assert "| an epoch | 6.00 (5.00–9.00) | 3 | 1.50 | 0.50 | 0.20 |" in page


def _otherwise(do: str, desk: object, job: object, values: dict[str, str], **_: object) -> object:
    """A process whose weights from files are not those from memory."""
    W = np.full(3, 1.0 + (values["what"] == "memory") * 1e-7)
    return {"seconds": 1.0, "peak_bytes": 1.0, "W": W}


def _arguments(folder: Path) -> list[str]:
    return ["--only", "streaming", "--rows", "2000", "--rounds", "1", "--limit", "0.8",
            "--folder", str(folder)]  # fmt: skip


def test_other_weights_from_files_than_from_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(streaming, "ask_once", _otherwise)
    monkeypatch.setattr("benchmarks.__main__.RUNS", tmp_path / "runs")
    (tmp_path / "rows").mkdir()
    assert main(_arguments(tmp_path / "rows")) == 1
    assert "the file gives other weights than memory" in capfd.readouterr().err


def test_the_command_measures_or_says_why_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.__main__.RUNS", tmp_path / "runs")
    (tmp_path / "rows").mkdir()
    code = main(_arguments(tmp_path / "rows"))
    told = capfd.readouterr()
    if code:
        # Without root, or without control groups that can be made here.
        assert told.err.splitlines()[-1].startswith("not measured:")
    else:
        assert "peak, pages of files included" in told.out
    assert not list((tmp_path / "rows").iterdir())
