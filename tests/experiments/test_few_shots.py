"""Heads of few rows: what they learn from, how λ is chosen, and that no kill changes a bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onelayer as ol
from onelayer.data.split import nested_subsets
from onelayer.errors import DataError, SaveError, SettingsError
from onelayer.report.suite_page import suite_page
from onelayer.report.tables import shots_table
from onelayer.solver import PathProgress
from onelayer.training.checkpoint import Checkpoint
from onelayer.training.run_folder import save_records
from onelayer.training.suite import FewShots, Suite
from tests.training.resuming import Killed, stopping

N, D, K = 300, 8, 3
L2 = (1.0, 0.1, 0.01)
HOW: dict[str, Any] = {"l2": L2, "tol": 1e-6, "scaling": "none", "log": lambda line: None}
RNG = np.random.default_rng(2)
Y = RNG.integers(0, K, N)
CENTRES = RNG.normal(size=(K, D))
SETS = {f"layer{i}": i * 0.5 * CENTRES[Y] + RNG.normal(size=(N, D)) for i in (1, 2)}


def curves(suite: Suite) -> list[tuple[FewShots, ...]]:
    """What must not change of the few shots of every head."""
    return [tuple(replace(few, seconds=0.0) for few in head.few_shots) for head in suite.heads]


@pytest.fixture(scope="module")
def whole() -> Suite:
    return ol.probe(SETS, Y, shots=[4, 1, 2], repeats=3, **HOW)


@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=5),
    shots=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
)
def test_smaller_draws_are_part_of_larger_ones_and_hold_every_class_alike(
    counts: list[int], shots: list[int], seed: int
) -> None:
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    sizes, before = sorted({min(s, min(counts)) for s in shots}), set[int]()
    for size, rows in zip(sizes, nested_subsets(y, sizes, (seed, 0)), strict=True):
        assert np.bincount(y[rows]).tolist() == [size] * len(counts)
        assert before <= set(rows.tolist())
        assert (np.diff(rows) > 0).all()
        before = set(rows.tolist())
    for fraction, rows in zip((0.1, 1.0), nested_subsets(y, (0.1, 1.0), seed), strict=True):
        assert np.bincount(y[rows]).tolist() == [max(1, int(fraction * n + 0.5)) for n in counts]


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 6), patients=st.integers(2, 9))
def test_shots_of_patients_are_of_as_many_patients_as_there_are(
    seed: int, rows: int, patients: int
) -> None:
    y = np.tile(np.repeat([0, 1], rows), patients)
    groups = np.repeat(np.arange(patients).astype(str), 2 * rows)
    before = set[int]()
    for size, drawn in zip((1, 3, 5), nested_subsets(y, (1, 3, 5), seed, groups), strict=True):
        for k in (0, 1):
            of_class = drawn[y[drawn] == k]
            assert len(of_class) == min(size, rows * patients)
            assert len(set(groups[of_class])) == min(len(of_class), patients)
        assert before <= set(drawn.tolist())
        before = set(drawn.tolist())


@given(
    seed=st.integers(0, 2**32),
    classes=st.lists(st.integers(0, 2), min_size=3, max_size=60),
    patients=st.integers(1, 20),
)
def test_fractions_of_patients_are_whole_patients_with_every_class(
    seed: int, classes: list[int], patients: int
) -> None:
    y = np.array(classes)
    groups, before = np.random.default_rng(seed).integers(0, patients, len(y)), set[int]()
    sizes = (0.01, 0.4, 1.0)
    for size, drawn in zip(sizes, nested_subsets(y, sizes, seed, groups), strict=True):
        assert set(drawn) == set(np.flatnonzero(np.isin(groups, groups[drawn])))
        assert set(y[drawn]) == set(y)
        assert before <= set(drawn.tolist())
        largest = np.bincount(groups).max()
        assert len(drawn) <= max(size * len(y) + largest, len(set(y)) * largest)
        before = set(drawn.tolist())
    assert len(drawn) == len(y)


@given(seed=st.integers(0, 2**32), labels=st.integers(2, 5))
def test_shots_of_many_labels_are_rows_that_have_each(seed: int, labels: int) -> None:
    y = (np.random.default_rng(seed).random((50, labels)) < 0.4).astype(np.uint8)
    before = set[int]()
    for size, drawn in zip((1, 3, 8), nested_subsets(y, (1, 3, 8), seed), strict=True):
        assert (y[drawn].sum(axis=0) >= np.minimum(size, y.sum(axis=0))).all()
        assert len(drawn) <= size * labels
        assert before <= set(drawn.tolist())
        before = set(drawn.tolist())


def test_every_head_is_the_optimum_of_its_own_rows(whole: Suite) -> None:
    data = ol.split(SETS["layer2"], Y)
    for place, few in enumerate(whole["layer2"].few_shots):
        assert (few.rows, few.repeats, few.optimal) == (K * few.shots, 3, 3 * len(L2))  # type: ignore[operator]
        drawn = set()
        for repeat, proof in enumerate(few.certificates):
            rows = nested_subsets(data.train.y, (1, 2, 4), (0, repeat))[place]
            drawn.add(rows.tobytes())
            alone = ol.solve(data.train.take(rows), few.l2, tol=1e-9, scaling="none")
            assert proof.cost == pytest.approx(alone.require_certificate().cost, rel=2e-6)
            right = alone.evaluate(data.test).accuracy
            assert few.test[repeat].accuracy == pytest.approx(right, abs=1.1 / data.test.rows)
        assert len(drawn) == 3, "each repeat draws anew"


def test_one_lambda_of_a_size_is_the_best_by_the_mean_over_draws_of_as_few_rows(
    whole: Suite,
) -> None:
    for head in whole.heads:
        for few in head.few_shots:
            assert few.validation_rows == few.rows
            means = [np.mean([one.accuracy for one in of_l2]) for of_l2 in few.held_out]
            assert few.chosen == int(np.argmax(means)), "of equal ones the largest λ"
            mean, deviation = few.mean()
            values = [one.accuracy for one in few.test]
            assert mean == float(np.mean(values))
            assert deviation == float(np.std(values, ddof=1))


def test_all_rows_as_a_fraction_are_the_head_itself() -> None:
    suite = ol.probe(SETS, Y, fractions=[1, 0.05], repeats=2, **HOW)
    for head in suite.heads:
        small, everything = head.few_shots
        assert (small.label, everything.label) == ("5 %", "100 %")
        assert everything.rows == suite.data.train_rows
        assert everything.l2 == head.l2
        assert everything.test[0] == everything.test[1]
        assert everything.test[0].loss == pytest.approx(head.test.loss, rel=1e-4)
        assert everything.mean()[1] == 0.0


def test_a_set_more_or_few_shots_or_none_change_no_bit_of_the_others(whole: Suite) -> None:
    one = ol.probe({"layer2": SETS["layer2"]}, Y, shots=[1, 2, 4], repeats=3, **HOW)
    assert curves(one) == curves(whole)[1:]
    plain = ol.probe(SETS, Y, **HOW)
    assert [h.model.W.tobytes() for h in plain.heads] == [h.model.W.tobytes() for h in whole.heads]
    assert plain.heads[0].few_shots == ()


@pytest.mark.parametrize("step", [10, 13, 20])
def test_killed_again_and_again_few_shots_end_with_the_same_bits(
    step: int, whole: Suite, tmp_path: Path
) -> None:
    kills = 0
    while True:
        kept = Checkpoint(tmp_path, every=0.0, resume=True)
        try:
            stop = stopping(step, Killed)
            found = ol.probe(
                SETS, Y, shots=[1, 2, 4], repeats=3, checkpoint=kept, on_progress=stop, **HOW
            )
            break
        except Killed:
            kills += 1
    assert kills >= 3
    assert curves(found) == curves(whole)
    save_records(found, tmp_path, begun=True)
    assert curves(Suite.load(tmp_path)) == curves(whole)
    table = pq.read_table(tmp_path / "few_shots.parquet").to_pydict()
    assert table["shots"] == [s for _ in SETS for s in (1, 2, 4) for _ in range(3)]
    with pytest.raises(SaveError, match=r"the shots was .* and is "):
        ol.probe(SETS, Y, shots=[1, 2], repeats=3, checkpoint=kept, **HOW)


def test_progress_counts_the_solutions_of_all_draws() -> None:
    seen: list[PathProgress] = []
    suite = ol.probe(SETS, Y, fractions=[0.1, 1], repeats=2, on_progress=seen.append, **HOW)
    total = sum(head.solved for head in suite.heads)
    assert [now.done for now in seen] == [*range(1, total + 1)]
    assert {now.total for now in seen} == {total} == {2 * 3 * (1 + 4)}
    assert f"{total} of {total} solutions are optimal" in suite.proof_sentence


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"shots": [1, 500]}, "500 shots need as many training rows of every class, but the class"),
        ({"shots": [0]}, "shots must be a whole number, 1 or above"),
        ({"shots": [1.5]}, "shots must be a whole number, 1 or above"),
        ({"fractions": [1.5]}, "fractions must be above 0, up to 1, but 1.5 was given"),
        ({"fractions": 0}, "fractions must be above 0, up to 1, but 0 was given"),
        ({"shots": 1, "fractions": 1}, "give either shots or fractions"),
        ({"shots": 1, "repeats": 0}, "repeats must be a whole number, 1 or above"),
    ],
)
def test_draws_that_cannot_be_are_one_sentence(how: Any, words: str) -> None:
    with pytest.raises((SettingsError, DataError), match=words):
        ol.probe(SETS, Y, **how, **HOW)


def test_one_shot_of_one_draw_has_a_lambda_by_any_rule_and_metric() -> None:
    for rule in ("best", "one-standard-error"):
        how: Any = HOW | {"l2": 4, "rule": rule, "scoring": "roc_auc_ovr"}
        suite = ol.probe({"a": SETS["layer2"]}, Y, shots=1, repeats=1, **how)
        (few,) = suite.best.few_shots
        assert len(few.l2s) == 4
        assert few.l2s[0] / few.l2s[-1] == pytest.approx(1e4)
        assert few.mean("roc_auc_ovr")[1] == 0.0
        assert shots_table(suite).title == "Few labels: test AUROC one-vs-rest"


def test_the_page_has_a_curve_of_every_set_over_the_number_of_rows(whole: Suite) -> None:
    (section,) = [one for one in suite_page(whole).sections if one.anchor == "shots"]
    (chart,) = section.charts
    assert [key.label for key in chart.legend[:2]] == [head.name for head in whole.ranking]
    means = next(table for name, table in chart.spec["datasets"].items() if name == "means")
    first = [row["m"] for row in means if row["c"] == "c0"]
    expected = [100.0 * few.mean()[0] for few in whole.best.few_shots]
    np.testing.assert_allclose(first, expected, rtol=1e-3)
    assert section.table is not None
    assert [column.name for column in section.table.columns[1:]] == ["1 shot", "2 shots", "4 shots"]


@pytest.mark.parametrize("scoring", ["roc_auc_ovr", "neg_log_loss", "f1_macro"])
def test_a_page_shows_the_metric_that_was_asked_for(scoring: str) -> None:
    sets = {f"layer{i}/{p}": X for i, X in enumerate(SETS.values()) for p in ("mean", "cls")}
    suite = ol.probe(sets, Y, scoring=scoring, **HOW)
    metric, page = suite.choice.metric, suite_page(suite)
    assert f"Its test {metric.title} on" in page.lead
    curve, layers = (one for one in page.sections if one.anchor in ("curve", "map"))
    heading = "Test loss" if scoring == "neg_log_loss" else f"Test {metric.title}"
    assert [chart.heading for chart in curve.charts] == [heading, "Test accuracy"]
    assert layers.charts[0].heading == f"Test {metric.axis} by layer and pooling"
    assert f"test {metric.title} of" in suite.verdict[1]
