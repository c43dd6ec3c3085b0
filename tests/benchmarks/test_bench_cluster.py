"""The cost model of several machines: what must hold whatever the numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness.problem import Problem
from benchmarks.harness.rounds import Session
from benchmarks.suites.cluster import (
    ROUNDS,
    Rank,
    all_reduce_seconds,
    extrapolation,
    run_ranks,
    smallest_batch,
    step_cost,
)

workloads = st.builds(
    Problem,
    name=st.just(""),
    rows=st.integers(10**3, 10**9),
    features=st.integers(1, 10**4),
    classes=st.integers(2, 10**5),
    batch_size=st.integers(1, 10**6),
    dtype=st.sampled_from(["uint8", "float16", "float32"]),
)
ranks_of = st.builds(
    Rank,
    flops=st.floats(1e9, 1e15),
    read_bandwidth=st.floats(1e8, 1e13),
    memory_bandwidth=st.floats(1e9, 1e13),
    link_bandwidth=st.floats(1e6, 1e12),
    latency=st.floats(1e-6, 1e-3),
)


@given(work=workloads, rank=ranks_of)
def test_one_rank_alone_communicates_nothing(work: Problem, rank: Rank) -> None:
    assert step_cost(work, rank, 1).reduce == 0.0
    assert step_cost(work, rank, 1, of_pass=True).communication == 0.0


@given(work=workloads, rank=ranks_of, ranks=st.integers(2, 2048))
def test_communication_is_within_its_share_from_the_smallest_batch_on(
    work: Problem, rank: Rank, ranks: int
) -> None:
    least = smallest_batch(work, rank, ranks, share=0.1)
    enough = step_cost(replace(work, batch_size=least), rank, ranks)
    assert enough.communication <= 0.1 * (1 + 1e-9)
    if least >= 10 * ranks:
        half = step_cost(replace(work, batch_size=least // 2), rank, ranks)
        assert half.communication > 0.1


@given(
    message=st.floats(1, 1e10), rank=ranks_of, ranks=st.integers(2, 1024), factor=st.floats(1, 100)
)
def test_an_all_reduce_takes_no_less_for_more_bytes_or_a_slower_link(
    message: float, rank: Rank, ranks: int, factor: float
) -> None:
    seconds = all_reduce_seconds(message, rank, ranks)
    slower = replace(rank, link_bandwidth=rank.link_bandwidth / factor)
    assert all_reduce_seconds(message * factor, rank, ranks) >= seconds
    assert all_reduce_seconds(message, slower, ranks) >= seconds
    # No algorithm sends less than all but one rank's share, out and back.
    assert seconds >= 2 * (ranks - 1) / ranks * message / rank.link_bandwidth * (1 - 1e-12)


def test_a_ring_of_two_sends_the_message_once_each_way() -> None:
    rank = Rank(1e12, 1e12, 1e12, link_bandwidth=1e6, latency=0.0)
    assert all_reduce_seconds(1e6, rank, 2) == pytest.approx(1.0)


def test_the_extrapolation_has_a_line_for_every_cluster() -> None:
    said = "\n".join(extrapolation())
    assert said.count("| 64 |") == 4
    assert said.count("| 1024 |") == 4


def test_one_rank_times_its_steps_in_a_process_of_its_own(session: Session) -> None:
    told = run_ranks(session, shapes=[Problem("", 32, 8, 4, 16, 1, "float32")])
    assert [len(seconds) for seconds in told["seconds"]] == [ROUNDS]
    assert min(told["seconds"][0]) > 0
    assert told["message"] == 0.0
