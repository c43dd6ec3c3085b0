"""Options about the data that are out of range, exclude each other or mean nothing are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onelayer.data import load
from onelayer.errors import SettingsError

from .test_own_damage import written


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"validation": 0.0}, r"validation \(--validation\) must be a share above 0"),
        ({"validation": 1}, "above 0 and below 1, but it is 1"),
        ({"validation": "nan"}, "but it is nan"),
        ({"test_share": 1.5}, r"test_share \(--test-share\)"),
        ({"seed": -1}, r"seed \(--split-seed\) must be a whole number"),
        ({"test_labels": "y"}, "for the rows of test"),
        ({"validation_labels": "y"}, "for a file of validation rows"),
        ({"test": "b.npy", "test_share": 0.3}, "either by test .* or by test_share"),
        ({"image_size": 8}, "for a folder of pictures"),
        ({"image_size": "8x"}, "one side or HEIGHTxWIDTH"),
        ({"image_size": (0, 8)}, "from 1 to 4096"),
        ({"train_batches": (2,)}, "has no batches"),
    ],
)
def test_choices_out_of_range_or_without_meaning_are_refused(
    choices: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        load(**(written("npy", tmp_path) | choices))


@pytest.mark.parametrize("data", [None, "digits", "cifar10"])
def test_choices_that_mean_nothing_to_a_known_set_are_refused(data: str | None) -> None:
    with pytest.raises(SettingsError, match=r"seed \(--split-seed\) means nothing to"):
        load(data, seed=1)


def test_the_training_rows_are_not_taken_for_the_test(tmp_path: Path) -> None:
    said = written("npz", tmp_path)
    with pytest.raises(SettingsError, match="names the training rows' own file"):
        load(**said, test=said["source"])
