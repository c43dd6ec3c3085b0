"""The benchmark of few features: ends near J*, what is refused, and whose ratio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness.record import ONELAYER, Measure
from benchmarks.harness.rounds import Session
from benchmarks.peers.l1_paths import saga
from benchmarks.suites import few_features
from benchmarks.suites.few_features import GOAL, Job, Shape, entrant, ours

WORK = few_features.WORKS[0]


@pytest.mark.parametrize("stored", [0, 5])
def test_a_peer_is_given_the_largest_tolerance_that_reaches_the_goal(stored: int) -> None:
    job = Job.of(Shape("small", 80, 12, 3, stored), 0.5)
    best = [job.cost(at, *one) for at, one in zip(job.wanted, ours(job, 1e-8), strict=True)]
    sample = entrant("sklearn", job, best, WORK).once()
    assert sample.facts["excess"] <= GOAL
    assert job.excess(best, saga(job, 3.0 * sample.facts["tol"])) > sample.facts["excess"]
    assert entrant(ONELAYER, job, best, WORK).once().facts["excess"] <= GOAL


def test_who_is_above_the_goal_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job.of(Shape("small", 80, 12, 2), 1.0)
    best = [job.cost(at, *one) for at, one in zip(job.wanted, ours(job, 1e-8), strict=True)]
    zero = [(np.zeros((1, 12)), np.zeros(1))] * len(best)
    monkeypatch.setattr(few_features, "ours", lambda *_: zero)
    assert "refused" in entrant(ONELAYER, job, best, WORK).once().refused


def test_the_ratio_is_that_of_the_fastest_peer(session: Session) -> None:
    part = session.part().with_([
        Measure(WORK, ONELAYER, "onelayer, proven", (1.0, 2.0, 3.0)),
        Measure(WORK, "skglm", "skglm", (8.0, 6.0, 7.0)),
        Measure(WORK, "sklearn", "sklearn saga", (9.0,)),
        Measure(WORK, "adelie", "adelie", refused="not installed (pip install adelie)"),
    ])  # fmt: skip
    assert few_features.fastest(WORK, {"few": part}) == 3.5
    assert few_features.fastest(few_features.WORKS[1], {"few": part}) is None
    slow = Measure(WORK, "sklearn", "sklearn saga", refused="too slow", facts={"at_least": 5.0})
    assert few_features.fastest(WORK, {"few": part.with_([slow])}) == 2.5
    assert "| skglm | 7.00 (6.00–8.00) |" in "\n".join(few_features.render(part, Path()))
