"""The benchmark of rows larger than memory: files, ratio, and other bits refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.streaming import measure as measuring
from benchmarks.streaming.__main__ import main
from benchmarks.streaming.files import BLOCK_ROWS, Shards, paths, write_shards
from benchmarks.streaming.measure import Measured, measure

SMALL = Shards(rows=3000, features=64, classes=5, count=3)


def test_shards_hold_all_rows_with_the_first_shard_s_labels_apart(tmp_path: Path) -> None:
    shards = Shards(rows=2 * BLOCK_ROWS + 20, features=8, classes=3, count=2)
    write_shards(shards, tmp_path)
    X = [np.load(path) for path in paths(tmp_path)]
    y = np.load(tmp_path / "y.npy")
    assert sum(part.nbytes for part in X) == shards.bytes
    assert np.array_equal(np.load(tmp_path / "y-first.npy"), y[: len(X[0])])
    means = np.array([np.concatenate(X)[y == k].astype(float).mean(0) for k in range(3)])
    # Class means of unit spread, times .2, stand out of the noise of thousands of rows.
    assert np.abs(means[0] - means[1]).max() > 0.1


def test_the_ratio_is_to_the_larger_floor() -> None:
    measured = Measured(SMALL, 1e9, (5.0, 6.0, 9.0), (4.0, 4.0, 4.0), (1.0, 2.0, 3.0), 5e8, 2e8)
    assert measured.ratio == 1.5
    assert "| 1.50 |" in measured.markdown()


def test_other_weights_from_files_than_from_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(folder: Path, what: str, group: object = None) -> dict[str, float]:
        np.save(folder / f"weights-{what}.npy", np.full(3, 1.0 + (what == "memory") * 1e-7))
        return {"seconds": 1.0, "peak": 1.0}

    monkeypatch.setattr(measuring, "_train", train)
    with pytest.raises(ArithmeticError, match="other weights"):
        measure(SMALL, tmp_path, 1e9, 1, lambda words: None)


def test_the_command_measures_or_says_why_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = main(["--rows", "2000", "--rounds", "1", "--limit", "0.8", "--folder", str(tmp_path)])
    told = capfd.readouterr()
    if code:
        # Without root, or without control groups that can be made here.
        assert told.err.splitlines()[-1].startswith("not measured:")
    else:
        assert "its peak, pages of files included" in told.out
    assert not list(tmp_path.iterdir())
