"""Rows of W as pictures."""

from __future__ import annotations

import numpy as np

from onelayer.report.weight_images import pictures_of, template_sheet
from onelayer.training.run import Run
from tests.report.made_results import make_result, make_runs


def test_pictures_are_grey_at_zero_and_use_the_whole_scale() -> None:
    W = np.linspace(-0.01, 0.01, 3 * 4 * 4)[None]
    picture = pictures_of(W, (3, 4, 4))
    assert picture.shape == (1, 4, 4, 3)
    assert (picture.min(), picture.max()) == (0, 255)
    assert (pictures_of(np.zeros((1, 48)), (3, 4, 4)) == 128).all()
    red = np.zeros((1, 48))
    red[0, :16] = 1.0
    assert pictures_of(red, (3, 4, 4))[0, 0, 0].tolist() == [255, 128, 128]


def test_a_sheet_has_a_row_for_each_epoch() -> None:
    sheet = template_sheet(make_result(make_runs(seeds=1, epochs=3)), 0)
    assert sheet is not None
    assert sheet.labels == ("epoch 0", "epoch 1", "epoch 2", "epoch 3")
    assert sheet.start == 3
    assert (sheet.width, sheet.height) == (32, 32)


def test_long_trainings_and_large_images_keep_their_sheets_small() -> None:
    result = make_result(
        [Run(0.1, epochs=200)], classes=("a", "b"), image_shape=(1, 100, 100), features=10_000
    )
    sheet = template_sheet(result, 0)
    assert sheet is not None
    assert len(sheet.labels) == 61
    assert sheet.labels[-1] == "epoch 200"
    assert (sheet.width, sheet.height) == (50, 50)
