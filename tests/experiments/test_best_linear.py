"""The best linear fit: its minimum, its bits, its refusals, moved images and compared recipes."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelayer import Dataset, Model, load, solve
from onelayer.engines import make_engine
from onelayer.errors import SettingsError
from onelayer.experiments.best_linear import (
    Recipe,
    compare_recipes,
    drawn_moves,
    fit_best_linear,
    mean_model,
    moved,
    symmetric,
)
from onelayer.objective.loss import GeneralisedCrossEntropy, targets

DIGITS = load("digits")
ROWS = DIGITS.train_and_validation
PLAIN = Recipe(q=0.0, l2=1e-3, moves=0, flips=False)
EXAMPLE = Path(__file__).parents[2] / "examples" / "best_linear_cifar10.py"


def generalised_cross_entropy(s: NDArray[np.float64], y: NDArray[np.int64], q: float) -> float:
    return float(GeneralisedCrossEntropy(q).values(s, targets(y, s.shape[1])).mean())


def mirror(X: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(X.reshape(-1, 8, 8)[..., ::-1].reshape(X.shape))


def test_cross_entropy_without_moves_and_flips_comes_to_the_proven_optimum() -> None:
    best = solve(ROWS, l2=PLAIN.l2)
    model = fit_best_linear(ROWS, replace(PLAIN, epochs=300, batch_size=1400))
    cost = generalised_cross_entropy(model.scores(ROWS.X), ROWS.y, 0.0)
    cost += PLAIN.l2 * float((model.W.astype(np.float64) ** 2).sum())
    assert cost == pytest.approx(best.require_certificate().cost, rel=1e-3)
    assert cost >= best.require_certificate().cost - best.require_certificate().gap - 1e-6


def test_flips_are_the_fit_to_rows_and_mirror_images_together() -> None:
    both = replace(
        ROWS, X=np.concatenate([ROWS.X, mirror(ROWS.X)]), y=np.concatenate([ROWS.y, ROWS.y])
    )
    best = solve(both, l2=PLAIN.l2)
    model = fit_best_linear(ROWS, replace(PLAIN, flips=True, epochs=300, batch_size=1400))
    np.testing.assert_array_equal(model.W, mirror(model.W))
    cost = generalised_cross_entropy(model.scores(both.X), both.y, 0.0)
    cost += PLAIN.l2 * float((model.W.astype(np.float64) ** 2).sum())
    assert cost == pytest.approx(best.require_certificate().cost, rel=1e-3)


def test_moves_are_the_fit_to_all_moves_of_the_rows_together() -> None:
    moves = np.array([(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)])
    every = [moved(ROWS.X, (1, 8, 8), np.tile(move, (ROWS.rows, 1)), 1) for move in moves]
    all_moves = replace(ROWS, X=np.concatenate(every), y=np.tile(ROWS.y, len(moves)))
    best = solve(all_moves, l2=PLAIN.l2, tol=1e-4).require_certificate().cost

    def excess(most: int) -> float:
        model = fit_best_linear(ROWS, replace(PLAIN, moves=most, epochs=300, batch_size=700))
        cost = generalised_cross_entropy(model.scores(all_moves.X), all_moves.y, 0.0)
        return cost + PLAIN.l2 * float((model.W.astype(np.float64) ** 2).sum()) - best

    assert -1e-4 <= excess(1) / best < 0.01
    assert excess(0) / best > 0.1


@pytest.mark.parametrize("q", [0.3, 0.6])
def test_the_loss_that_is_fitted_is_the_recipes(q: float) -> None:
    def loss(fitted: float) -> float:
        recipe = replace(PLAIN, q=fitted, epochs=100, l2=0.01)
        model = fit_best_linear(ROWS, recipe)
        penalty = 0.01 * float((model.W.astype(np.float64) ** 2).sum())
        return generalised_cross_entropy(model.scores(ROWS.X), ROWS.y, q) + penalty

    assert loss(q) < min(loss(q - 0.2), loss(q + 0.2))


def test_a_fit_is_the_same_bits_for_a_seed_on_any_number_of_threads_and_other_for_another() -> None:
    recipe = Recipe(epochs=3, batch_size=200)
    one = fit_best_linear(ROWS, recipe, seed=1, engine=make_engine("native", 1))
    again = fit_best_linear(ROWS, recipe, seed=1, engine=make_engine("native", 3))
    np.testing.assert_array_equal(one.W, again.W)
    np.testing.assert_array_equal(one.b, again.b)
    assert not np.array_equal(one.W, fit_best_linear(ROWS, recipe, seed=2).W)


def test_both_engines_fit_one_map() -> None:
    recipe = Recipe(epochs=3, batch_size=200)
    native, reference = (
        fit_best_linear(ROWS, recipe, engine=make_engine(name)) for name in ("native", "reference")
    )
    np.testing.assert_allclose(native.W, reference.W, atol=1e-3 * np.abs(reference.W).max())


def test_progress_is_told_of_every_epoch() -> None:
    told: list[tuple[int, int]] = []
    fit_best_linear(ROWS, replace(PLAIN, epochs=3), on_progress=lambda *now: told.append(now))
    assert told == [(1, 3), (2, 3), (3, 3)]
    told.clear()
    recipes = [replace(PLAIN, epochs=1), replace(PLAIN, epochs=2)]
    compare_recipes(ROWS, recipes, folds=2, on_progress=lambda *now: told.append(now))
    assert told == [(done, 6) for done in range(1, 7)]


def test_a_fold_is_judged_by_a_model_that_has_not_seen_it() -> None:
    # Labels drawn by lot: what has been seen can be learnt, what has not cannot.
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (120, 400), dtype=np.uint8), np.arange(120) % 2
    noise = Dataset(X, rng.permutation(y), ("a", "b"))
    recipe = replace(PLAIN, q=0.0, l2=1e-6, epochs=60, batch_size=120)
    assert fit_best_linear(noise, recipe).evaluate(noise).accuracy > 0.95
    [held_out] = compare_recipes(noise, [recipe], folds=4)
    assert abs(held_out.accuracy - 0.5) < 0.2  # 4.4 standard deviations
    assert held_out.standard_error == pytest.approx(held_out.accuracies.std(ddof=1) / 2)


def test_the_mean_model_scores_the_mean_of_the_scores() -> None:
    maps = [fit_best_linear(ROWS, Recipe(epochs=2), seed=seed) for seed in (0, 1, 2)]
    both = mean_model(maps)
    expected = np.mean([one.scores(ROWS.X) for one in maps], axis=0)
    np.testing.assert_allclose(both.scores(ROWS.X), expected, atol=1e-4)


def test_rows_that_are_no_pictures_are_refused_only_for_what_needs_pictures() -> None:
    rows = replace(ROWS, image_shape=None)
    fit_best_linear(rows, replace(PLAIN, epochs=1))
    assert fit_best_linear(rows.take(np.arange(200))).settings["moves"] == 0  # none was asked for
    for recipe in (replace(PLAIN, moves=1), replace(PLAIN, flips=True)):
        with pytest.raises(SettingsError, match=r"no images to move or flip.*--moves 0 --no-flips"):
            fit_best_linear(rows, recipe)


def test_settings_out_of_range_are_refused_by_name() -> None:
    wrong = [("q", -0.1), ("q", 1.1), ("l2", -1.0), ("moves", -1), ("epochs", 0)]
    wrong += [("batch_size", 0), ("learning_rate", 0.0), ("momentum", 1.0)]
    for name, value in wrong:
        with pytest.raises(SettingsError, match=name):
            Recipe(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="at least one"):
        compare_recipes(ROWS, [])


def test_the_example_does_on_the_digits_what_it_does_on_cifar10(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main = runpy.run_path(str(EXAMPLE), run_name="example")["main"]
    main(DIGITS, replace(PLAIN, epochs=5), seeds=2, folds=2)
    model = Model.load("best-linear.safetensors")
    assert model.settings["seeds"] == [0, 1]
    said = capsys.readouterr().out
    assert f"their mean: {model.evaluate(DIGITS.test).accuracy:.4f}" in said
    assert said.startswith("held out: 0.")


IMAGE = (3, 5, 4)
MAX_MOVE = 2


def images(seed: int, rows: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, 60), dtype=np.uint8)


@given(seed=st.integers(0, 1000))
def test_every_pixel_comes_from_its_place_before_the_move_or_from_the_nearest_edge(
    seed: int,
) -> None:
    X = images(seed)
    moves = drawn_moves(seed, 1, len(X), MAX_MOVE)
    before, after = X.reshape(-1, *IMAGE), moved(X, IMAGE, moves, MAX_MOVE).reshape(-1, *IMAGE)
    assert after.dtype == X.dtype
    for n, (down, right) in enumerate(moves):
        for i in range(IMAGE[1]):
            for j in range(IMAGE[2]):
                source = np.clip(i - down, 0, IMAGE[1] - 1), np.clip(j - right, 0, IMAGE[2] - 1)
                np.testing.assert_array_equal(after[n, :, i, j], before[n, :, source[0], source[1]])


def test_a_move_by_nothing_changes_nothing() -> None:
    X = images(0)
    np.testing.assert_array_equal(moved(X, IMAGE, np.zeros((3, 2), int), MAX_MOVE), X)


@given(seed=st.integers(0, 1000))
def test_moving_the_mirror_image_is_mirroring_the_move(seed: int) -> None:
    X = images(seed)
    mirrored = X.reshape(-1, *IMAGE)[..., ::-1].reshape(X.shape)
    moves = drawn_moves(seed, 1, len(X), MAX_MOVE)
    one = moved(mirrored, IMAGE, moves * np.array([1, -1]), MAX_MOVE)
    other = moved(X, IMAGE, moves, MAX_MOVE).reshape(-1, *IMAGE)[..., ::-1].reshape(X.shape)
    np.testing.assert_array_equal(one, other)


def test_moves_are_as_likely_each_and_depend_on_seed_and_epoch() -> None:
    moves = drawn_moves(seed=3, epoch=2, rows=25_000, most=MAX_MOVE)
    counts = np.unique(moves, axis=0, return_counts=True)[1]
    assert len(counts) == 25
    # χ² with 24 degrees of freedom: above 60 once in 15 000 seeds.
    assert ((counts - 1000) ** 2 / 1000).sum() < 60
    np.testing.assert_array_equal(moves, drawn_moves(3, 2, 25_000, MAX_MOVE))
    for other in (drawn_moves(4, 2, 25_000, MAX_MOVE), drawn_moves(3, 3, 25_000, MAX_MOVE)):
        assert not np.array_equal(moves, other)


@given(seed=st.integers(0, 1000))
def test_symmetric_weights_score_a_picture_as_its_mirror_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    V, X = rng.normal(size=(2, 60)), rng.normal(size=(4, 60))
    mirrored = X.reshape(-1, *IMAGE)[..., ::-1].reshape(X.shape)
    S = symmetric(V, IMAGE)
    np.testing.assert_allclose(X @ S.T, mirrored @ S.T, atol=1e-12)
    # It is the mean of the scores of both under V, and a projection.
    np.testing.assert_allclose(X @ S.T, (X @ V.T + mirrored @ V.T) / 2, atol=1e-12)
    np.testing.assert_array_equal(symmetric(S, IMAGE), S)
