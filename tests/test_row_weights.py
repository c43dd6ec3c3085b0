"""Weights of rows and classes through the public interface: J = Σ wᵢ ℓᵢ / Σ wᵢ + λ Σ W²."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight

import onelayer as ol
from onelayer.data import Dataset, Splits
from onelayer.errors import DataError, SaveError, SettingsError
from onelayer.objective.loss import log_softmax, scores
from tests.made_data import make_dataset, make_splits

Fit = Callable[..., list[Any]]
WHOLE = np.random.default_rng(7).integers(0, 4, 90).astype(float)


def with_weights(data: Dataset, weights: Any) -> Dataset:
    return replace(data, weights=weights)


def repeated(data: Dataset, weights: NDArray[Any]) -> Dataset:
    return data.take(np.repeat(np.arange(data.rows), weights.astype(int)))


def splits_of(train: Dataset) -> Splits:
    return replace(make_splits(), train=train)


def solved(train: Dataset, **options: Any) -> list[Any]:
    model = ol.solve(train, 0.01, tol=1e-12, **options)
    return [model.W, model.b, model.scaling.scale, model.require_certificate().cost]


def path(train: Dataset, **options: Any) -> list[Any]:
    found = ol.solve_path(splits_of(train), 4, tol=1e-10, **options)
    scored = [(s.loss, s.accuracy) for s in found.train]
    held_out = [(s.loss, s.accuracy) for (s,) in found.held_out]
    return [found.l2, *(m.W for m in found.models), np.array(scored), np.array(held_out)]


def full_batches(train: Dataset, **options: Any) -> list[Any]:
    # Without a batch_size it is 100 rows, or all of fewer that weigh something.
    batch: Any = "auto" if train.rows < 100 else train.rows
    run = ol.Run(learning_rate=0.1, l2=0.01, batch_size=batch, epochs=5, shuffle=False)
    result = ol.train(splits_of(train), run, dtype="float64", scaling="standardize", **options)
    history = result.history
    figures = [history.train_loss, history.train_accuracy, history.validation_loss]
    return [result.W, result.b, *figures, result.certificates[0].gap]


FITS: dict[str, Fit] = {"solve": solved, "solve_path": path, "train": full_batches}
every_fit = pytest.mark.parametrize("fit", FITS.values(), ids=FITS)


def same(one: list[Any], other: list[Any], **tolerance: Any) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


@every_fit
def test_a_whole_weight_is_a_row_repeated(fit: Fit) -> None:
    data, weights = make_dataset(90, 1), WHOLE + 1
    same(fit(with_weights(data, weights)), fit(repeated(data, weights)), rtol=1e-5, atol=1e-6)


@every_fit
def test_a_row_of_weight_0_is_left_out_to_the_last_bit(fit: Fit) -> None:
    data = make_dataset(90, 1)
    kept = np.flatnonzero(WHOLE)
    left_out = with_weights(data.take(kept), WHOLE[kept])
    for a, b in zip(fit(with_weights(data, WHOLE)), fit(left_out), strict=True):
        np.testing.assert_array_equal(a, b)


@every_fit
@pytest.mark.parametrize("factor", [2.0**40, 0.3, 1e300])
def test_weights_times_a_constant_change_nothing(fit: Fit, factor: float) -> None:
    data = make_dataset(90, 1)
    weights = (WHOLE + 1) / 8
    scaled = fit(with_weights(data, factor * weights))
    same(scaled, fit(with_weights(data, weights)), rtol=1e-6, atol=1e-9)


@every_fit
def test_equal_weights_are_none_to_the_last_bit(fit: Fit) -> None:
    data = make_dataset(90, 1)
    for a, b in zip(fit(with_weights(data, np.full(90, 0.3))), fit(data), strict=True):
        np.testing.assert_array_equal(a, b)


@every_fit
def test_class_weights_are_row_weights_of_the_classes(fit: Fit) -> None:
    data = make_dataset(90, 1)
    by_class = fit(data, class_weight={"a": 3, 1: 0.5})
    by_row = fit(with_weights(data, np.array([3.0, 0.5, 1.0])[data.y]))
    for a, b in zip(by_class, by_row, strict=True):
        np.testing.assert_array_equal(a, b)


@every_fit
def test_balanced_classes_are_by_weight(fit: Fit) -> None:
    data = with_weights(make_dataset(90, 1), WHOLE + 1)
    mass = np.bincount(data.y, data.weights)
    by_row = with_weights(data, (WHOLE + 1) / mass[data.y])
    same(fit(data, class_weight="balanced"), fit(by_row), rtol=1e-6, atol=1e-9)


@every_fit
def test_a_class_of_weight_0_has_no_training_rows(fit: Fit) -> None:
    data = make_dataset(90, 1)
    left = data.take(data.y != 2)
    for a, b in zip(fit(data, class_weight={"c": 0}), fit(left), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 2.0, 2: 0.25}])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_optimum_is_scikit_learns(class_weight: Any, weighted: bool) -> None:
    data = make_dataset(90, 1, np.float64)
    X, y, l2 = data.X.astype(float) / 255.0, data.y, 0.002
    weights = (WHOLE + 1) / 8 if weighted else np.ones(90)
    of_class = compute_class_weight(class_weight, classes=np.arange(3), y=y, sample_weight=weights)
    # C Σ w ℓ + ½ ‖W‖² is 2λ Σ w · J with C = 1 / (2λ Σ w).
    mass = float((weights * of_class[y]).sum())
    theirs = LogisticRegression(
        C=1 / (2 * l2 * mass), class_weight=class_weight, tol=1e-10, max_iter=10_000
    ).fit(X, y, weights)
    ours = ol.solve(
        with_weights(data, weights), l2, tol=1e-13, scaling="unit", class_weight=class_weight
    )
    np.testing.assert_allclose(ours.W, theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(ours.b - ours.b.mean(), theirs.intercept_, atol=1e-5)


@pytest.mark.parametrize("seed", range(40))
def test_the_bound_holds_with_weights_of_rows_and_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    N, D, K = (int(rng.integers(*of)) for of in ((12, 60), (1, 12), (2, 6)))
    y = np.arange(N) % K
    X = rng.normal(size=(N, D)) * 10.0 ** rng.integers(-2, 3)
    weights = rng.choice([0.0, 1.0, 1e-6, 30.0], N)
    weights[:K] = 1.0
    class_weight: Any = "balanced" if seed % 2 else {0: 5.0, 1: float(seed % 3)}
    names = tuple(map(str, range(K)))
    data, l2 = Dataset(X, y, names, weights=weights), 10.0 ** rng.integers(-5, 1)
    if class_weight != "balanced" and not seed % 3 and K == 2:
        class_weight = {0: 5.0}
    own = np.ones(K)
    if class_weight == "balanced":
        own = 1.0 / np.bincount(y, weights, K)
    else:
        own[:2] = class_weight[0], class_weight.get(1, 1.0)
    in_cost = weights * own[y]

    def cost(model: ol.Model) -> float:
        S = scores(model.scaling.apply(X), model.W, model.b)
        losses = -log_softmax(S)[np.arange(N), y]
        total = np.average(losses[in_cost > 0], weights=in_cost[in_cost > 0])
        return float(total + l2 * (model.W.astype(float) ** 2).sum())

    best = ol.solve(data, l2, class_weight=class_weight)
    other = replace(best, W=best.W + rng.normal(size=best.W.shape), certificate=None)
    for model in (best, other):
        certificate = ol.certify(model, data, l2=l2)
        assert certificate.cost == pytest.approx(cost(model), rel=1e-5)
        assert certificate.lower_bound <= cost(best) * (1 + 1e-12)
        assert certificate.trained_with == ""


def test_training_ends_near_the_weighted_optimum() -> None:
    data = make_dataset(90, 1)
    splits = splits_of(with_weights(data, WHOLE))
    run = ol.Run(learning_rate=0.3, l2=0.05, epochs=60, batch_size=20)
    result = ol.train(splits, run, class_weight="balanced")
    best = ol.solve(splits, 0.05, class_weight="balanced")
    proven, lowest = result.certificates[0], best.require_certificate().cost
    assert lowest <= proven.cost <= lowest * 1.05
    assert proven.cost - proven.gap <= lowest
    assert ol.certify(result.best, splits).cost == pytest.approx(proven.cost, rel=1e-5)


def test_suggested_learning_rates_are_by_weight() -> None:
    data = make_dataset(90, 1)
    weighted = ol.suggest_learning_rate(with_weights(data, WHOLE), batch_size=10**6)
    rows = ol.suggest_learning_rate(repeated(data, WHOLE), batch_size=10**6)
    assert weighted.stable == pytest.approx(rows.stable, rel=1e-3)
    assert weighted.stable != pytest.approx(
        ol.suggest_learning_rate(data, batch_size=10**6).stable, rel=1e-3
    )
    heavy = ol.suggest_learning_rate(data, class_weight={"a": 50})
    assert heavy.learning_rate < ol.suggest_learning_rate(data).learning_rate


def test_folds_are_scored_by_the_weights_of_rows_and_not_of_classes() -> None:
    data, options = splits_of(with_weights(make_dataset(90, 1), WHOLE + 1)), {"folds": 3}
    plain = ol.solve_path(data, [1e3], **options)  # type: ignore[arg-type]
    heavy = ol.solve_path(data, [1e3], class_weight={"a": 1e6}, **options)  # type: ignore[arg-type]
    weighted = sum(s.effective_rows or 0.0 for s in plain.held_out[0])
    assert weighted < 90
    # All are called "a" then, which is right for a share of the rows, not for all of the weight.
    assert max(s.accuracy for s in heavy.held_out[0]) < 0.8


@pytest.mark.usefixtures("blank_pages")
def test_models_and_records_keep_the_class_weight(tmp_path: Path) -> None:
    data = splits_of(with_weights(make_dataset(90, 1), WHOLE))
    found = ol.train(data, ol.Run(0.1, epochs=1), class_weight={"a": 2, 1: 0.5})
    found.save(tmp_path / "run")
    again = ol.Result.load(tmp_path / "run")
    kept = {"a": 2.0, "b": 0.5}
    assert again.class_weight == kept
    assert again.best.settings["class_weight"] == kept
    assert again.best.settings["sample_weight"] is True
    assert again.data.weighted
    assert again.data.train_rows == np.count_nonzero(WHOLE)
    model = ol.solve(data, 0.1, class_weight="balanced")
    model.save(tmp_path / "model.safetensors")
    settings = ol.Model.load(tmp_path / "model.safetensors").settings
    assert (settings["class_weight"], settings["sample_weight"]) == ("balanced", True)


@pytest.mark.parametrize("what", ["train", "solve_path"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights": WHOLE + 2}, "the weights of the training rows changed"),
        ({"weights": None}, "the weights of the training rows changed"),
        ({"class_weight": "balanced"}, "class.weight was not set and is balanced"),
        ({"class_weight": {"a": 2.0}}, "the a was not set and is 2.0|class.weight was not set"),
    ],
)
def test_resuming_with_other_weights_is_refused(
    tmp_path: Path, what: str, change: dict[str, Any], words: str
) -> None:
    def work(weights: Any, class_weight: Any, *, resume: bool) -> None:
        data = splits_of(with_weights(make_dataset(90, 1), weights))
        checkpoint = ol.Checkpoint(tmp_path / "run", every=0, resume=resume)
        how: dict[str, Any] = {"class_weight": class_weight, "checkpoint": checkpoint}
        if what == "train":
            ol.train(data, ol.Run(0.1, epochs=2), **how)
        else:
            ol.solve_path(data, [1.0, 0.1], **how)

    before = {"weights": WHOLE + 1, "class_weight": None}
    work(**before, resume=False)
    work(**before, resume=True)
    with pytest.raises(SaveError, match=words):
        work(**before | change, resume=True)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.ones(89), r"must hold one number for each of the 90 rows, but its shape is \(89,\)"),
        (
            np.ones((90, 1)),
            r"must hold one number for each of the 90 rows, but its shape is \(90, 1\)",
        ),
        (-np.eye(1, 90)[0], "must be finite and 0 or above, but row 0 has -1"),
        (np.r_[np.ones(89), np.nan], "must be finite and 0 or above, but row 89 has nan"),
        (np.r_[np.inf, np.ones(89)], "must be finite and 0 or above, but row 0 has inf"),
        (np.zeros(90), "must be above 0 for some rows, but all of it is zero"),
        (["heavy"] * 90, "must be numbers, but it holds 'heavy'"),
    ],
)
def test_bad_weights_are_refused_in_a_sentence(weights: Any, words: str) -> None:
    data = make_dataset(90, 1)
    with pytest.raises(DataError, match=f"weights {words}"):
        with_weights(data, weights)
    with pytest.raises(DataError, match=f"weights {words}"):
        ol.split(data.X, data.y, weights=weights)


@pytest.mark.parametrize(
    ("class_weight", "words"),
    [
        ({"d": 1}, r"names the class 'd', which is not there \(classes: a, b, c\)"),
        ({3: 1}, "names the class 3, which is not there"),
        ({-1: 1}, "names the class -1, which is not there"),
        ({"a": 1, 0: 2}, "names the class 'a' twice"),
        ({"a": -1}, "must be finite and 0 or above, but 'a' has -1"),
        ({"a": np.nan}, "must be finite and 0 or above, but 'a' has nan"),
        ({"a": "2"}, "must be finite and 0 or above, but 'a' has '2'"),
        ({"a": True}, "must be finite and 0 or above, but 'a' has True"),
        ({"a": 0, "b": 0}, "must leave training rows of two classes.*rows of class 'c' alone"),
        ({"a": 0, "b": 0, "c": 0}, "must leave training rows of two classes.*rows of no class"),
        ("heavy", "must be 'balanced' or a dict of classes and weights, but 'heavy'"),
        ([1, 2, 3], r"must be 'balanced' or a dict of classes and weights, but \[1, 2, 3\]"),
    ],
)
@every_fit
def test_bad_class_weights_are_refused_in_a_sentence(
    fit: Fit, class_weight: Any, words: str
) -> None:
    with pytest.raises(SettingsError, match=f"class_weight {words}"):
        fit(make_dataset(90, 1), class_weight=class_weight)


@pytest.mark.parametrize(
    ("labels", "keys"),
    [
        (["cat", "dog"], ({"dog": 3}, {1: 3}, {"dog": 3.0})),
        ([3, 7], ({7: 3}, {"7": 3}, {np.int64(7): 3})),
        ([False, True], ({True: 3}, {"true": 3})),
    ],
)
def test_a_class_is_named_by_its_label(labels: list[Any], keys: tuple[Any, ...]) -> None:
    data = ol.split(np.random.default_rng(0).normal(size=(40, 2)), labels * 20)
    name = data.train.class_names[1]
    for class_weight in keys:
        assert ol.solve(data, 0.1, class_weight=class_weight).settings["class_weight"] == {
            name: 3.0
        }


def test_the_place_of_a_class_whose_label_is_a_number_is_no_name_of_it() -> None:
    data = ol.split(np.random.default_rng(0).normal(size=(40, 2)), [3, 7] * 20)
    with pytest.raises(SettingsError, match="names the class 1, which is not there"):
        ol.solve(data, 0.1, class_weight={1: 2})
