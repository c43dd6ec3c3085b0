"""A run folder stands for its best run, and a name behind a colon for one setting of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onelayer.cli.models import open_model
from onelayer.errors import SaveError, SettingsError
from onelayer.training.result import Result
from onelayer.training.run_folder import save_records
from tests.model.datasets import make_model
from tests.report.made_paths import make_path
from tests.report.made_results import make_result, make_runs


@pytest.fixture
def result(tmp_path: Path) -> Result:
    """Four settings of two seeds; of λ=0.1 the second seed is best, of all the sixth run."""
    result = make_result(make_runs(seeds=2, epochs=2), snapshots=())
    result.history.validation_accuracy[:] = [[v] * 3 for v in (1, 5, np.nan, 4, 6, 7, 2, 2)]
    result.history.validation_accuracy[:] /= 10
    save_records(result, tmp_path / "run")
    return result


def test_a_folder_is_its_best_run_and_says_so(result: Result, tmp_path: Path) -> None:
    chosen = open_model(str(tmp_path / "run"))
    np.testing.assert_array_equal(chosen.model.W, result.W[5])
    assert chosen.words == f"{result.runs[5].name}, seed 1: best of 8 runs by validation " \
        "accuracy, 70.00%"  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "position"),
    [
        ("λ=0, η=0.1", 1),
        ("λ=0,η=0.01", 3),
        ("Λ=0.1, Η=0.01", 5),
        ("λ=1, η=0.01", 6),
    ],
)
def test_a_setting_is_its_best_seed(
    setting: str, position: int, result: Result, tmp_path: Path
) -> None:
    chosen = open_model(f"{tmp_path / 'run'}:{setting}")
    np.testing.assert_array_equal(chosen.model.W, result.W[position])
    assert "best of 2 runs" in chosen.words


def test_a_number_is_the_rank_of_a_setting_in_the_table(result: Result, tmp_path: Path) -> None:
    for rank, setting in enumerate(result.ranking, start=1):
        numbered = open_model(f"{tmp_path / 'run'}:{rank}")
        assert numbered.name == open_model(f"{tmp_path / 'run'}:{setting.name}").name


@pytest.mark.parametrize("setting", ["λ=2", "5", "0", "-1", "x"])
def test_an_unknown_setting_is_answered_by_those_that_there_are_in_the_order_of_the_table(
    setting: str, result: Result, tmp_path: Path
) -> None:
    with pytest.raises(
        SettingsError, match=r"λ=0, η=0.1;.*; or a number in the table, from 1 to 4"
    ) as refused:
        open_model(f"{tmp_path / 'run'}:{setting}")
    assert "settings: " + "; ".join(one.name for one in result.ranking) in str(refused.value)


def test_a_path_is_its_chosen_model_or_the_one_that_is_named(tmp_path: Path) -> None:
    record = make_path((1.0, 0.1, 0.001))
    save_records(record, tmp_path / "path")
    chosen = open_model(str(tmp_path / "path"))
    np.testing.assert_array_equal(chosen.model.W, record.best.W)
    assert "chosen by accuracy, rule best" in chosen.words
    for setting, position in (("λ=0.1", 1), ("3", 2)):
        named = open_model(f"{tmp_path / 'path'}:{setting}")
        np.testing.assert_array_equal(named.model.W, record.models[position].W)
        assert "chosen" not in named.words


def test_where_there_is_one_model_nothing_is_said(tmp_path: Path) -> None:
    save_records(make_path((0.1,)), tmp_path / "path")
    assert open_model(str(tmp_path / "path")).words == ""
    save_records(make_result(make_runs(seeds=1)[:1], snapshots=()), tmp_path / "run")
    assert open_model(str(tmp_path / "run")).words == ""
    make_model().save(tmp_path / "a:b")
    assert open_model(str(tmp_path / "a:b")).words == ""


def test_a_folder_with_a_colon_is_a_folder(tmp_path: Path) -> None:
    record = make_path((1.0, 0.1))
    save_records(record, tmp_path / "a:b")
    assert open_model(str(tmp_path / "a:b:2")).model.certificate == record.models[1].certificate
    assert open_model(str(tmp_path / "a:b")).model.settings["choice"]["chosen"]


def test_a_folder_of_the_whole_name_comes_before_a_setting(tmp_path: Path) -> None:
    save_records(make_path((1.0, 0.1)), tmp_path / "a")
    save_records(make_path((0.5,)), tmp_path / "a:1")
    assert open_model(str(tmp_path / "a:1")).model.settings["l2"] == 0.5


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="absent should be a model file, but it is not there"):
        open_model(str(tmp_path / "absent"))
    with pytest.raises(SaveError, match=r"is not a run folder: it has no manifest\.json"):
        open_model(str(tmp_path))
