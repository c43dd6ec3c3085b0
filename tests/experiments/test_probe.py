"""Heads of many feature sets: each has the bits of its set alone, however the suite came to be."""

from __future__ import annotations

import re
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import onelayer as ol
from onelayer.data.split import TEST_SIZE
from onelayer.engines import make_engine
from onelayer.errors import CheckpointWarning, DataError, SaveError, SettingsError
from onelayer.files.manifest import CHECKPOINTS
from onelayer.solver import PathProgress, solve_path
from onelayer.training.checkpoint import Checkpoint, unfinished
from onelayer.training.run_folder import kind_of, save_records
from onelayer.training.suite import Head, Suite
from tests.training.resuming import Killed, stopping

N, D = 240, 6
L2 = (1.0, 0.1, 0.01)
HOW: dict[str, Any] = {"l2": L2, "tol": 1e-5, "log": lambda line: None}


def _sets() -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """The higher the layer, the more it knows; the last one is wider and of another type."""
    rng = np.random.default_rng(4)
    y = rng.integers(0, 3, N)
    centres = rng.normal(size=(3, D))
    sets = {
        f"layer{i}/{pooling}": (0.4 * i * centres[y] + rng.normal(size=(N, D))).astype(np.float16)
        for i in range(3)
        for pooling in ("mean", "cls")
    }
    return sets | {"layer3/mean": np.c_[centres[y], rng.normal(size=(N, 2))]}, y


SETS, LABELS = _sets()


def bits(suite: Suite) -> list[tuple[str, bytes, bytes, tuple[Any, ...]]]:
    """What must not change: weights, proofs and scores of every head, in order."""
    return [
        (
            head.name,
            head.model.W.tobytes(),
            head.model.b.tobytes(),
            tuple((one.certificate, one.held_out, one.train) for one in head.solutions),
        )
        for head in suite.heads
    ]


@pytest.fixture(scope="module")
def whole() -> Suite:
    return ol.probe(SETS, LABELS, **HOW)


def test_each_head_has_the_bits_of_a_path_of_its_set_alone(whole: Suite) -> None:
    for head in whole.heads:
        path = solve_path(ol.split(SETS[head.name], LABELS), L2, tol=1e-5)
        assert head.model.W.tobytes() == path.best.W.tobytes()
        assert head.model.b.tobytes() == path.best.b.tobytes()
        assert (head.chosen, head.test) == (path.chosen, path.test)
        found = [(one.certificate, one.train, one.held_out) for one in head.solutions]
        proofs = [model.certificate for model in path.models]
        assert found == list(zip(proofs, path.train, path.held_out, strict=True))


def test_every_solution_is_proven_to_the_gap_that_was_asked_for(whole: Suite) -> None:
    for head in whole.heads:
        for one in head.solutions:
            assert one.status == "optimal"
            assert one.certificate.gap <= 1e-5 * one.certificate.cost


def test_the_best_is_the_best_on_the_rows_that_lambda_was_chosen_by(whole: Suite) -> None:
    accuracy = {head.name: head.best.held_out[0].accuracy for head in whole.heads}
    assert whole.best.name == max(accuracy, key=accuracy.__getitem__) == "layer3/mean"
    assert [accuracy[head.name] for head in whole.ranking] == sorted(accuracy.values())[::-1]
    by_loss = ol.probe(SETS, LABELS, scoring="neg_log_loss", folds=3, **HOW)
    losses = [np.mean([s.loss for s in head.best.held_out]) for head in by_loss.ranking]
    assert losses == sorted(losses)
    assert {len(one.held_out) for head in by_loss.heads for one in head.solutions} == {3}


def test_the_model_of_a_head_classifies_rows_of_its_set(whole: Suite) -> None:
    head = whole["layer3/mean"]
    data = ol.split(SETS[head.name], LABELS)
    assert head.model.evaluate(data.test).accuracy == head.test.accuracy
    low, high = head.test_interval
    assert low < head.test.accuracy <= high
    assert head.model.settings["name"] == head.name
    with pytest.raises(SettingsError, match="there is no feature set 'layer9'; feature sets: lay"):
        whole["layer9"]


def test_the_order_and_the_company_of_sets_change_no_bit(whole: Suite) -> None:
    some = {name: SETS[name] for name in reversed([*SETS][2:5])}
    found = ol.probe(some, LABELS, **HOW)
    assert [*found.names] == [*some]
    assert set(bits(found)) <= set(bits(whole))


def test_a_suite_comes_back_bit_for_bit(whole: Suite, tmp_path: Path) -> None:
    save_records(whole, tmp_path / "suite")
    again = Suite.load(tmp_path / "suite")
    assert bits(again) == bits(whole)
    assert repr(again) == repr(whole)
    assert again.heads[0].made_from == whole.heads[0].made_from
    assert kind_of(tmp_path / "suite") == "suite"


def test_other_programs_can_read_the_tables(whole: Suite, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    save_records(whole, tmp_path / "suite")
    heads = pq.read_table(tmp_path / "suite" / "heads.parquet").to_pydict()
    assert heads["set"] == [*SETS]
    assert heads["set"][heads["rank"].index(1)] == whole.best.name
    assert heads["features"][-1] == D + 2
    solutions = pq.read_table(tmp_path / "suite" / "path.parquet").to_pydict()
    assert solutions["l2"] == [*L2] * len(SETS)
    assert sum(solutions["chosen"]) == len(SETS)


def kept(folder: Path, **options: Any) -> Checkpoint:
    return Checkpoint(folder, every=0.0, resume=True, **options)


@pytest.mark.parametrize("step", [1, 2, 4, 5])
def test_killed_again_and_again_it_ends_with_the_same_bits(
    step: int, whole: Suite, tmp_path: Path
) -> None:
    """With a step of 1 it is killed after every λ; each is solved once all the same."""
    kills, done = 0, 0
    while True:
        try:
            found = ol.probe(
                SETS, LABELS, checkpoint=kept(tmp_path), on_progress=stopping(step, Killed), **HOW
            )
            break
        except Killed:
            kills += 1
        left = unfinished(tmp_path)
        assert left is not None
        assert (left.total, left.verb) == (len(SETS), "probe")
        assert done <= left.done
        done = left.done
    assert kills == (len(SETS) * len(L2) - 1) // step + (step == 1)
    assert bits(found) == bits(whole)
    save_records(found, tmp_path, begun=True)
    assert not (tmp_path / CHECKPOINTS).exists()
    assert bits(Suite.load(tmp_path)) == bits(whole)


def test_ctrl_c_keeps_the_heads_that_are_finished(whole: Suite, tmp_path: Path) -> None:
    stop = stopping(2 * len(L2) + 2, KeyboardInterrupt)
    found = ol.probe(SETS, LABELS, checkpoint=kept(tmp_path), on_progress=stop, **HOW)
    assert found.interrupted
    assert (len(found.heads), found.sets) == (2, len(SETS))
    assert bits(found) == bits(whole)[:2]
    assert found.verdict[-1] == "interrupted: 2 of 7 heads are finished"
    save_records(found, tmp_path, begun=True)
    again = ol.probe(SETS, LABELS, checkpoint=kept(tmp_path), **HOW)
    assert bits(again) == bits(whole)
    with pytest.raises(KeyboardInterrupt):
        ol.probe(SETS, LABELS, on_progress=stopping(1, KeyboardInterrupt), **HOW)


@pytest.fixture
def side_by_side(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Sets as small as these are solved side by side."""
    monkeypatch.setattr(sys.modules[ol.probe.__module__], "LEAST_BYTES", 0)
    return HOW | {"engine": make_engine(threads=2)}


def test_sets_that_are_solved_side_by_side_have_the_bits_of_each_alone(
    whole: Suite, side_by_side: dict[str, Any], tmp_path: Path
) -> None:
    threads = set()

    def note(now: PathProgress) -> None:
        threads.add(threading.get_ident())
        assert now.total == len(SETS) * len(L2)

    found = ol.probe(SETS, LABELS, on_progress=note, checkpoint=kept(tmp_path), **side_by_side)
    assert bits(found) == bits(whole)
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("stop", [Killed, KeyboardInterrupt])
def test_side_by_side_what_ends_one_set_ends_all_and_is_resumed_to_the_same_bits(
    stop: type[BaseException], whole: Suite, side_by_side: dict[str, Any], tmp_path: Path
) -> None:
    ends = stopping(2 * len(L2) + 2, stop)
    with suppress(Killed):
        found = ol.probe(SETS, LABELS, checkpoint=kept(tmp_path), on_progress=ends, **side_by_side)
        assert found.interrupted
        assert len(found.heads) < len(SETS)
    seen: list[PathProgress] = []
    again = ol.probe(
        SETS, LABELS, checkpoint=kept(tmp_path), on_progress=seen.append, **side_by_side
    )
    assert bits(again) == bits(whole)
    assert len(seen) < len(SETS) * len(L2)  # what was done is not done again


def test_a_set_that_is_added_later_changes_none_of_the_others(whole: Suite, tmp_path: Path) -> None:
    new = [*SETS][2]
    others = {name: rows for name, rows in SETS.items() if name != new}
    save_records(ol.probe(others, LABELS, **HOW), tmp_path / "suite")
    seen: list[PathProgress] = []
    found = ol.probe(
        SETS, LABELS, checkpoint=kept(tmp_path / "suite"), on_progress=seen.append, **HOW
    )
    assert bits(found) == bits(whole)
    assert [(now.done, now.total) for now in seen] == [(19, 21), (20, 21), (21, 21)]
    alone = ol.probe({new: SETS[new]}, LABELS, checkpoint=kept(tmp_path / "suite"), **HOW)
    assert alone.names == (*others, new)
    assert sorted(bits(alone)) == sorted(bits(whole))


@pytest.mark.parametrize(
    ("sets", "labels", "how", "words"),
    [
        (SETS, LABELS, {"tol": 1e-3}, "'layer0/mean', the tol was 1e-05 and is 0.001"),
        (SETS, LABELS, {"split_seed": 1}, "the training data changed.*; the labels and their"),
        ({"other": SETS["layer1/cls"]}, LABELS[::-1], {}, "the labels and their split changed"),
        ({"other": SETS["layer1/cls"]}, LABELS, {"folds": 2}, "the folds was 0 and is 2"),
        ({"layer1/cls": SETS["layer2/cls"]}, LABELS, {}, "'layer1/cls', the training data changed"),
    ],
)  # fmt: skip
def test_heads_of_other_data_or_settings_are_not_mixed(
    sets: Any, labels: Any, how: Any, words: str, whole: Suite, tmp_path: Path
) -> None:
    save_records(whole, tmp_path / "suite")
    with pytest.raises(SaveError, match=words):
        ol.probe(sets, labels, checkpoint=kept(tmp_path / "suite"), **HOW | how)
    assert bits(Suite.load(tmp_path / "suite")) == bits(whole)


def test_a_finished_suite_is_replaced_only_if_that_is_asked_for(
    whole: Suite, tmp_path: Path
) -> None:
    save_records(whole, tmp_path / "suite")
    with pytest.raises(SaveError, match="holds a finished run; name another folder, or pass"):
        ol.probe(SETS, LABELS, checkpoint=Checkpoint(tmp_path / "suite"), **HOW)
    one = {"a": SETS["layer0/cls"]}
    checkpoint = Checkpoint(tmp_path / "suite", overwrite=True)
    assert ol.probe(one, LABELS, checkpoint=checkpoint, **HOW).names == ("a",)


def test_a_damaged_head_is_solved_again(whole: Suite, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        ol.probe(SETS, LABELS, checkpoint=kept(tmp_path), on_progress=stopping(10, Killed), **HOW)
    heads = sorted((tmp_path / CHECKPOINTS).glob("head-*"))
    assert len(heads) == 4  # the plan and three heads
    content = heads[2].read_bytes()
    heads[2].write_bytes(content[:-9] + bytes(9))
    with pytest.warns(CheckpointWarning, match="its head is solved again"):
        found = ol.probe(SETS, LABELS, checkpoint=kept(tmp_path), **HOW)
    assert bits(found) == bits(whole)


def test_progress_counts_the_lambdas_of_all_sets() -> None:
    seen: list[PathProgress] = []
    suite = ol.probe(SETS, LABELS, on_progress=seen.append, **HOW | {"l2": 4})
    assert [now.done for now in seen] == [*range(1, len(seen) + 1)]
    assert seen[-1].total == sum(len(head.solutions) for head in suite.heads)
    assert seen[0].total == 4 * len(SETS)


def test_binary_labels_and_text_are_probed() -> None:
    labels = np.where(LABELS > 0, "yes", "no")
    suite = ol.probe({"a": SETS["layer3/mean"]}, labels, **HOW)
    assert suite.best.model.predict(SETS["layer3/mean"][:1])[0] == labels[0]
    assert len(suite.heads) == 1
    assert suite.data.test_rows == round(TEST_SIZE * N)


def test_a_wrong_option_is_refused_before_the_rows_are_read() -> None:
    options: list[dict[str, Any]] = [{"folds": -1}, {"tol": 0}, {"scaling": "x"}, {"l2": []}]
    for option in [*options, {"scoring": "x"}]:
        with pytest.raises(SettingsError):
            ol.probe("absent", **option)
    with pytest.raises(SettingsError, match="did you mean 'folds'"):
        ol.probe(SETS, LABELS, fold=2)  # type: ignore[call-arg]


def test_a_suite_prints_its_ranking_and_has_html(whole: Suite) -> None:
    text = repr(whole)
    assert "Feature sets by accuracy on the validation rows" in text.splitlines()[0]
    order = re.findall(r"^(layer\d/\w+)", text, flags=re.M)
    assert order == [head.name for head in whole.ranking]
    assert "held-out accuracy / %" in whole._repr_html_()


def test_the_record_says_what_a_head_was_made_from(whole: Suite) -> None:
    head: Head = whole.heads[0]
    assert head.dtype == "float16"
    assert head.made_from["tol"] == 1e-5
    assert str(head.made_from["labels and their split"]).startswith("sha256:")


def test_groups_hold_through_parts_folds_and_intervals_of_every_set() -> None:
    who = np.arange(N) // 4
    suite = ol.probe(SETS, LABELS, groups=who, folds=3, **HOW)
    path = solve_path(ol.split(SETS["layer1/cls"], LABELS, groups=who), L2, tol=1e-5, folds=3)
    head = suite["layer1/cls"]
    assert head.model.W.tobytes() == path.best.W.tobytes()
    assert head.test_metrics == path.test_metrics
    assert head.test_metrics[0].method.startswith("grouped bootstrap")
    assert head.test_interval == (head.test_metrics[0].low, head.test_metrics[0].high)


def test_parts_and_folds_of_the_rows_can_be_given(tmp_path: Path) -> None:
    words = np.array(["train", "test", "train", "validation"])[np.arange(N) % 4]
    fold = np.arange(N) // 2 % 3
    np.save(tmp_path / "words.npy", words)
    one = {"layer1/cls": SETS["layer1/cls"]}
    suite = ol.probe(one, LABELS, split=tmp_path / "words.npy", folds=fold, **HOW)
    assert (suite.data.train_rows, suite.data.test_rows, suite.folds) == (N // 2, N // 4, 3)
    data = ol.split(SETS["layer1/cls"], LABELS, split=words)
    path = solve_path(data, L2, tol=1e-5, folds=fold[words == "train"])
    assert suite.best.model.W.tobytes() == path.best.W.tobytes()
    pairs = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(3)]
    assert bits(ol.probe(one, LABELS, split=words, folds=pairs, **HOW)) == bits(suite)
    with pytest.raises(DataError, match=r"the group 0\.0 has training rows and validation rows"):
        ol.probe(one, LABELS, split=words, groups=np.zeros(N), **HOW)


def test_refitted_heads_are_those_of_their_paths_and_are_not_mixed_with_others(
    whole: Suite, tmp_path: Path
) -> None:
    suite = ol.probe(SETS, LABELS, refit=True, **HOW)
    assert [head.chosen for head in suite.heads] == [head.chosen for head in whole.heads]
    path = solve_path(ol.split(SETS["layer1/cls"], LABELS), L2, tol=1e-5, refit=True)
    head = suite["layer1/cls"]
    assert head.model.W.tobytes() == path.best.W.tobytes()
    assert head.test == path.test
    assert head.model.certificate != head.best.certificate
    save_records(suite, tmp_path / "suite")
    assert bits(Suite.load(tmp_path / "suite")) == bits(suite)
    with pytest.raises(SaveError, match="the refit was True and is"):
        ol.probe(SETS, LABELS, checkpoint=kept(tmp_path / "suite"), **HOW)
