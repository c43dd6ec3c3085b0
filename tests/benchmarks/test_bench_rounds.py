"""Workers in processes of their own: who agrees is timed, who does not is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.contenders import contender
from benchmarks.crew import Conditions, Worker, WorkerError, make_conditions
from benchmarks.oracle import Expected
from benchmarks.problem import Answer, Problem, Setting, initial_weights
from benchmarks.rounds import Entry, Oracle, measure

PROBLEM = Problem("tiny", rows=60, features=30, classes=3, batch_size=20, epochs=2)
NUMPY, ONELAYER = contender("numpy"), contender("onelayer")


@pytest.fixture
def conditions(tmp_path: Path) -> Conditions:
    return make_conditions(threads=1, engine="reference", folder=tmp_path)


class ElsewhereOracle(Oracle):
    """Expects weights a little away from the true ones."""

    def expected(self, problem: Problem) -> Expected:
        true = super().expected(problem)
        return replace(true, answer=Answer(true.answer.W + 1e-4, true.answer.b))


def _quiet(words: str) -> None:
    pass


def test_who_agrees_is_timed_in_every_round(conditions: Conditions) -> None:
    entries = [Entry(ONELAYER, PROBLEM), Entry(NUMPY, PROBLEM)]
    found, absent = measure(entries, 3, conditions, Oracle(conditions), _quiet)
    assert [(m.contender, len(m.seconds), m.agrees) for m in found] == [
        ("onelayer", 3, True),
        ("numpy", 3, True),
    ]
    assert absent == []
    assert found[0].about["engine"] == "reference"


def test_who_disagrees_has_no_times(conditions: Conditions) -> None:
    oracle = ElsewhereOracle(conditions)
    found, _ = measure([Entry(NUMPY, PROBLEM)], 2, conditions, oracle, _quiet)
    assert (found[0].agrees, found[0].seconds) == (False, ())
    assert found[0].distance == pytest.approx(1e-4, rel=0.01)


def test_who_is_not_installed_is_named(conditions: Conditions) -> None:
    missing = replace(NUMPY, package="no_such_package", pip="no-such")
    found, absent = measure([Entry(missing, PROBLEM)], 1, conditions, Oracle(conditions), _quiet)
    assert found == []
    assert [a.pip for a in absent] == ["no-such"]


def test_a_chaotic_run_is_held_to_its_first_steps(conditions: Conditions) -> None:
    wild = PROBLEM.with_settings("wild", (Setting(100.0), Setting(0.01)))
    wild = replace(wild, rows=600, epochs=40)
    found, _ = measure([Entry(NUMPY, wild)], 1, conditions, Oracle(conditions), _quiet)
    assert found[0].compared_runs == 1


def test_a_worker_gives_the_weights_of_its_own_process(conditions: Conditions) -> None:
    with Worker(NUMPY, PROBLEM, conditions) as worker:
        seconds, peak_bytes, answer = worker.train()
    assert seconds > 0
    assert peak_bytes >= 0
    assert answer.W.shape == initial_weights(PROBLEM).W.shape
    assert np.isfinite(answer.W).all()


def test_a_worker_that_dies_says_who_it_was(conditions: Conditions) -> None:
    with pytest.raises(WorkerError, match="onelayer ended with exit code 1"):
        Worker(ONELAYER, PROBLEM, replace(conditions, engine="no-such-engine"))
