"""Distance from the optimum: bounds, true distances, and that the one is under the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onelayer.data import load
from onelayer.report.page import result_page
from onelayer.report.render import Section
from onelayer.report.settings import Distance, describe_distances, measure_distances
from onelayer.report.summary import summarise
from onelayer.solver import certify, solve
from onelayer.training.loop import train
from onelayer.training.result import Result
from onelayer.training.run import grid
from tests.report.made_results import make_result, make_runs, with_proofs
from tests.report.test_page import read

EPOCHS = 5


@pytest.fixture(scope="module")
def trained() -> Result:
    """Digits, two λ and λ = 0, two seeds, with real certificates and real optima."""
    splits = load("digits")
    runs = grid(learning_rate=0.05, l2=[0.0, 0.01, 0.5], seeds=2, epochs=EPOCHS)
    result = train(splits, runs)
    certificates = tuple(certify(result.model(i), splits) for i in range(len(runs)))
    optima = tuple(solve(splits.train, l2).require_certificate() for l2 in (0.5, 0.01))
    return replace(result, certificates=certificates, optima=optima)


def found(result: Result) -> list[Distance]:
    return measure_distances(result, summarise(result))


def section_of(result: Result) -> Section:
    section = result_page(result).section("distance")
    assert section is not None
    return section


def test_the_true_distance_never_exceeds_the_bound(trained: Result) -> None:
    best = {optimum.l2: optimum for optimum in trained.optima}
    for run, proof in zip(trained.runs, trained.certificates, strict=True):
        if run.l2 > 0.0:
            # J* is at least the optimum's lower bound, so this is the farthest it can be.
            assert 0.0 < proof.cost - best[run.l2].lower_bound <= proof.gap
    for distance in found(trained):
        assert distance.holds
        if distance.l2 > 0.0:
            assert 0.0 < distance.above.high <= distance.bound.high
            assert 0.0 < distance.above.mean < distance.bound.mean


def test_the_page_says_what_the_records_say(trained: Result) -> None:
    words = read(trained).words
    assert "Distance from the optimum" in words
    for distance in found(trained):
        assert f"{distance.cost.mean:.4f}" in words
        if distance.l2 > 0.0:
            for value in (distance.above.mean, distance.bound.mean):
                assert f"{value:.4f}" in words
            assert f"{distance.weights.mean:.3f}" in words
            assert f"{distance.setting} ends {distance.above.mean:.2g} nats" in words
    assert "the bound is never under it" in words


def test_distances_are_means_over_seeds(trained: Result) -> None:
    of_half = next(d for d in found(trained) if d.l2 == 0.5)
    costs = [c.cost for c in trained.certificates if c.l2 == 0.5]
    best = next(o for o in trained.optima if o.l2 == 0.5)
    assert of_half.cost.mean == pytest.approx(np.mean(costs))
    assert of_half.above.mean == pytest.approx(np.mean(costs) - best.cost)
    assert of_half.share == pytest.approx(100 * (np.mean(costs) - best.cost) / best.cost)
    assert of_half.cost.n == 2


def test_the_farthest_setting_is_named_first(trained: Result) -> None:
    farthest = max((d for d in found(trained) if d.best), key=lambda d: d.above.mean)
    assert describe_distances(found(trained)).startswith(farthest.setting)


def test_without_l2_no_bound_is_claimed(trained: Result) -> None:
    free = found(trained)[0]
    assert (free.l2, free.bound.n, free.weights.n, free.best) == (0.0, 0, 0, None)
    assert "no bound without λ" in read(trained).words
    [chart] = section_of(trained).charts
    assert {row["t"][0] for row in chart.page["datasets"]["ends"]} == {
        "λ=0.01, η=0.05",
        "λ=0.5, η=0.05",
    }


def test_only_l2_of_zero_says_so() -> None:
    result = with_proofs(make_result(make_runs(((0.1, 0.0),), seeds=1, epochs=2)))
    assert "no bound on the distance from the best cost exists" in describe_distances(found(result))
    assert section_of(result).charts == ()
    words = read(result).words.lower()
    assert " nan" not in words
    assert " inf" not in words


def test_without_certificates_there_is_no_section() -> None:
    assert result_page(make_result(snapshots=())).section("distance") is None


def test_without_optima_the_bounds_are_said_alone(four_settings: Result) -> None:
    result = replace(four_settings, optima=())
    words = read(result).words
    assert "Certified by one pass each: λ=0.1, η=0.01 at most 0.5 nats" in words
    assert section_of(result).charts == ()
    assert " nan" not in words.lower()


def test_diverged_runs_are_left_out(four_settings: Result) -> None:
    wild = list(four_settings.certificates)
    wild[3] = replace(wild[3], cost=1e9)  # run 3 diverged
    finding = found(replace(four_settings, certificates=tuple(wild)))
    assert finding[0].cost.n == 7
    assert finding[0].cost.high < 10.0


def test_records_that_contradict_each_other_are_said_to(four_settings: Result) -> None:
    tight = tuple(replace(c, gap=1e-9) for c in four_settings.certificates)
    words = read(replace(four_settings, certificates=tight)).words
    assert "which cannot be" in words
    assert "the bound is never under it" not in words


def test_a_run_nearer_than_the_solver_was_asked_for_is_not_below_the_best() -> None:
    result = with_proofs(make_result(make_runs(((0.1, 0.5),), seeds=1, epochs=2)))
    best = replace(result.optima[0], cost=result.certificates[0].cost + 1e-9)
    finding = found(replace(result, optima=(best,)))
    assert finding[0].above.mean == 0.0
    assert " nan" not in read(replace(result, optima=(best,))).words.lower()
