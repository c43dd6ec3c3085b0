"""What a proof costs: its sections, the figures of each, and what is refused."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.harness.record import ONELAYER, Measure, Part
from benchmarks.harness.rounds import Session
from benchmarks.suites import proofs
from benchmarks.suites.proofs import SECTIONS, SUITE, Task, task

TINY = {
    "shares": (task("share", 300, 12, 20, 1e-2, 1e-3, 15),),
    "certificates": (task("32 runs", 600, 12, 5, 1e-2, 0, 3),),
    "small": (task("irises", 150, 4, 3, 0.0, 1e-8, 1.5, source="iris"),),
    "wide": (task("wide", 20, 60, 2, 0.0, 1e-6, 2),),
}


def test_the_sections_are_those_that_were_asked_for() -> None:
    shapes = {
        (one.problem.rows, one.problem.features, one.problem.classes): one.tol
        for tasks in SECTIONS.values()
        for one in tasks
    }
    assert shapes[4000, 256, 1000] == shapes[8000, 256, 1000] == shapes[200_000, 768, 100] == 1e-3
    assert shapes[50, 100_000, 2] == shapes[1600, 4096, 100] == 1e-5
    assert {one.tol for one in SECTIONS["small"]} == {1e-8}


@pytest.mark.slow
def test_every_section_measures_what_agrees(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.harness.rounds.SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(proofs, "SECTIONS", TINY)
    options = Namespace(quick=True, sections=",".join(TINY))
    part = proofs.measure(replace(session, options=options))
    assert [m.refused for m in part.measures] == [""] * len(part.measures)
    share, runs = (part.find(ONELAYER, work) for work in ("share", "32 runs"))
    assert share is not None
    assert runs is not None
    assert len(share.series["share"]) == len(share.series["certificate"]) == 3
    assert share.facts["gap"] <= 1e-3
    assert len(runs.series["certificate"]) == 3
    for work in ("irises", "wide"):
        mine, peer, *_ = part.of(work)
        assert mine.facts["excess"] <= mine.facts["gap"] <= 1e-6
        assert peer.seconds
        assert abs(peer.facts["excess"]) < 0.1
    assert "| irises | scikit-learn, default |" in "\n".join(proofs.render(part, Path()))


def _solved(one: Task, who: str, *seconds: float) -> Measure:
    return Measure(one.problem.name, who, who, seconds)


def test_a_ratio_is_that_of_the_fastest_peer() -> None:
    (many,) = SECTIONS["many"]
    found = (
        _solved(many, ONELAYER, 1.0, 2.0, 1.0),
        _solved(many, "sklearn-lbfgs", 9.0, 18.0, 10.0),
        _solved(many, "sklearn-lbfgs-float32", 8.0, 17.0, 8.0),
    )
    record = {"proofs": Part("", {}, 2, "native", measures=found)}
    figures = {target.measure: target.figure(record) for target in SUITE.targets}
    assert figures["4000 × 256, K = 1000: scikit-learn / onelayer proven to 0.001"] == 8.0
    assert figures["irises: scikit-learn / onelayer proven to 1e-08"] is None
