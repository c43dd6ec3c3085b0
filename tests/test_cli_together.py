"""The real command on several ranks under torchrun: one voice, one result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onelayer.result_files import load_result
from tests.kill.ranks import ended, start

pytest.importorskip("torch")
# Weights of float32 after an epoch whose sums are added up in another order.
ROUNDING = 1e-4


def test_two_ranks_speak_once_and_give_the_result_of_one(tmp_path: Path) -> None:
    one, two = (start(tmp_path / str(ranks), ranks=ranks, epochs=1) for ranks in (1, 2))
    ended(one)
    words = ended(two)
    assert words.count("best by validation") == words.count("the page:") == 1
    np.testing.assert_allclose(
        load_result(tmp_path / "2").W, load_result(tmp_path / "1").W, rtol=ROUNDING, atol=ROUNDING
    )
