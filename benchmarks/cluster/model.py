"""The cost model of data-parallel training and of the optimum, in seconds; see docs/scale.md.

Letters: N rows, D features, B rows of a global batch, C = R·K columns (runs × classes), p ranks.

    compute   4 B D C / (p F)                     scores and gradient of the rank's part of a batch
    read      B D s / (p M)                       bytes of X that the rank reads, s an entry
    update    u C D / M                           bytes of W, gradient and state that a step touches
    reduce    of m = 4 C (D + 1) bytes, the quicker of
              a ring  2 (p − 1) (m / (p L) + l)  and a tree  2 m / L + 2 ⌈log₂ p⌉ l

Reading overlaps computing (it is ahead by a tile), so a step takes
max(compute, read) + update + reduce. A pass of the optimum is one batch of N rows whose sums are
reduced once, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

# Bytes of a weight that plain descent touches in a step: the gradient and W read, W written.
UPDATE_BYTES = 12


@dataclass(frozen=True)
class Workload:
    """What is trained.

    Attributes:
        rows: N.
        features: D.
        columns: C = R·K, runs times classes.
        batch_size: B, rows of a global batch, over all ranks.
        stored_bytes: s, bytes of an entry of X: 1, 2 or 4.
    """

    rows: int
    features: int
    columns: int
    batch_size: int
    stored_bytes: int = 2

    @property
    def steps(self) -> int:
        """Steps of a pass, ⌈N/B⌉."""
        return -(-self.rows // self.batch_size)


@dataclass(frozen=True)
class Rank:
    """What one rank can do.

    Attributes:
        flops: F, operations a second of its matrix products.
        read_bandwidth: M, bytes a second from where X lies.
        memory_bandwidth: bytes a second for weights.
        link_bandwidth: L, bytes a second that it sends, and at once receives.
        latency: l, seconds of one message.
    """

    flops: float
    read_bandwidth: float
    memory_bandwidth: float
    link_bandwidth: float
    latency: float


@dataclass(frozen=True)
class StepCost:
    """Seconds of a step, by what they go to."""

    compute: float
    read: float
    update: float
    reduce: float

    @property
    def total(self) -> float:
        """Seconds of the whole step."""
        return max(self.compute, self.read) + self.update + self.reduce

    @property
    def communication(self) -> float:
        """Share of the step that goes to the all-reduce, 0 … 1."""
        return self.reduce / self.total


def all_reduce_seconds(message: float, rank: Rank, ranks: int) -> float:
    """An all-reduce by a ring, or by a tree where many ranks make a ring's messages too many.

    Args:
        message: bytes that each rank holds.
        rank: what a rank can do.
        ranks: p ≥ 1.

    Returns:
        Seconds; 0 for one rank.
    """
    ring = 2 * (ranks - 1) * (message / ranks / rank.link_bandwidth + rank.latency)
    levels = (ranks - 1).bit_length()
    tree = 2 * (message / rank.link_bandwidth + levels * rank.latency)
    return min(ring, tree)


def step_cost(work: Workload, rank: Rank, ranks: int) -> StepCost:
    """What one step of mini-batch descent costs on p ranks.

    Args:
        work: what is trained.
        rank: what a rank can do.
        ranks: p ≥ 1.

    Returns:
        Seconds by part.
    """
    entries = work.batch_size * work.features / ranks
    weights = work.columns * (work.features + 1)
    return StepCost(
        compute=4 * entries * work.columns / rank.flops,
        read=entries * work.stored_bytes / rank.read_bandwidth,
        update=UPDATE_BYTES * weights / rank.memory_bandwidth,
        reduce=all_reduce_seconds(4 * weights, rank, ranks),
    )


def pass_cost(work: Workload, rank: Rank, ranks: int) -> StepCost:
    """What one full pass of the optimum costs: a gradient over all N rows, reduced once in float64.

    Args:
        work: what is solved; the batch size plays no part.
        rank: what a rank can do.
        ranks: p ≥ 1.

    Returns:
        Seconds by part; `update` is the direction, some twenty products of the weights' size.
    """
    entries = work.rows * work.features / ranks
    weights = work.columns * (work.features + 1)
    return StepCost(
        compute=4 * entries * work.columns / rank.flops,
        read=entries * work.stored_bytes / rank.read_bandwidth,
        update=20 * 8 * weights / rank.memory_bandwidth,
        reduce=all_reduce_seconds(8 * weights, rank, ranks),
    )


def smallest_batch(work: Workload, rank: Rank, ranks: int, share: float = 0.1) -> int:
    """The least B at which the all-reduce takes no more than that share of a step.

    With reduce = r and everything else growing as e·B + u, it is where r = share · (e B + u + r).

    Args:
        work: what is trained; its batch size plays no part.
        rank: what a rank can do.
        ranks: p ≥ 1.
        share: of the step, 0 … 1.

    Returns:
        Rows of a global batch, a whole number for each rank; p at least.
    """
    one = Workload(work.rows, work.features, work.columns, ranks, work.stored_bytes)
    cost = step_cost(one, rank, ranks)  # of one row a rank
    needed = cost.reduce * (1 - share) / share - cost.update
    return ranks * max(1, -int(-needed // max(cost.compute, cost.read)))
