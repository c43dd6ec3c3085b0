"""Workers in processes of their own: who agrees is timed in turn, who does not is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.harness.oracle import Expected, Oracle
from benchmarks.harness.problem import Answer, Problem, Setting, data_folder, initial_weights
from benchmarks.harness.processes import Conditions, Process, WorkerError
from benchmarks.harness.record import Measure
from benchmarks.harness.rounds import Entrant, Sample, Session, time_in_turn
from benchmarks.peers import Contender, Desk, contender
from benchmarks.suites import training
from benchmarks.suites.training import Entry, measure_entries

PROBLEM = Problem("tiny", rows=60, features=30, classes=3, batch_size=20, epochs=2)
NUMPY, ONELAYER = contender("numpy"), contender("onelayer")


class ElsewhereOracle(Oracle):
    """Expects weights a little away from the true ones."""

    def expected(self, problem: Problem) -> Expected:
        true = super().expected(problem)
        return replace(true, answer=Answer(true.answer.W + 1e-4, true.answer.b))


def _start(who: Contender, conditions: Conditions) -> Process:
    job = who, PROBLEM, data_folder(PROBLEM, conditions.folder), conditions.threads
    return Process(who.key, Desk, *job, conditions=conditions)


@pytest.fixture(scope="module")
def worker(session: Session) -> Iterator[Process]:
    with _start(NUMPY, session.conditions) as process:
        yield process


def _entrant(who: str, order: list[str], refused_at: int = 99, max_rounds: int = 99) -> Entrant:
    def once() -> Sample:
        order.append(who)
        if order.count(who) == refused_at:
            raise WorkerError("it ended")
        return Sample(order.count(who), series={"x": (1.0,)}, facts={"n": order.count(who)})

    return Entrant(Measure("work", who, who), once, max_rounds)


def test_rounds_are_in_turn_and_their_order_moves_on_by_one() -> None:
    order: list[str] = []
    kept = list[int]()
    entrants = [_entrant(who, order) for who in "abc"]
    found = time_in_turn(entrants, 3, keep=lambda m: kept.append(len(m[0].seconds)), settle=0)
    assert "".join(order) == "abcbcacab"
    assert [m.seconds for m in found] == [(1, 2, 3)] * 3
    assert (found[0].series, found[0].facts) == ({"x": (1.0,) * 3}, {"n": 3})
    assert kept == [1, 1, 1, 1, 1, 2, 2, 3, 3]


def test_who_crashes_has_no_times_and_the_others_go_on() -> None:
    order: list[str] = []
    found = time_in_turn([_entrant("a", order, 2), _entrant("b", order, 99, 1)], 3, settle=0)
    assert found[0].refused == "crashed: it ended"
    assert [m.seconds for m in found] == [(), (1,)]
    assert order == ["a", "b", "a"]


def test_without_patience_three_rounds_are_left() -> None:
    order: list[str] = []
    time_in_turn([_entrant("a", order)], 9, settle=0, patience=0)
    assert len(order) == 3


def test_who_agrees_is_timed_and_who_is_not_installed_is_named(session: Session) -> None:
    missing = replace(NUMPY, package="no_such_package", pip="no-such")
    entries = [Entry(ONELAYER, PROBLEM), Entry(NUMPY, PROBLEM), Entry(missing, PROBLEM)]
    part = measure_entries(session, session.part(), entries, 3)
    assert [(m.who, len(m.seconds), m.refused) for m in part.measures] == [
        ("onelayer", 3, ""),
        ("numpy", 3, ""),
        ("numpy", 0, "not installed (pip install no-such)"),
    ]
    assert part.measures[0].facts["about"]["engine"] == "reference"


def test_who_disagrees_has_no_times(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "Oracle", ElsewhereOracle)
    (found,) = measure_entries(session, session.part(), [Entry(NUMPY, PROBLEM)], 2).measures
    assert found.seconds == ()
    assert found.refused.startswith("refused: its weights are 1.0e-04 off")
    assert found.facts["distance"] == pytest.approx(1e-4, rel=0.01)


def test_a_chaotic_run_is_held_to_its_first_steps(session: Session) -> None:
    wild = replace(PROBLEM, rows=600, epochs=40, settings=(Setting(100.0), Setting(0.01)))
    (found,) = measure_entries(session, session.part(), [Entry(NUMPY, wild)], 1).measures
    assert found.facts["runs"] == 1
    assert found.seconds


def test_a_worker_gives_the_weights_and_limits_of_its_own_process(
    worker: Process,
) -> None:
    told = worker.ask("run")
    assert told["seconds"] > 0
    assert told["peak_bytes"] >= 0
    assert told["answer"].W.shape == initial_weights(PROBLEM).W.shape
    assert np.isfinite(told["answer"].W).all()
    assert worker.limit("sgemm", side=64) > 0


def test_processor_time_is_that_of_the_work_alone(session: Session) -> None:
    fixed = replace(session.conditions, processor_time=True)
    with _start(NUMPY, fixed) as process:
        assert process.ask("run")["seconds"] < 5.0


def test_a_worker_that_dies_or_is_late_says_who_it_was(worker: Process, session: Session) -> None:
    with pytest.raises(WorkerError, match="numpy did not answer within 0 s"):
        worker.receive(timeout=0)
    bad = replace(session.conditions, engine="no-such-engine")
    with pytest.raises(WorkerError, match="onelayer ended with exit code 1"):
        _start(ONELAYER, bad)
