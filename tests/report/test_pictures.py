"""Rows of W as pictures."""

from __future__ import annotations

import numpy as np

from onelayer.report.weight_images import template_grid, templates_of
from onelayer.training.run import Run
from tests.report.made_results import make_result, make_runs


def test_pictures_are_grey_at_zero_and_use_the_whole_scale() -> None:
    W = np.linspace(-0.01, 0.01, 3 * 4 * 4)[None]
    picture = templates_of(W, (3, 4, 4))
    assert picture.shape == (1, 4, 4, 3)
    assert (picture.min(), picture.max()) == (0, 255)
    assert (templates_of(np.zeros((1, 48)), (3, 4, 4)) == 128).all()
    assert templates_of(np.array([[-1.0, 0.0, 1.0]]), (1, 1, 3))[0, 0, :, 0].tolist() == [
        0,
        128,
        255,
    ]
    red = np.zeros((1, 48))
    red[0, :16] = 1.0
    assert templates_of(red, (3, 4, 4))[0, 0, 0].tolist() == [255, 128, 128]


def test_a_grid_has_a_row_for_each_setting_and_a_step_for_each_epoch() -> None:
    result = make_result(make_runs(seeds=1, epochs=3))
    grid = template_grid(result, range(4), "abcd")
    assert grid is not None
    assert grid.labels == ("epoch 0", "epoch 1", "epoch 2", "epoch 3")
    assert grid.start == 3
    assert grid.size == (32, 32)
    assert [row.name for row in grid.rows] == [run.name for run in result.runs]
    assert all(row.frames == (0, 1, 2, 3) for row in grid.rows)
    assert list(grid.drawings) == [f"templates-{file}" for file in "abcd"]


def test_a_run_that_stopped_early_keeps_its_last_epoch_and_says_so() -> None:
    runs = [Run(0.1, epochs=2), Run(0.2, epochs=5), Run(0.3, epochs=5)]
    grid = template_grid(make_result(runs, snapshots=[0, 1]), range(3), "abc")
    assert grid is not None
    assert grid.rows[0].frames == (0, 1, 2, 2, 2, 2)
    assert "epoch 2:" in grid.rows[0].readings[5]
    # Without snapshots there is one picture, and its epoch is named at every step.
    assert grid.rows[2].frames == (0,) * 6
    assert all("epoch 5" in reading for reading in grid.rows[2].readings)


def test_long_trainings_and_large_images_keep_their_sheets_small() -> None:
    result = make_result(
        [Run(0.1, epochs=200)], classes=("a", "b"), image_shape=(1, 100, 100), features=10_000
    )
    grid = template_grid(result, [0], ["a"])
    assert grid is not None
    assert len(grid.labels) == 61
    assert grid.labels[-1] == "epoch 200"
    assert grid.size == (50, 50)
