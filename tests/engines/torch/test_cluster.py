"""Several processes give what one gives, to rounding, and the same bits as each other."""

from __future__ import annotations

import itertools
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onelayer.engines import make_engine
from tests.engines.torch import tasks
from tests.engines.torch.crew import MOST, Crew, Failure
from tests.engines.torch.drawn import Problem, assert_same, problems, scaled_features, trained
from tests.made_data import make_dataset

sizes = st.integers(1, MOST)
# From a row at a time over several batches at a time to all that there is.
tile_sizes = st.sampled_from([1, 2000, 1 << 20])


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    with Crew(tmp_path_factory.mktemp("crew")) as made:
        yield made


def same_bits(one: object, other: object) -> bool:
    return pickle.dumps(one) == pickle.dumps(other)


@settings(max_examples=60)
@given(problem=problems(), size=sizes, tile_size=tile_sizes)
def test_any_number_of_processes_takes_the_same_steps(
    crew: Crew, problem: Problem, size: int, tile_size: int
) -> None:
    answers = crew.do(size, "trajectory", problem, tile_size)
    assert not isinstance(answers[0], Failure), answers[0]
    assert all(same_bits(answer, answers[0]) for answer in answers)
    state, measured, predicted = answers[0]
    expected, judged, _ = trained(make_engine("reference"), problem)
    assert_same(state, expected, problem.tolerance, problem.of_velocity)
    largest = 1.0 + float(np.abs(scaled_features(problem.rows)).sum(axis=1).max())
    for mine, theirs in zip(measured, judged, strict=True):
        np.testing.assert_allclose(mine.loss, theirs.loss, atol=problem.tolerance * largest)
    assert predicted.shape == (len(state.weights.b), problem.rows.count)


@settings(max_examples=40)
@given(problem=problems(), size=sizes, chosen=st.booleans(), seed=st.integers(0, 99))
def test_full_passes_are_summed_and_scores_gathered(
    crew: Crew, problem: Problem, size: int, chosen: bool, seed: int
) -> None:
    rows, rng = problem.rows, np.random.default_rng(seed)
    if chosen:
        rows = rows.only(np.r_[0, rng.integers(0, len(rows.y), rng.integers(1, 50))])
    R, K, _ = problem.state.weights.W.shape
    factors = rng.normal(size=(R, rows.count, K)).astype(problem.state.weights.W.dtype)
    answers = crew.do(size, "full_passes", problem, rows, factors)
    assert not isinstance(answers[0], Failure), answers[0]
    assert all(same_bits(answer, answers[0]) for answer in answers)
    alone = tasks.full_passes(make_engine("torch", device="cpu"), problem, rows, factors)
    # Sums of classes are float64 and of the rows as stored, the others of scaled features.
    of_weights = problem.state.weights.W.dtype, scaled_features(rows)
    of_classes = np.dtype(np.float64), np.asarray(rows.X, np.float64)
    sizes_of = [of_weights] * (len(alone) - 2) + [of_classes] * 2
    for mine, theirs, (dtype, X) in zip(answers[0], alone, sizes_of, strict=True):
        largest = float(np.abs(X).max()) + 1.0
        near = 16.0 * np.finfo(dtype).eps * (X.shape[1] + rows.count) ** 2 * largest**2
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=near)


def test_each_process_reads_its_part_of_each_batch_and_no_more(crew: Crew, tmp_path: Path) -> None:
    N, B, size = 50, 12, 3
    rng = np.random.default_rng(0)
    np.save(tmp_path / "X.npy", rng.normal(size=(N, 512)))
    order = rng.permutation(N)
    problem = _problem(N, 512, B, order)
    seen = crew.do(size, "read_rows", str(tmp_path / "X.npy"), problem)
    assert sorted(itertools.chain(*seen)) == list(range(N))
    for rank, rows in enumerate(seen):
        parts = []
        for start in range(0, N, B):
            batch = order[start : start + B]
            parts += batch[len(batch) * rank // size : len(batch) * (rank + 1) // size].tolist()
        assert rows == parts


def _problem(N: int, D: int, B: int, order: np.ndarray) -> Problem:
    from onelayer.data.rows import Rows
    from onelayer.engines import Method, State, Steps, Weights

    rows = Rows(np.zeros((N, D)), np.arange(N) % 2, np.ones(D), np.zeros(D))
    start = State(Weights(np.zeros((1, 2, D)), np.zeros((1, 2))))
    steps = Steps.constant(np.array([0.1]), N, B, order)
    return Problem(rows, start, Method.plain(np.zeros(1)), (steps,))


def test_a_training_with_its_certificates_is_that_of_one_process(crew: Crew) -> None:
    W, losses, bounds = tasks.result(make_engine("native"))
    for size in range(1, MOST + 1):
        answers = crew.do(size, "result")
        assert all(same_bits(answer, answers[0]) for answer in answers)
        np.testing.assert_allclose(answers[0][0], W, rtol=0, atol=1e-12)
        np.testing.assert_allclose(answers[0][1], losses, rtol=0, atol=1e-12)
        np.testing.assert_allclose(answers[0][2], bounds, rtol=0, atol=1e-9)


@pytest.mark.parametrize("presses", [0, 2])
def test_ctrl_c_at_one_process_ends_all_after_the_same_epoch(crew: Crew, presses: int) -> None:
    answers = crew.do_each("interrupted", [(rank, presses, 4) for rank in range(3)])
    assert {how for how, _ in answers} == {"interrupted 4"}
    assert all(same_bits(W, answers[0][1]) for _, W in answers)
    # Nobody is stopped by the same Ctrl-C again.
    assert crew.do(3, "interrupted", 0, 1, 4)[0][0] == "finished 9"


def test_processes_go_on_together_or_not_at_all(crew: Crew, tmp_path: Path) -> None:
    def answers(nobody: int) -> list[Any]:
        about = [(rank, nobody, 4, str(tmp_path / str(rank))) for rank in range(3)]
        return crew.do_each("interrupted", about)

    whole = crew.do(3, "interrupted", 0, 1, 99)[0][1]
    assert {how for how, _ in answers(nobody=2)} == {"interrupted 4"}
    shutil.copytree(tmp_path, kept := tmp_path.with_name("kept"))
    assert all(same_bits(W, whole) for _, W in answers(nobody=9))
    shutil.rmtree(tmp_path)
    shutil.copytree(kept, tmp_path)
    shutil.rmtree(tmp_path / "1")
    refused = answers(nobody=9)
    assert {answer.kind for answer in refused} == {"SettingsError"}
    assert "process 1 begins elsewhere" in refused[0].words
    assert "a run folder that all of them see" in refused[0].words


def test_processes_that_read_other_rows_are_refused_in_one_sentence(crew: Crew) -> None:
    W = np.zeros((1, 3, 12))
    one = make_dataset(30, seed=1)
    for other, words in (
        (make_dataset(31, seed=1), "process 0 has 30 rows of 12 features and process 1 has 31"),
        (make_dataset(30, seed=2), "process 1 has other rows of the same number"),
    ):
        answers = crew.do_each("own_rows", [(one, W), (other, W), (one, W)])
        assert all(answer.kind == "DataError" for answer in answers)
        assert all(words in answer.words for answer in answers)
        assert "give all machines the same data" in answers[0].words
