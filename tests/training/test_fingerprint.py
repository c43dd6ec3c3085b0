"""Other data or settings are noticed, and told in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from onelayer.data import Dataset, Splits
from onelayer.training import checkpoint as module
from onelayer.training.checkpoint import differences, fingerprint
from onelayer.training.run import Run, grid
from tests.made_data import make_splits


def say(before: Any, now: Any) -> list[str]:
    return list(differences(before, now))


def changed(splits: Splits, role: str, **changes: Any) -> Splits:
    return replace(splits, **{role: replace(getattr(splits, role), **changes)})


@pytest.mark.parametrize("role", ["train", "validation", "test"])
@pytest.mark.parametrize("what", ["X", "y"])
@pytest.mark.parametrize("place", [0, 57, -1])
def test_one_other_value_anywhere_is_noticed(role: str, what: str, place: int) -> None:
    splits = make_splits()
    values = getattr(getattr(splits, role), what).copy()
    values.reshape(-1)[place] = (values.reshape(-1)[place] + 1) % 3
    name = {"train": "training"}.get(role, role)
    other = changed(splits, role, **{what: values})
    said = say({"data": fingerprint(splits)}, {"data": fingerprint(other)})
    assert said == [f"the values of the {name} rows are others"]
    assert say({"data": fingerprint(splits)}, {"data": fingerprint(make_splits())}) == []


def test_other_sizes_are_told_before_other_values() -> None:
    one = fingerprint(make_splits())
    fewer = fingerprint(make_splits(rows=80))
    wider = fingerprint(make_splits(dtype=np.float32))
    assert say({"data": one}, {"data": fewer}) == ["the training rows were 90 and are 80"]
    said = say({"data": one}, {"data": wider})
    assert said == ["the dtype of the training rows was uint8 and is float32"]


def test_of_a_large_set_the_first_and_last_rows_count_and_most_are_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WHOLE_BYTES", 100)
    monkeypatch.setattr(module, "SAMPLED_ROWS", 5)
    splits = make_splits()
    one = fingerprint(splits)

    def with_other(row: int) -> dict[str, Any]:
        X = splits.train.X.copy()
        X[row, 3] ^= 1
        return fingerprint(changed(splits, "train", X=X))

    noticed = [row for row in range(90) if with_other(row) != one]
    assert len(noticed) == 5
    assert (noticed[0], noticed[-1]) == (0, 89)


def test_the_sum_does_not_depend_on_the_blocks_it_is_taken_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = fingerprint(make_splits())
    monkeypatch.setattr(module, "_BLOCK_BYTES", 50)
    assert fingerprint(make_splits()) == one


def test_the_setting_of_the_run_that_differs_is_told() -> None:
    def runs(*given: Run) -> dict[str, Any]:
        return {"runs": [run.as_dict() for run in given]}

    two = grid(learning_rate=[0.1, 0.2])
    other = (two[0], replace(two[1], l2=0.5, epochs=3))
    assert say(runs(*two), runs(*two)) == []
    assert say(runs(*two), runs(two[0])) == ["there were 2 runs and are 1"]
    [said] = say(runs(*two), runs(*other))
    assert said == "run 1's l2 was 0.0 and is 0.5 (1 more settings differ)"
    [said] = say(runs(*two), runs(two[0], replace(two[1], name="other")))
    assert said == "the names of the runs are others"
    assert say({"instruction_set": "avx2"}, {"instruction_set": "avx512", "torch": "2"}) == [
        "the instruction set was avx2 and is avx512",
        "the torch was not set and is 2",
    ]


def test_a_dataset_that_is_a_view_has_the_sum_of_its_rows() -> None:
    splits = make_splits()
    whole = splits.train
    view = Dataset(whole.X[:50], whole.y[:50], whole.class_names, max_value=255.0)
    copy = replace(view, X=view.X.copy())
    assert module._sum(view) == module._sum(copy)
