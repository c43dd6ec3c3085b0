"""The tables of an evaluation and of a model, and the picture of templates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onelayer.errors import SettingsError
from onelayer.model.evaluation import Evaluation, Reliability, pairs_of
from onelayer.report.model_tables import evaluation_tables, model_table, strongest_table
from onelayer.report.render import write_templates
from tests.model.datasets import make_model
from tests.report.made_results import CIFAR_CLASSES
from tests.report.test_terminal import printed


def made(names: tuple[str, ...], rows: int = 1000) -> Evaluation:
    K = len(names)
    rng = np.random.default_rng(0)
    confusion = rng.integers(0, rows // K, (K, K)) + (rows // 2) * np.eye(K, dtype=np.int64)
    confusion[:, 0] = 0  # the first class is never predicted
    counts = np.zeros(15, np.int64)
    counts[2:] = rows
    share = np.where(counts > 0, 0.5, np.nan)
    curve = Reliability(counts, share, share - 0.1)
    return Evaluation(names, pairs_of(confusion), 1.5, rows if K > 5 else None, curve)


@pytest.mark.parametrize("rows", [1000, 1_000_000])
@pytest.mark.parametrize(
    "names",
    [("no", "yes"), CIFAR_CLASSES, tuple(f"a class with a long name {k}" for k in range(10))],
)
def test_tables_fit_80_columns_and_no_count_is_cut(names: tuple[str, ...], rows: int) -> None:
    evaluation = made(names, rows)
    text = "\n".join(printed(table) for table in evaluation_tables(evaluation, "a model"))
    assert max(map(len, text.splitlines())) <= 80
    if rows == 1000:
        for k, count in enumerate(evaluation.confusion.max(axis=0)):
            assert f" {count} " in text, k
    else:
        assert ("Most frequent mistakes" in text) == (len(names) > 2)
    assert "…" not in text.replace("a class wit…", "")


def test_the_figures_are_the_evaluations() -> None:
    evaluation = made(CIFAR_CLASSES)
    figures, classes, confusion, calibration = map(printed, evaluation_tables(evaluation, "of"))
    low, high = evaluation.interval
    assert f"{100 * evaluation.accuracy:.2f} %" in figures
    assert f"{100 * low:.2f} to {100 * high:.2f}" in figures
    assert "top-5" in figures
    assert "1.5000" in figures
    assert "10.00 %" in figures  # the calibration error
    [line] = [line for line in classes.splitlines() if line.startswith("airplane")]
    assert line.split()[1:] == [str(evaluation.support[0]), "–", "0.00", "0.00"]
    assert len([line for line in calibration.splitlines() if "−10.00" in line]) == 13
    assert "airp  auto" in confusion


def test_many_classes_are_told_by_their_worst_and_their_mistakes() -> None:
    names = tuple(f"class {k}" for k in range(200))
    _, classes, mistakes, _ = map(printed, evaluation_tables(made(names, 100_000), "of"))
    assert "The 25 of 200 classes with the lowest F1" in classes
    assert "class 0 " in classes
    assert "Most frequent mistakes" in mistakes


def test_names_are_no_markup() -> None:
    evaluation = made(("[red]a[/]", "[/b]"))
    text = "".join(printed(table) for table in evaluation_tables(evaluation, "[/x] model"))
    for name in ("[red]a[/]", "[/b]", "[/x] model"):
        assert name in text
    model = make_model(class_names=("[/a]", "[b]", "c"), feature_names=("[/x]",) * 12)
    text = printed(model_table(model, "[/m]")) + printed(strongest_table(model))
    for name in ("[/a]", "[b]", "[/x]", "[/m]"):
        assert name in text


def test_names_from_files_cannot_command_the_terminal() -> None:
    evaluation = made(("\x1b]0;title\x07a", "b\x9b2J"))
    tables = evaluation_tables(evaluation, "\x1b[2Jmodel\r")
    text = "".join(printed(table) for table in tables)
    assert not set(text) & {"\x1b", "\x07", "\x9b", "\r"}
    assert r"\x1b]0;title\x07a" in text


def test_a_model_is_told_with_its_settings_and_its_proof() -> None:
    text = printed(model_table(make_model(), "a model"))
    for words in (
        "3: class 0, class 1, class 2",
        "12",
        "mean 0",
        "at most 0.01",
        "λ=0.1",
        "90 rows",
    ):
        assert words in text
    assert "none" in printed(model_table(make_model(certificate=None, settings={}), "bare"))


def test_the_strongest_features_are_named_with_their_sign() -> None:
    W = np.zeros((3, 12))
    W[0, [3, 5, 7]] = 1.0, 3.0, -2.0
    table = strongest_table(make_model(W=W), 2)
    assert [row[1].text for row in table.rows] == ["pixel 5 +3, pixel 3 +1", "", ""]
    assert [row[2].text for row in table.rows] == ["pixel 7 -2", "", ""]
    bare = strongest_table(make_model(W=W, feature_names=None), 1)
    assert bare.rows[0][1].text == "feature 5 +3"


def test_templates_become_a_picture(tmp_path: Path) -> None:
    write_templates(make_model(), tmp_path / "t.png", "title")
    with Image.open(tmp_path / "t.png") as picture:
        assert picture.width > 400
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 12
    write_templates(make_model(), tmp_path / "t.SVG", "title")
    assert (tmp_path / "t.SVG").read_text().startswith("<svg")


def test_no_picture_is_made_of_other_features_or_in_another_form(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="features are no image"):
        write_templates(make_model(image_shape=None), tmp_path / "t.png", "title")
    with pytest.raises(SettingsError, match=r"written as .png or .svg, but t.jpg"):
        write_templates(make_model(), tmp_path / "t.jpg", "title")
    assert list(tmp_path.iterdir()) == []


def test_settings_are_rounded_as_the_figures_beside_them_are() -> None:
    settings = {"l2": 8.154283910074345e-05, "validation_accuracy": 0.9370277078085643}
    text = printed(model_table(replace(make_model(), settings=settings), "a model"))
    assert "8.15428e-05" in text
    assert "0.937028" in text
    assert "8.154283" not in text
