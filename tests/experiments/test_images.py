"""What is done to pictures: whole pixels, edges repeated, and mirror images."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onelayer.experiments.best_linear import drawn_moves, moved, symmetric

SHAPE = (3, 5, 4)
MOST = 2


def pictures(seed: int, rows: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, 60), dtype=np.uint8)


@given(seed=st.integers(0, 1000))
def test_every_pixel_comes_from_its_place_before_the_move_or_from_the_nearest_edge(
    seed: int,
) -> None:
    X = pictures(seed)
    moves = drawn_moves(seed, 1, len(X), MOST)
    before, after = X.reshape(-1, *SHAPE), moved(X, SHAPE, moves, MOST).reshape(-1, *SHAPE)
    assert after.dtype == X.dtype
    for n, (down, right) in enumerate(moves):
        for i in range(SHAPE[1]):
            for j in range(SHAPE[2]):
                source = np.clip(i - down, 0, SHAPE[1] - 1), np.clip(j - right, 0, SHAPE[2] - 1)
                np.testing.assert_array_equal(after[n, :, i, j], before[n, :, source[0], source[1]])


def test_a_move_by_nothing_changes_nothing() -> None:
    X = pictures(0)
    np.testing.assert_array_equal(moved(X, SHAPE, np.zeros((3, 2), int), MOST), X)


@given(seed=st.integers(0, 1000))
def test_moving_the_mirror_image_is_mirroring_the_move(seed: int) -> None:
    X = pictures(seed)
    mirrored = X.reshape(-1, *SHAPE)[..., ::-1].reshape(X.shape)
    moves = drawn_moves(seed, 1, len(X), MOST)
    one = moved(mirrored, SHAPE, moves * np.array([1, -1]), MOST)
    other = moved(X, SHAPE, moves, MOST).reshape(-1, *SHAPE)[..., ::-1].reshape(X.shape)
    np.testing.assert_array_equal(one, other)


def test_moves_are_as_likely_each_and_depend_on_seed_and_epoch() -> None:
    moves = drawn_moves(seed=3, epoch=2, rows=25_000, most=MOST)
    counts = np.unique(moves, axis=0, return_counts=True)[1]
    assert len(counts) == 25
    # χ² with 24 degrees of freedom: above 60 once in 15 000 seeds.
    assert ((counts - 1000) ** 2 / 1000).sum() < 60
    np.testing.assert_array_equal(moves, drawn_moves(3, 2, 25_000, MOST))
    for other in (drawn_moves(4, 2, 25_000, MOST), drawn_moves(3, 3, 25_000, MOST)):
        assert not np.array_equal(moves, other)


@given(seed=st.integers(0, 1000))
def test_symmetric_weights_score_a_picture_as_its_mirror_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    V, X = rng.normal(size=(2, 60)), rng.normal(size=(4, 60))
    mirrored = X.reshape(-1, *SHAPE)[..., ::-1].reshape(X.shape)
    S = symmetric(V, SHAPE)
    np.testing.assert_allclose(X @ S.T, mirrored @ S.T, atol=1e-12)
    # It is the mean of the scores of both under V, and a projection.
    np.testing.assert_allclose(X @ S.T, (X @ V.T + mirrored @ V.T) / 2, atol=1e-12)
    np.testing.assert_array_equal(symmetric(S, SHAPE), S)
