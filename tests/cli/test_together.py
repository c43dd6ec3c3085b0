"""The real command on several ranks under torchrun: one voice, one result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onelayer.training.result import Result
from tests.kill.ranks import SAME, ended, kill_in_the_midst, start

pytest.importorskip("torch")
# So many that a kill after the first checkpoint finds training still under way.
EPOCHS = 8


def test_two_ranks_speak_once_and_give_the_result_of_one(tmp_path: Path) -> None:
    one, two = (start(tmp_path / str(ranks), ranks=ranks, epochs=1) for ranks in (1, 2))
    ended(one)
    words = ended(two)
    assert words.count("best by validation") == words.count("the page:") == 1
    alone = Result.load(tmp_path / "1")
    # Sums of a batch are rounded in another order at every step, each time by a unit or so in the
    # last place of the largest weight; over an epoch the units add up, at worst all one way.
    steps = -(-alone.data.train_rows // alone.runs[0].batch)
    rounding = steps * float(np.finfo(np.float32).eps) * float(np.abs(alone.W).max())
    np.testing.assert_allclose(Result.load(tmp_path / "2").W, alone.W, rtol=0, atol=rounding)


def test_a_command_that_died_goes_on_with_resume_to_the_same_bits(tmp_path: Path) -> None:
    ended(start(tmp_path / "whole", ranks=2, epochs=EPOCHS))
    cut = start(tmp_path / "cut", ranks=2, epochs=EPOCHS)
    assert kill_in_the_midst(cut, tmp_path / "cut", rank=1, wait=0.0)
    cut.communicate(timeout=300)
    assert cut.returncode
    words = ended(start(tmp_path / "cut", "--resume", ranks=2, epochs=EPOCHS))
    assert words.count("resuming from") == 1
    same = [(tmp_path / name / SAME).read_bytes() for name in ("whole", "cut")]
    assert same[0] == same[1]
