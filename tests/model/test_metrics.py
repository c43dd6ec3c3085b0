"""Metrics: the values of scikit-learn, under which weights, and what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as theirs
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelayer import Model, SettingsError, load, solve
from onelayer.engines import make_engine
from onelayer.model.metrics import METRICS, metric_of, metrics_of
from onelayer.model.scored_rows import read_scores, row_tiles, scored_rows
from onelayer.objective.loss import to_probabilities
from tests.examples import examples

Array = NDArray[Any]


def recall_at(rate: float, y: Array, s: Array, w: Array | None) -> float:
    wrong, right, _ = theirs.roc_curve(y, s, sample_weight=w, drop_intermediate=False)
    return float(right[wrong <= rate].max())


def scikit_learn(name: str, y: Array, S: Array, w: Array | None) -> float:
    """The value of scikit-learn, of the margin of two classes or the probabilities of more."""
    K, P, predicted = S.shape[1], to_probabilities(S.copy()), S.argmax(axis=1)
    ranked, labels = (S[:, 1] - S[:, 0] if K == 2 else P), list(range(K))
    of: dict[str, Callable[[], float]] = {
        "accuracy": lambda: theirs.accuracy_score(y, predicted, sample_weight=w),
        "balanced_accuracy": lambda: theirs.balanced_accuracy_score(y, predicted, sample_weight=w),
        "f1_macro": lambda: theirs.f1_score(y, predicted, average="macro", sample_weight=w),
        "f1_weighted": lambda: theirs.f1_score(y, predicted, average="weighted", sample_weight=w),
        "matthews_corrcoef": lambda: theirs.matthews_corrcoef(y, predicted, sample_weight=w),
        "roc_auc": lambda: theirs.roc_auc_score(y, ranked, sample_weight=w),
        "average_precision": lambda: theirs.average_precision_score(y, ranked, sample_weight=w),
        "log_loss": lambda: theirs.log_loss(y, P, labels=labels, sample_weight=w),
        "recall_at_fpr_0.05": lambda: recall_at(0.05, y, ranked, w),
        "top_2_accuracy": lambda: theirs.top_k_accuracy_score(
            y, S, k=2, labels=labels, sample_weight=w
        ),
        "brier_score": lambda: theirs.brier_score_loss(
            y, P[:, 1] if K == 2 else P, labels=labels, sample_weight=w
        ),
    }
    if name.startswith("roc_auc_"):
        kind, average = name[8:11], "weighted" if name.endswith("weighted") else "macro"
        of[name] = lambda: theirs.roc_auc_score(
            y, ranked, multi_class=kind, average=average, sample_weight=w
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(of[name]())


def drawn(seed: int, K: int, N: int = 120) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    y = random.integers(0, K, N)
    y[:K] = range(K)
    S = random.normal(size=(N, K))
    S[np.arange(N), y] += 1.0
    return y, S


def fits(name: str, K: int) -> bool:
    try:
        metric_of(name).check(np.arange(K), [str(k) for k in range(K)], "rows")
    except SettingsError:
        return False
    return True


HELD = [name for name in (*METRICS, "top_2_accuracy") if name not in ("ece", "top_5_accuracy")]


@pytest.mark.parametrize("K", [2, 3, 6])
@pytest.mark.parametrize("kind", ["random", "tied", "never predicted", "weights"])
def test_metrics_are_scikit_learns_to_1e12(kind: str, K: int) -> None:
    y, S = drawn(K, K)
    w: Array | None = None
    if kind == "tied":
        S = np.round(S)
    if kind == "never predicted":
        S[:, 0] -= 10.0
    if kind == "weights":
        w = np.random.default_rng(1).random(len(y)) * (np.arange(len(y)) % 7 > 0)
    rows = scored_rows(y, S, w)
    for name in HELD:
        # Of equal scores scikit-learn's top k takes the last, and predict the first.
        if not fits(name, K) or (kind == "tied" and name == "top_2_accuracy"):
            continue
        if "ovo" in name and w is not None and K > 2:  # scikit-learn has no weights there
            continue
        if "ovo" in name and K == 2 and w is not None:
            continue
        expected = scikit_learn(name, y, S, w)
        assert abs(metric_of(name).value(rows) - expected) < 1e-12, name


@pytest.mark.parametrize("true", [0, 1])
def test_metrics_of_rows_of_one_class_are_scikit_learns(true: int) -> None:
    _, S = drawn(3, 2)
    y = np.full(len(S), true)
    rows = scored_rows(y, S)
    for name in HELD:
        if fits(name, 2) and not name.startswith("recall"):  # undefined, an error of theirs
            found, expected = metric_of(name).value(rows), scikit_learn(name, y, S, None)
            assert (
                found == expected
                or np.isnan([found, expected]).all()
                or (abs(found - expected) < 1e-12)
            ), name
    assert np.isnan(metric_of("recall_at_fpr_0.05").value(rows))


@examples(25)
@given(st.integers(0, 10_000), st.integers(2, 4), st.booleans())
def test_whole_weights_are_repeated_rows(seed: int, K: int, tied: bool) -> None:
    y, S = drawn(seed, K, 30)
    S = np.round(S) if tied else S
    times = np.random.default_rng(seed).integers(0, 3, len(y))
    times[:K] = 1
    weighted, repeated = (
        scored_rows(y, S, times),
        scored_rows(*(np.repeat(a, times, 0) for a in (y, S))),
    )
    for name in (*HELD, "ece"):
        if fits(name, K):
            found = metric_of(name).value(weighted)
            assert found == pytest.approx(metric_of(name).value(repeated), rel=1e-12), name


def test_of_equal_scores_the_first_class_counts_so_that_top_1_is_accuracy() -> None:
    y, S = drawn(0, 4)
    rows = scored_rows(y, np.round(S))
    assert metric_of("top_1_accuracy").value(rows) == metric_of("accuracy").value(rows)
    # scikit-learn's takes the last one, which of classes in reverse order is the first.
    mirrored = scikit_learn("top_2_accuracy", 3 - y, np.round(S)[:, ::-1], None)
    assert metric_of("top_2_accuracy").value(rows) == mirrored


def test_a_log_loss_is_not_cut_at_36_nats() -> None:
    rows = scored_rows([0, 1], [[0.0, 100.0], [0.0, 1.0]])
    assert metric_of("log_loss").value(rows) == pytest.approx((100.0 + np.log1p(np.exp(-1.0))) / 2)


def test_ece_is_that_of_evaluate() -> None:
    data = load("digits")
    model = solve(data, l2=0.01)
    found = model.evaluate(data, scoring=["ece", "accuracy", "log_loss", "top_5_accuracy"])
    ece, accuracy, loss, top = (one.value for one in found.metrics)
    assert ece == pytest.approx(found.reliability.error, rel=1e-12)
    assert (accuracy, top) == (found.accuracy, found.top_accuracy)
    assert loss == pytest.approx(found.log_loss, rel=1e-12)
    assert (found.metrics[1].low, found.metrics[1].high) == found.interval


def test_scores_come_in_tiles_and_classes_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load("digits")
    model = solve(data, l2=0.01)
    names = ["roc_auc_ovr", "roc_auc_ovo", "average_precision", "brier_score"]
    engine, y = make_engine(), data.test.y

    def values() -> list[float]:
        tiles = row_tiles(_rows(model, data.test), model.classes)
        W, b = model.W.astype(np.float64), model.b.astype(np.float64)
        rows = read_scores(tiles, engine, W, b, y)
        return [metric_of(name).value(rows) for name in names]

    whole = values()
    assert whole == [one.value for one in model.evaluate(data, scoring=names).metrics]
    monkeypatch.setattr("onelayer.model.metrics.ENTRIES", 1000)
    monkeypatch.setattr("onelayer.model.scored_rows.ENTRIES", 1000)
    monkeypatch.setattr("onelayer.model.scored_rows.KEPT", 0)
    assert values() == pytest.approx(whole, rel=1e-12)


def _rows(model: Model, data: Any) -> Any:
    from onelayer.data.rows import rows_of

    return rows_of(data, model.scaling)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("f1_makro", "unknown metric 'f1_makro'; did you mean 'f1_macro'?"),
        ("neg_accuracy", "unknown metric 'neg_accuracy'"),
        ("top_k_accuracy", "does not say which: write top_5_accuracy"),
        ("top_0_accuracy", "does not say which: write top_5_accuracy"),
        ("recall_at_fpr", "recall_at_fpr_0.05, with a rate from 0 to below 1"),
        ("recall_at_fpr_1", "recall_at_fpr_0.05, with a rate from 0 to below 1"),
    ],
)
def test_a_name_that_is_no_metric_is_one_sentence(name: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words.replace("?", r"\?")) as error:
        metric_of(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "K", "present", "words"),
    [
        ("roc_auc", 3, 3, "roc_auc is for two classes, but there are 3; take roc_auc_ovr"),
        ("recall_at_fpr_0.1", 3, 3, "is for two classes, but there are 3; take average_precision"),
        ("top_5_accuracy", 5, 5, "top_5_accuracy is 1 for every model of 5 classes"),
        ("roc_auc", 2, 1, "roc_auc needs rows of every class, but fold 1 have none of 'b'"),
        ("roc_auc_ovo", 3, 2, "needs rows of every class, but fold 1 have none of 'c'"),
    ],
)
def test_a_metric_that_does_not_fit_the_labels_is_one_sentence(
    name: str, K: int, present: int, words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        metric_of(name).check(np.arange(present), "abcde"[:K], "fold 1")


def test_names_may_stand_in_one_word_and_scikit_learns_minus_is_taken_off() -> None:
    found = metrics_of("neg_log_loss,f1_macro,log_loss")
    assert [metric.name for metric in found] == ["log_loss", "f1_macro"]


def test_groups_of_an_evaluation_are_one_a_row() -> None:
    data = load("digits")
    model = solve(data, l2=0.1)
    with pytest.raises(SettingsError, match="one group for each of the 400 rows"):
        model.evaluate(data, scoring="f1_macro", groups=[1, 2])
    groups = np.arange(data.test.rows) // 4
    alone, grouped = (
        model.evaluate(data, scoring="f1_macro", groups=g).metrics[0] for g in (None, groups)
    )
    assert alone.value == grouped.value
    assert grouped.method.startswith("grouped bootstrap, BCa")
    assert alone.low < alone.value < alone.high
