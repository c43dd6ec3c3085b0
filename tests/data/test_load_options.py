"""Options about the data that are out of range, exclude each other or mean nothing are refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from onelayer.data import load
from onelayer.data.progress import print_line
from onelayer.errors import DataError, SettingsError

from .formats.test_damage import written


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"validation_size": 0.0}, r"validation_size \(--validation-size\) must be a fraction"),
        ({"validation_size": 1}, "above 0 and below 1, but 1 was given"),
        ({"validation_size": math.nan}, "but nan was given"),
        ({"validation": 0.3}, r"a fraction is given by validation_size \(--validation-size\)"),
        ({"test_size": 1.5}, r"test_size \(--test-size\)"),
        ({"split_seed": -1}, r"split_seed \(--split-seed\) must be a whole number"),
        ({"test_labels": "y"}, r"test_labels \(--test-labels\) needs test"),
        ({"validation_labels": "y"}, r"needs validation \(--validation\)"),
        ({"test": "b.npy", "test_size": 0.3}, r"either test \(--test\) or test_size"),
        ({"validation": "b.npy", "validation_size": 0.3}, "either validation .* not both"),
        ({"image_size": 8}, "for a folder of pictures"),
        ({"image_size": "8x"}, "one side or HEIGHTxWIDTH"),
        ({"image_size": (0, 8)}, "from 1 to 4096"),
        ({"train_batches": (2,)}, "have no effect on"),
    ],
)
def test_choices_out_of_range_or_without_meaning_are_refused(
    choices: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        load(**(written("npy", tmp_path) | choices))


@pytest.mark.parametrize("data", [None, "digits", "cifar10"])
def test_choices_that_mean_nothing_to_a_known_set_are_refused(data: str | None) -> None:
    with pytest.raises(SettingsError, match=r"split_seed \(--split-seed\) has no effect on"):
        load(data, split_seed=1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nosuch", "no such file or folder: nosuch; data sets by name are digits, cifar10 and"),
        ("nosuch/rows", r"no such file or folder: nosuch/rows\.$"),
        ("digits:test", "digits:test is a part of digits; name digits, which has all parts"),
        ("https://example.com/a.csv", "not from https://; download the file and name it"),
    ],
)
def test_a_source_that_is_not_there_is_not_taken_for_a_folder_of_cifar10(
    source: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(source)


def test_the_training_rows_are_not_taken_for_the_test(tmp_path: Path) -> None:
    arguments = written("npz", tmp_path)
    with pytest.raises(SettingsError, match="same as the training rows"):
        load(**arguments, test=arguments["source"])


def test_messages_about_names_in_files_cannot_command_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_line("ignored: \x1b]0;title\x07")
    assert capsys.readouterr().err == "ignored: \\x1b]0;title\\x07\n"


def test_a_name_that_begins_with_a_tilde_and_is_no_users_is_that_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~rows.csv").write_text("a,label\n" + "1,x\n2,y\n" * 20)
    assert load("~rows.csv").train.features == 1
