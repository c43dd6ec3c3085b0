"""The λ path: every point proven, one chosen by rows that no model was fitted to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from onelayer import Run, certify, load, split
from onelayer.data import Dataset, Splits
from onelayer.data.rows import rows_of
from onelayer.data.scaling import fit_scaling
from onelayer.data.split import folds_of, stratified_folds
from onelayer.engines import ENGINE_NAMES, make_engine
from onelayer.errors import CheckpointWarning, DataError, SaveError, SettingsError
from onelayer.model.intervals import wilson_interval
from onelayer.objective import loss as objective
from onelayer.solver import Choice, PathProgress, Score, newton, solve, solve_path
from onelayer.solver import Path as LambdaPath
from onelayer.solver import path as solver_path
from onelayer.solver.path import l2_values, largest_l2
from onelayer.solver.selection import choose, has_turned, merit, score
from onelayer.training.checkpoint import Checkpoint
from tests.examples import few
from tests.made_data import make_splits
from tests.oracle import accuracy
from tests.solver.oracle import take_method


def unit(dataset: Dataset) -> NDArray[np.float64]:
    """Features as the solver sees them."""
    return dataset.X.astype(np.float64) / dataset.max_value


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load("digits")


@pytest.mark.parametrize("engine_name", ENGINE_NAMES)
def test_every_lambda_is_certified_and_the_same_as_alone(engine_name: str, digits: Splits) -> None:
    engine = make_engine(engine_name)
    path = solve_path(digits, [0.001, 1.0, 0.03], tol=1e-8, engine=engine)
    assert path.l2.tolist() == [1.0, 0.03, 0.001]
    for model in path.models:
        optimum = model.require_certificate()
        assert model.status == "optimal"
        assert optimum.gap <= 1e-8 * optimum.cost
        alone = solve(digits, optimum.l2, tol=1e-8, engine=engine).require_certificate()
        assert optimum.cost == pytest.approx(alone.cost, rel=3e-8)


def test_a_smaller_lambda_fits_the_training_rows_better_with_larger_weights(
    digits: Splits,
) -> None:
    path = solve_path(digits, 6)
    losses = [one.loss for one in path.train]
    norms = [float(np.linalg.norm(optimum.W)) for optimum in path.models]
    assert losses == sorted(losses, reverse=True)
    assert norms == sorted(norms)


def test_the_chosen_lambda_is_best_on_validation_rows_and_alone_meets_the_test_rows(
    digits: Splits,
) -> None:
    path = solve_path(digits, 5)
    held_out = [one[0].accuracy for one in path.held_out]
    assert held_out[path.chosen] == max(held_out)
    X, best = unit(digits.test), path.best
    S = objective.scores(X, best.W, best.b)
    assert path.test is not None
    assert path.test.accuracy == accuracy(S, digits.test.y)
    assert path.test.loss == pytest.approx(objective.loss(S, digits.test.y), rel=1e-6)


def test_folds_hold_out_what_they_are_judged_by(digits: Splits) -> None:
    path = solve_path(digits, [0.1, 0.001], folds=4, tol=1e-7)
    assert all(len(scores) == 4 for scores in path.held_out)
    assert sum(one.rows for one in path.held_out[0]) == digits.train.rows
    kept, held_out = stratified_folds(digits.train.y, 4)[0]
    fitted = solve(digits.train.take(kept), 0.1, tol=1e-7)
    own = digits.train.take(held_out)
    S = objective.scores(unit(own), fitted.W, fitted.b)
    assert path.held_out[0][0].loss == pytest.approx(objective.loss(S, own.y), rel=1e-3)
    assert path.held_out[0][0].rows == own.rows


@pytest.mark.parametrize("by", ["log_loss", "roc_auc"])
def test_rows_that_groups_repeat_say_no_more_than_one_row_of_each_group(by: str) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), np.arange(40) % 2
    W, b = rng.normal(size=(2, 3)), np.zeros(2)
    data = Dataset(np.tile(X, (9, 1)), np.tile(y, 9), ("a", "b"), groups=np.tile(np.arange(40), 9))
    scaling, engine = fit_scaling("none", X), make_engine()
    once = replace(data.take(slice(40)), groups=None)
    (alone,), (each,) = (score(engine, rows_of(of, scaling), [(W, b)], by) for of in (once, data))
    assert (alone.groups, each.groups) == (None, 40)
    assert each.accuracy_error == pytest.approx(alone.accuracy_error * np.sqrt(40 / 39))
    assert each.loss_error == pytest.approx(alone.loss_error * np.sqrt(40 / 39))
    if by == "roc_auc":
        assert each.value_error == pytest.approx(alone.value_error)


def test_models_of_folds_have_not_seen_what_they_are_judged_by(digits: Splits) -> None:
    path = solve_path(digits, [0.001, 0.0], folds=3)
    assert path.train[1].accuracy == 1.0
    assert all(one.accuracy < 0.98 for one in path.held_out[1])


def test_folds_that_move_as_all_rows_did_are_scored_as_if_they_had_not(
    digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"folds": 3, "tol": solver_path.SHARED_TOL}
    together = solve_path(digits, [1.0, 0.1, 0.01], **options)
    monkeypatch.setattr(solver_path, "SHARED_TOL", 0.0)
    alone = solve_path(digits, [1.0, 0.1, 0.01], **options)
    assert together.held_out != alone.held_out
    for ours, theirs in zip(together.held_out, alone.held_out, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.loss == pytest.approx(other.loss, rel=2e-3)


def test_with_a_wide_tol_each_fold_starts_where_its_own_last_solution_ended(
    digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = solve_path(digits, [0.1, 0.01], folds=2, tol=0.01)
    monkeypatch.setattr(solver_path, "SHARED_TOL", 0.0)
    assert solve_path(digits, [0.1, 0.01], folds=2, tol=0.01).held_out == path.held_out


def test_a_solution_moved_on_by_the_last_change_takes_fewer_passes(
    digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    l2 = np.logspace(0, -4, 20)
    moved = sum(model.passes or 0 for model in solve_path(digits, l2).models)
    monkeypatch.setattr(solver_path, "extrapolation", lambda *_: 0.0)
    still = sum(model.passes or 0 for model in solve_path(digits, l2).models)
    assert moved < 0.9 * still


def test_a_class_missing_from_a_fold_is_no_obstacle() -> None:
    rng = np.random.default_rng(0)
    y = np.r_[np.zeros(10, np.int64), np.ones(10, np.int64), [2]]
    rare = Dataset(rng.normal(size=(21, 3)), y, ("a", "b", "once"))
    path = solve_path(Splits(rare, rare, rare, "rare", "made"), [0.1], folds=3)
    assert path.best.status == "optimal"
    assert np.isfinite([one.loss for one in path.held_out[0]]).all()


@given(st.lists(st.integers(0, 4), min_size=4, max_size=60), st.integers(2, 4))
def test_folds_part_the_rows_and_spread_each_class(labels: list[int], folds: int) -> None:
    y = np.array(labels)
    parts = stratified_folds(y, folds)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([held_out for _, held_out in parts])), np.arange(len(y))
    )
    for kept, held_out in parts:
        np.testing.assert_array_equal(np.sort(np.r_[kept, held_out]), np.arange(len(y)))
    for k in set(labels):
        sizes = [int((y[held_out] == k).sum()) for _, held_out in parts]
        assert max(sizes) - min(sizes) <= 1


def test_one_standard_error_takes_the_largest_lambda_that_is_not_clearly_worse() -> None:
    scores = [[Score(loss, 0.05, 0.5, 0.05, 100)] for loss in (2.0, 1.04, 1.02, 1.0, 1.5)]
    assert choose(scores, Choice("log_loss", "best")) == 3
    assert choose(scores, Choice("log_loss", "one-standard-error")) == 1


def test_the_error_of_folds_is_that_of_their_spread() -> None:
    folds = [Score(1.0, 9.0, a, 9.0, 10) for a in (0.4, 0.5, 0.6)]
    mean, error = merit(folds, "accuracy")
    assert mean == pytest.approx(0.5)
    assert error == pytest.approx(0.1 / np.sqrt(3))


@pytest.mark.parametrize("effective", [0.0, -0.0, -3.0, float("nan")])
def test_a_score_of_rows_without_weight_is_refused(effective: float) -> None:
    with pytest.raises(SettingsError, match="effective_rows must be a number above 0"):
        Score(1.0, 0.1, 0.5, 0.1, 100, effective_rows=effective)


def test_scores_have_the_standard_errors_of_their_rows() -> None:
    data = make_splits(rows=60).train
    optimum = solve(data, 0.1, scaling="unit")
    S = objective.scores(unit(data), optimum.W, optimum.b)
    losses = -objective.log_softmax(S)[np.arange(60), data.y]
    from onelayer.data.rows import rows_of
    from onelayer.data.scaling import fit_scaling

    rows = rows_of(data, fit_scaling("unit", data.X, data.max_value))
    own, _ = score(make_engine(), rows, [(optimum.W, optimum.b), (-optimum.W, optimum.b)])
    assert own.loss_error == pytest.approx(losses.std() / np.sqrt(60), rel=1e-6)
    a = own.accuracy
    assert own.accuracy_error == pytest.approx(np.sqrt(a * (1 - a) / 60))


def test_ctrl_c_keeps_the_lambdas_that_were_solved(digits: Splits) -> None:
    def second(now: PathProgress) -> None:
        if now.done == 2:
            raise KeyboardInterrupt

    path = solve_path(digits, 5, on_progress=second)
    assert path.interrupted
    assert len(path.train) == len(path.held_out) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"l2": []}, "at least one value"),
        ({"l2": 1}, r"l2 must be values of λ, as in \[0.1\], or how many"),
        ({"l2": [-1.0]}, r"l2 \(λ\)"),
        ({"folds": 1}, "folds must be from 2"),
        ({"folds": -2}, "folds must be a whole number"),
        ({"tol": -1.0}, "tol must be"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(
    change: dict[str, object], words: str, digits: Splits
) -> None:
    with pytest.raises(SettingsError, match=words):
        solve_path(digits, **{"l2": [0.1]} | change)  # type: ignore[arg-type]


@pytest.mark.parametrize("choice", [{"by": "auc"}, {"rule": "two-standard-errors"}])
def test_an_unknown_choice_is_refused(choice: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"must be|unknown metric 'auc'"):
        Choice(**choice)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "method", ["newton", "class curvature", "l-bfgs from float32", "l-bfgs, then newton"]
)
@pytest.mark.parametrize("l2", few(1, [(1.0, 0.01, 1e-3, 0.0), 3]))
def test_an_interrupted_path_resumes_bit_for_bit_at_every_lambda(
    l2: Any, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if method == "l-bfgs, then newton":
        monkeypatch.setattr(newton, "FEW_STEPS", 0)
        monkeypatch.setattr(newton, "NEWTON_STEPS", 5.0)
    else:
        take_method(method, monkeypatch)
    data = make_splits()
    options: dict[str, Any] = {"folds": 2, "scaling": "none", "tol": 1e-5}
    whole, part, ends = solve_path(data, l2, **options), None, 0

    def interrupt(now: PathProgress) -> None:
        if now.done > ends:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path, every=0, resume=True)
    for ends in range(len(whole.models)):
        part = solve_path(data, l2, on_progress=interrupt, checkpoint=checkpoint, **options)
        assert (part.interrupted, len(part.models)) == (True, ends + 1)
    part = solve_path(data, l2, checkpoint=checkpoint, **options)
    assert not part.interrupted
    assert [model.passes for model in part.models] == [model.passes for model in whole.models]
    assert (part.held_out, part.chosen) == (whole.held_out, whole.chosen)
    for one, other in zip(part.models, whole.models, strict=True):
        assert one.certificate == other.certificate
        assert (one.W.tobytes(), one.b.tobytes()) == (other.W.tobytes(), other.b.tobytes())


def test_a_path_resumes_only_with_the_same_data_and_settings(tmp_path: Path) -> None:
    data, checkpoint = make_splits(), Checkpoint(tmp_path, every=0, resume=True)
    solve_path(data, [0.1, 0.01], scaling="none", checkpoint=checkpoint)
    changed = replace(data, train=replace(data.train, X=data.train.X + 1))
    for other, l2, options, words in (
        (data, [0.1], {}, r"the l2 was \[0.1, 0.01\] and is \[0.1\]"),
        (data, [0.1, 0.01], {"folds": 2}, "the folds was 0 and is 2"),
        (data, [0.1, 0.01], {"tol": 1e-3}, "the tol was"),
        (changed, [0.1, 0.01], {}, "the training data changed"),
    ):
        with pytest.raises(SaveError, match=f"cannot resume from .*: {words}"):
            solve_path(other, l2, scaling="none", checkpoint=checkpoint, **options)
    again = solve_path(data, [0.1, 0.01], rule="one-standard-error", scaling="none",
                       checkpoint=checkpoint)  # fmt: skip
    assert not again.interrupted


def test_a_damaged_solution_is_solved_again_from_the_one_before(tmp_path: Path) -> None:
    data, checkpoint = make_splits(), Checkpoint(tmp_path, every=0, resume=True)
    whole = solve_path(data, [1.0, 0.1, 0.01], scaling="none", checkpoint=checkpoint)
    newest = max((tmp_path / "checkpoints").iterdir())
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    seen: list[PathProgress] = []
    with pytest.warns(CheckpointWarning, match="trying an older checkpoint: its content changed"):
        again = solve_path(
            data, [1.0, 0.1, 0.01], scaling="none", checkpoint=checkpoint, on_progress=seen.append
        )
    assert [now.done for now in seen] == [3]
    assert [model.certificate for model in again.models] == [
        model.certificate for model in whole.models
    ]


@pytest.mark.slow
def test_a_path_is_saved_with_its_page_and_comes_back_bit_for_bit(
    digits: Splits, tmp_path: Path
) -> None:
    path = solve_path(digits, [0.1, 0.01], tol=1e-4)
    path.save(tmp_path / "run")
    assert (tmp_path / "run" / "report.html").stat().st_size > 100_000
    back = LambdaPath.load(tmp_path / "run")
    assert (back.data, back.chosen, back.choice) == (path.data, path.chosen, path.choice)
    for one, other in zip(back.models, path.models, strict=True):
        np.testing.assert_array_equal(one.W, other.W)
        assert one.certificate == other.certificate
        assert one.settings == other.settings
    page = back.report(tmp_path / "page.html")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_path_prints_a_line_for_each_lambda_and_marks_the_chosen_one(digits: Splits) -> None:
    path = solve_path(digits, [0.1, 0.0], tol=1e-2)
    head, _, _, *lines = repr(path).splitlines()
    assert "Optimum of each λ; ◄ chosen by accuracy on validation rows" in head
    assert lines[path.chosen].rstrip().endswith("◄")
    assert lines[-len(path.verdict) :] == list(path.verdict)
    assert "no bound" in lines[1]
    assert "<table" in path._repr_html_()


def test_models_know_their_data_and_that_they_are_an_optimum(digits: Splits) -> None:
    alone, best = solve(digits, 0.01), solve_path(digits, [0.01]).best
    np.testing.assert_array_equal(alone.W, best.W)
    for model in (alone, best):
        assert (model.l2, model.status) == (0.01, "optimal")
        assert model.passes == model.settings["passes"]
        assert model.settings["data"] == "digits"
        assert model.settings["train_rows"] == digits.train.rows
        assert model.class_names == digits.train.class_names


@pytest.mark.parametrize("l2", [[1.0, 0.01, 1e-4, 0.01], np.geomspace(1e-4, 1.0, 3)])
def test_a_sequence_of_any_kind_is_values_of_lambda(l2: object) -> None:
    assert l2_values(l2) == pytest.approx((1.0, 0.01, 1e-4))  # type: ignore[arg-type]


def embeddings(seed: int = 0, rows: int = 1500) -> Splits:
    """L2-normalised rows of 64 features, of six classes of which one is large."""
    rng = np.random.default_rng(seed)
    y = rng.choice(6, rows, p=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    X = rng.normal(size=(6, 64))[y] + 2.0 * rng.normal(size=(rows, 64))
    return split(X / np.linalg.norm(X, axis=1, keepdims=True), y)


def test_at_the_largest_lambda_of_the_data_the_solution_is_proven_as_good_as_nothing() -> None:
    train = embeddings().train
    rows = rows_of(train, fit_scaling("none", train.X))
    shares = np.bincount(train.y) / train.rows
    entropy = -float(shares @ np.log(shares))
    G = (shares - np.eye(6)[train.y]).T @ train.X.astype(np.float64) / train.rows
    largest = largest_l2(make_engine(), rows, 6)
    assert largest == pytest.approx((G**2).sum() / (4 * 0.01 * entropy), rel=5e-3)
    for l2, at_most in ((largest, 0.01), (largest / 100, 1.0)):
        proof = solve(train, l2, scaling="none").require_certificate()
        assert 0.25 * at_most < 1 - proof.cost / entropy < at_most


def test_the_lambdas_follow_the_data_until_the_score_has_turned_and_are_none_at_an_edge() -> None:
    data = embeddings()
    path = solve_path(data, 20, scaling="none", tol=1e-4)
    accuracies = [one.accuracy for (one,) in path.held_out]
    at_chance = sum(a == accuracies[0] for a in accuracies)
    assert at_chance <= len(accuracies) / 2
    assert 0 < path.chosen < len(accuracies) - 4
    assert (path.edge, path.edge_sentence) == (None, "")
    assert len(path.models) < 39
    ratios = path.l2[1:] / path.l2[:-1]
    np.testing.assert_allclose(ratios, 10 ** (-4 / 19), rtol=1e-12)


@pytest.mark.parametrize("size", [1e-3, 1e4])
def test_features_of_another_size_have_the_same_path_with_another_lambda(size: float) -> None:
    data = embeddings()
    train, validation, test = (
        replace(part, X=size * part.X.astype(np.float64))
        for part in (data.train, data.validation, data.test)
    )
    larger = Splits(train, validation, test, "larger", "made")
    one = solve_path(data, 12, scaling="none", tol=1e-4)
    other = solve_path(larger, 12, scaling="none", tol=1e-4)
    np.testing.assert_allclose(other.l2, size**2 * one.l2, rtol=1e-2)
    assert [len(other.models), other.chosen] == [len(one.models), one.chosen]


def test_a_path_on_noise_ends_early_and_says_that_the_features_say_nothing() -> None:
    rng = np.random.default_rng(3)
    noise = split(rng.normal(size=(600, 20)), rng.integers(0, 3, 600))
    path = solve_path(noise, 20, scoring="neg_log_loss")
    assert len(path.models) < 12
    assert (path.edge, path.chosen) == ("largest", 0)
    assert "hardly more than the class frequencies" in path.verdict[1]


def test_a_path_says_what_it_chose_and_where_with_the_interval_of_its_accuracy() -> None:
    data = embeddings()
    path = solve_path(data, [0.1, 0.01], scaling="none")
    assert path.edge == "smallest"
    chosen, edge, accuracy = path.verdict
    assert chosen == "chosen: λ = 0.01 of 2 from 0.1 to 0.01"
    assert edge.endswith("the smallest that was tried: a still smaller one may do better.")
    assert path.test is not None
    assert f"{100 * path.test.accuracy:.2f} % (95 %" in accuracy
    assert path.test_interval is not None
    low, high = path.test_interval
    assert low < path.test.accuracy < high
    assert "edge" not in " ".join(solve_path(data, [0.1], scaling="none").verdict)


def test_probabilities_of_a_lambda_chosen_by_accuracy_that_are_far_off_are_told() -> None:
    """Under a huge λ, which wins the tie of accuracies, all probabilities are near 1/K."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 100)
    easy = split(rng.normal(size=(200, 2)) + 8.0 * y[:, None], y)
    path = solve_path(easy, [10.0, 0.01])
    assert path.chosen == 0
    calibration = path.best.evaluate(easy.validation).reliability.error
    assert calibration > 0.4
    assert "The probabilities of λ = 10 are far off: its held-out loss is 0.6" in path.verdict[-1]
    assert path.verdict[-1].endswith(
        'choose by log loss (scoring="neg_log_loss", --scoring neg_log_loss).'
    )
    assert not solve_path(easy, [10.0, 0.01], scoring="neg_log_loss").calibration_sentence
    assert not solve_path(easy, [0.02, 0.01]).calibration_sentence


def test_an_unknown_option_is_answered_by_the_nearest_one(digits: Splits) -> None:
    with pytest.raises(SettingsError, match="unknown option 'fold'; did you mean 'folds'"):
        solve_path(digits, fold=5)  # type: ignore[call-arg]
    with pytest.raises(SettingsError, match="unknown option 'toll'; did you mean 'tol'"):
        solve(digits, 0.1, toll=5)  # type: ignore[call-arg]
    with pytest.raises(SettingsError, match="unknown option 'epoch'; did you mean 'epochs'"):
        Run(0.1, epoch=5)  # type: ignore[call-arg]


def test_a_plateau_is_not_a_turn_until_it_has_lasted_twice_as_long() -> None:
    def scores(*accuracies: float) -> list[list[Score]]:
        return [[Score(1.0 - 0.01 * i, 0.1, a, 0.01, 100)] for i, a in enumerate(accuracies)]

    assert not has_turned(scores(0.3, 0.5, 0.5, 0.5), "accuracy", 2)
    assert has_turned(scores(0.3, 0.5, 0.5, 0.5, 0.5, 0.5), "accuracy", 2)
    assert has_turned(scores(0.3, 0.5, 0.5, 0.4), "accuracy", 2)
    assert not has_turned(scores(*[0.3] * 9), "accuracy", 2)  # nothing is learned yet


def test_a_path_chosen_by_folds_says_which_rows_its_model_was_fitted_to() -> None:
    data = make_splits(60)
    path = solve_path(data, [1.0, 0.1], folds=3)
    assert path.verdict[-2] == (
        "its model was fitted to all 60 training rows; the 60 validation rows were not used"
    )
    alone = solve(data, path.best.l2 or 0.0)  # without the folds, on all training rows
    assert path.best.require_certificate().cost == pytest.approx(
        alone.require_certificate().cost, rel=1e-6
    )
    assert not any("fitted" in sentence for sentence in solve_path(data, [1.0, 0.1]).verdict)


@pytest.mark.parametrize(("accuracy", "rows"), [(float("nan"), 9), (1.5, 9), (-0.1, 9), (0.5, 0)])
def test_a_score_from_a_file_is_one_of_rows(accuracy: float, rows: int) -> None:
    with pytest.raises(SettingsError, match=r"^(accuracy|rows) must be"):
        Score(1.0, 0.1, accuracy, 0.1, rows)


NAMES = ["f1_macro", "roc_auc_ovr", "average_precision", "neg_brier_score", "top_2_accuracy", "ece"]


@pytest.mark.parametrize("name", few(3, NAMES))
@pytest.mark.parametrize("folds", few(1, [0, 2]))
def test_l2_is_chosen_by_any_metric_of_the_held_out_rows(name: str, folds: int) -> None:
    data = load("digits")
    path = solve_path(data, [1.0, 0.01, 0.0001], scoring=name, folds=folds, tol=1e-3)
    metric = path.choice.metric
    means = [np.mean([score.value for score in of]) for of in path.held_out]
    assert path.chosen == (np.argmax if metric.greater else np.argmin)(means)
    assert all(0.0 < of[0].value_error < 0.1 for of in path.held_out if of[0].value_error)
    (test,) = path.test_metrics
    (again,) = path.best.evaluate(data, scoring=name).metrics
    assert test.value == again.value
    if not folds:
        for model, (held_out,) in zip(path.models, path.held_out, strict=True):
            (measured,) = model.evaluate(data.validation, scoring=name).metrics
            assert held_out.value == pytest.approx(measured.value, rel=1e-9)


def test_the_default_choice_measures_no_other_metric() -> None:
    path = solve_path(load("digits"), [1.0, 0.01], tol=1e-3)
    assert path.choice == Choice("accuracy")
    assert path.held_out[0][0].value is None
    assert path.test_metrics == ()
    assert Choice("neg_log_loss") == Choice("log_loss")


def test_a_metric_that_the_held_out_rows_do_not_allow_is_refused_before_solving() -> None:
    with pytest.raises(SettingsError, match="roc_auc is for two classes, but there are 10"):
        solve_path(load("digits"), [1.0], scoring="roc_auc")
    X, y = np.random.default_rng(0).normal(size=(30, 2)), np.array([0, 1] * 15)
    both, one = (Dataset(X[y < c], y[y < c], ("a", "b")) for c in (2, 1))
    data = Splits(both, one, both, name="made", source="memory")
    with pytest.raises(SettingsError, match="the validation rows have none of 'b'"):
        solve_path(data, [1.0], scoring="roc_auc")


GROUPED = np.random.default_rng(3)
WHO = GROUPED.integers(0, 30, 240)
OF_WHO = GROUPED.normal(size=(30, 5))[WHO]
GROUPED_Y = np.random.default_rng(4).integers(0, 3, 240)
GROUPED_X = OF_WHO + GROUPED.normal(size=(240, 5)) + np.eye(3, 5)[GROUPED_Y]


def grouped(**options: Any) -> Splits:
    return split(GROUPED_X, GROUPED_Y, groups=WHO, **options)


def test_no_group_is_on_two_sides_of_a_fold_or_in_part_of_a_resample() -> None:
    data = grouped()
    for kept, held_out in folds_of(data, 4):
        assert not {*data.train.groups[kept]} & {*data.train.groups[held_out]}
    path = solve_path(data, [0.1, 0.01], folds=4, tol=1e-4)
    own = GroupKFold(4).split(data.train.X, data.train.y, data.train.groups)
    given = solve_path(data, [0.1, 0.01], folds=own, tol=1e-4)
    assert (path.folds, given.folds) == (4, 4)
    assert path.test_metrics[0].method.startswith("grouped bootstrap")
    assert path.test_interval is not None
    alone = solve_path(split(data.train.X, data.train.y), [0.1], tol=1e-4)
    assert alone.test_metrics == ()
    assert "groups resampled" in path.test_words
    low, high = path.test_interval
    n = data.test.rows
    assert high - low > np.subtract(*wilson_interval(round(path.test.accuracy * n), n)[::-1])
    assert path.best.evaluate(data.test).interval == path.test_interval


def test_folds_that_are_given_are_those_that_are_scored() -> None:
    """As numbers of folds, as scikit-learn's pairs, and as drawn ones given back."""
    data = make_splits(200)
    drawn = stratified_folds(data.train.y, 3)
    number = np.empty(data.train.rows, int)
    for i, (_, held_out) in enumerate(drawn):
        number[held_out] = i
    scores = [
        solve_path(data, [0.1], folds=folds, tol=1e-5).held_out
        for folds in (3, number, drawn, iter(drawn), number.tolist())
    ]
    assert all(found == scores[0] for found in scores)
    some = solve_path(data, [0.1], folds=np.where(number == 2, -1, number), tol=1e-5)
    assert some.folds == 2
    assert [s.rows for s in some.held_out[0]] == [len(held_out) for _, held_out in drawn[:2]]


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        (np.zeros(7), "hold the fold of each of the .* training rows, .* but the shape is"),
        ([([0], [999])], "pairs of row numbers to fit and to hold out .*out of bounds"),
        ([(np.arange(9), np.arange(9))], "fold 0 must hold out rows, and be fitted to others"),
        ([([], [1])], "has 1 rows to hold out and 0 to fit"),
        (5j, "folds must be a number"),
    ],
)
def test_folds_that_cannot_be_are_one_sentence(folds: Any, words: str) -> None:
    with pytest.raises((SettingsError, DataError), match=words):
        solve_path(grouped(), [0.1], folds=folds)


def test_a_group_on_both_sides_or_a_class_that_a_fold_lacks_is_one_sentence() -> None:
    data = grouped()
    with pytest.raises(
        DataError, match=r"fold 0 is fitted to rows of the group \d+, which it also"
    ):
        solve_path(data, [0.1], folds=np.arange(data.train.rows) % 2)
    plain = replace(data, train=replace(data.train, groups=None))
    with pytest.raises(DataError, match="fold 0 is fitted to no rows of the class '0'; give each"):
        solve_path(plain, [0.1], folds=data.train.y)


def test_a_path_of_other_groups_or_folds_is_not_resumed(tmp_path: Path) -> None:
    data = grouped()
    solve_path(data, [0.1, 0.01], folds=2, tol=1e-3, checkpoint=Checkpoint(tmp_path, every=0))
    again = Checkpoint(tmp_path, resume=True)
    with pytest.raises(SaveError, match="the folds changed"):
        solve_path(data, [0.1, 0.01], folds=folds_of(data, 2), tol=1e-3, checkpoint=again)
    groups = np.zeros(data.train.rows)
    other = replace(data, train=replace(data.train, groups=groups))
    with pytest.raises(SaveError, match="the groups of the training rows changed"):
        solve_path(other, [0.1, 0.01], tol=1e-3, checkpoint=again)


@pytest.mark.parametrize("folds", [0, 3])
def test_a_refitted_model_is_the_optimum_of_training_and_validation_rows(folds: int) -> None:
    """λ is chosen as without it; the test rows are met by the refitted model alone."""
    data = make_splits(300)
    how: dict[str, Any] = {"folds": folds, "tol": 1e-8, "scaling": "standardize"}
    plain, path = solve_path(data, 5, **how), solve_path(data, 5, refit=True, **how)
    assert [m.W.tobytes() for m in path.models] == [m.W.tobytes() for m in plain.models]
    assert (path.chosen, path.held_out) == (plain.chosen, plain.held_out)
    whole = data.train_and_validation
    assert whole.rows == data.train.rows + data.validation.rows
    alone = solve(whole, path.models[path.chosen].require_certificate().l2, tol=1e-8,
                  scaling="standardize")  # fmt: skip
    assert path.best is path.refitted
    assert path.best.W.tobytes() == alone.W.tobytes()
    proof = path.best.require_certificate()
    assert proof.gap <= 1e-8 * proof.cost
    best = path.best
    X = whole.X.astype(np.float64) * best.scaling.scale + best.scaling.offset
    cost = objective.loss(objective.scores(X, best.W, best.b), whole.y)
    assert proof.cost == pytest.approx(cost + proof.l2 * float((path.best.W**2.0).sum()), rel=1e-6)
    assert path.test is not None
    assert path.test.accuracy == path.best.evaluate(data.test).accuracy
    assert certify(path.best, data).cost == pytest.approx(proof.cost, rel=1e-9)
    known = path.best.trained_on(data.validation)
    assert known.all()
    assert any("then refitted to all" in sentence for sentence in path.verdict)


@pytest.mark.usefixtures("blank_pages")
def test_a_refitted_path_is_saved_with_its_model(tmp_path: Path) -> None:
    data = make_splits(200)
    path = solve_path(data, [0.1, 0.01], refit=True, tol=1e-4)
    path.save(tmp_path / "a")
    again = LambdaPath.load(tmp_path / "a")
    assert again.best.W.tobytes() == path.best.W.tobytes()
    assert again.best.certificate == path.best.certificate


@pytest.mark.parametrize("apart", [False, True])
def test_rows_that_stay_in_their_files_are_refitted_as_those_in_memory(
    apart: bool, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 3)), rng.integers(0, 2, 90)
    np.save(tmp_path / "x.npy", X[:60])
    np.save(tmp_path / "more.npy", X[60:])
    more: dict[str, Any] = (
        {"validation": tmp_path / "more.npy", "validation_labels": y[60:]} if apart else {}
    )
    kept, held = (
        load(tmp_path / "x.npy", labels=y[:60], groups=np.arange(60) // 2, stream=stream, **more)
        for stream in (True, False)
    )
    path, in_memory = (solve_path(of, [0.1], refit=True, tol=1e-9) for of in (kept, held))
    np.testing.assert_allclose(path.best.W, in_memory.best.W, rtol=1e-4, atol=1e-6)
    joined, whole = (
        sorted(np.column_stack([both.X[:], both.y]).tolist())
        for both in (kept.train_and_validation, held.train_and_validation)
    )
    assert joined == whole
    proof = path.best.require_certificate()
    assert certify(path.best, kept).cost == pytest.approx(proof.cost, rel=1e-9)
    assert path.best.trained_on(kept.validation).all()
    with pytest.raises(DataError, match="only one of them stays in its files; load both alike"):
        _ = replace(kept, validation=held.validation).train_and_validation


def test_lambdas_that_do_equally_well_are_said_to() -> None:
    path = solve_path(make_splits(), [1e6, 1e5, 1e4])
    assert path.edge_sentence == "All λ that were tried do equally well: others may do better."
