"""The real command on several ranks under torchrun: one voice, one result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onelayer.training.result import Result
from tests.cli.conftest import Command
from tests.kill.ranks import OPTIONS, SAME, ended, kill_in_the_midst, start

pytest.importorskip("torch")
# So many that a kill after the first checkpoint finds training still under way.
EPOCHS = 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run folder of two ranks, and what they said."""
    folder = tmp_path_factory.mktemp("ranks") / "whole"
    return folder, ended(start(folder, ranks=2, epochs=EPOCHS))


def test_two_ranks_speak_once_and_give_the_result_of_one(
    whole: tuple[Path, str], run: Command
) -> None:
    folder, words = whole
    assert words.count("best by validation") == words.count("the page:") == 1
    code, _, err = run(*OPTIONS, "--epochs", str(EPOCHS), "--out", "alone")
    assert code == 0, err
    alone = Result.load("alone")
    # Sums of a batch are rounded in another order at every step, each time by a unit or so in the
    # last place of the largest weight; over the epochs the units add up, at worst all one way.
    steps = EPOCHS * -(-alone.data.train_rows // alone.runs[0].batch)
    rounding = steps * float(np.finfo(np.float32).eps) * float(np.abs(alone.W).max())
    np.testing.assert_allclose(Result.load(folder).W, alone.W, rtol=0, atol=rounding)


def test_a_command_that_died_goes_on_with_resume_to_the_same_bits(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    cut = start(tmp_path / "cut", ranks=2, epochs=EPOCHS)
    assert kill_in_the_midst(cut, tmp_path / "cut", rank=1, wait=0.0)
    cut.communicate(timeout=300)
    assert cut.returncode
    words = ended(start(tmp_path / "cut", "--resume", ranks=2, epochs=EPOCHS))
    assert words.count("resuming from") == 1
    assert (tmp_path / "cut" / SAME).read_bytes() == (whole[0] / SAME).read_bytes()
