"""What several machines cost: a model of steps and passes, held to measurements; docs/scale.md.

Letters: N rows, D features, B rows of a global batch, C = R·K columns (runs × classes), p ranks.

    compute   4 B D C / (p F)                     scores and gradient of the rank's part of a batch
    read      B D s / (p M)                       bytes of X that the rank reads, s an entry
    update    u C D / M                           bytes of W, gradient and state that a step touches
    reduce    of m = 4 C (D + 1) bytes, the quicker of
              a ring  2 (p − 1) (m / (p L) + l)  and a tree  2 m / L + 2 ⌈log₂ p⌉ l

Reading overlaps computing (it is ahead by a tile), so a step takes
max(compute, read) + update + reduce. A pass of the optimum is one batch of N rows whose sums are
reduced once, in float64.

The measurements join network namespaces on a bridge, each with a limit on what it sends: they need
root, iproute2 and PyTorch.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.harness.page import SECONDS, Columns, fact, measure_table, percent, table
from benchmarks.harness.problem import Problem, make_data
from benchmarks.harness.processes import Process, timed
from benchmarks.harness.record import ONELAYER, Measure, Part
from benchmarks.harness.rounds import Session, Suite
from benchmarks.peers import ours
from onelayer.engines import make_engine

# Bytes of a weight that plain descent touches in a step: the gradient and W read, W written.
UPDATE_BYTES = 12


@dataclass(frozen=True)
class Rank:
    """What one rank can do, a second."""

    flops: float  # F, operations of its matrix products
    read_bandwidth: float  # M, bytes from where X lies
    memory_bandwidth: float  # bytes for weights
    link_bandwidth: float  # L, bytes that it sends, and at once receives
    latency: float  # l, seconds of one message


@dataclass(frozen=True)
class StepCost:
    """Seconds of a step, by what they go to."""

    compute: float
    read: float
    update: float
    reduce: float

    @property
    def total(self) -> float:
        return max(self.compute, self.read) + self.update + self.reduce

    @property
    def communication(self) -> float:
        return self.reduce / self.total


def all_reduce_seconds(message: float, rank: Rank, ranks: int) -> float:
    """By a ring, or by a tree where many ranks make a ring's messages too many."""
    ring = 2 * (ranks - 1) * (message / ranks / rank.link_bandwidth + rank.latency)
    levels = (ranks - 1).bit_length()
    return min(ring, 2 * (message / rank.link_bandwidth + levels * rank.latency))


def step_cost(work: Problem, rank: Rank, ranks: int, *, of_pass: bool = False) -> StepCost:
    """What one step of mini-batch descent costs on p ranks; or a full pass of the optimum.

    The `update` of a pass is the direction, some twenty products of the weights' size in float64.
    """
    rows, sum_bytes = (work.rows, 8) if of_pass else (work.batch_size, 4)
    entries = rows * work.features / ranks
    weights = work.columns * (work.features + 1)
    return StepCost(
        compute=4 * entries * work.columns / rank.flops,
        read=entries * work.stored_bytes / rank.read_bandwidth,
        update=(20 * 8 if of_pass else UPDATE_BYTES) * weights / rank.memory_bandwidth,
        reduce=all_reduce_seconds(sum_bytes * weights, rank, ranks),
    )


def smallest_batch(work: Problem, rank: Rank, ranks: int, share: float = 0.1) -> int:
    """The least B at which the all-reduce takes no more than that share of a step, p at least.

    With reduce = r and everything else growing as e·B + u, it is where r = share · (e B + u + r).
    """
    cost = step_cost(replace(work, batch_size=ranks), rank, ranks)  # of one row a rank
    needed = cost.reduce * (1 - share) / share - cost.update
    return ranks * max(1, -int(-needed // max(cost.compute, cost.read)))


# What the model says of clusters that are not here. A GPU of the H200's class by its maker's data:
# half of 989 TFLOP/s in bf16, 4.8 TB/s of memory, 450 GB/s each way within a machine of 8, 50 GB/s
# (400 Gbit/s) between machines.
WITHIN = Rank(flops=495e12, read_bandwidth=4.8e12, memory_bandwidth=4.8e12, link_bandwidth=450e9,
              latency=5e-6)  # fmt: skip
BETWEEN = replace(WITHIN, link_bandwidth=50e9, latency=10e-6)
GPUS = {8: WITHIN, 64: BETWEEN, 1024: BETWEEN}
BATCHES = (1024, 16_384, 262_144, 4_194_304)
SOLVER_PASSES, LOCAL_BATCH, LOCAL_STEPS = 30, 1024, (1, 16, 256)


def extrapolation() -> list[str]:
    """Steps, batches and the optimum of 10⁹ × 1024 rows on 8, 64 and 1024 GPUs, in Markdown."""

    def work(columns: int, batch: int) -> Problem:
        return Problem("", 10**9, 1024, columns, batch, dtype="float16")

    def epoch(work: Problem, cost: StepCost) -> str:
        return f"{cost.total * work.steps:.3g} s, {cost.communication:.0%}"

    def by_gpus(head: Sequence[str], cells: Callable[[int, Rank], list[str]]) -> str:
        rows = [[str(gpus), *cells(gpus, rank)] for gpus, rank in GPUS.items()]
        return table(["GPUs", *head], rows, 0)

    def steps(columns: int, gpus: int, rank: Rank) -> list[str]:
        works = [work(columns, batch) for batch in BATCHES]
        return [*(epoch(one, step_cost(one, rank, gpus)) for one in works),
                f"{smallest_batch(works[0], rank, gpus):,}"]  # fmt: skip

    def local(gpus: int, rank: Rank) -> list[str]:
        one = work(1000, LOCAL_BATCH * gpus)
        cost = step_cost(one, rank, gpus)
        return [epoch(one, replace(cost, reduce=cost.reduce / rare)) for rare in LOCAL_STEPS]

    def solved(gpus: int, rank: Rank) -> list[str]:
        cost = step_cost(work(1000, 1), rank, gpus, of_pass=True)
        whole = f"{SOLVER_PASSES * cost.total:.3g} s"
        return [f"{cost.total:.3g} s", f"{cost.communication:.2%}", whole]

    shown = []
    for columns in (1000, 32_000):
        head = [*(f"B = {batch:,}" for batch in BATCHES), "B for 10 %"]
        shown += [
            f"Synchronous steps, {columns} columns (runs × classes): time of an epoch, and the "
            "share of it that is communication.",
            by_gpus(head, partial(steps, columns)),
        ]
    return [
        *shown,
        f"Local steps, 1000 columns: each GPU takes H steps on {LOCAL_BATCH:,} rows of its own, "
        "then all average their weights: time of an epoch, share of communication.",
        by_gpus([f"H = {rare}" for rare in LOCAL_STEPS], local),
        "The optimum, 1000 classes: a pass over all rows, its communication, and "
        f"{SOLVER_PASSES} passes.",
        by_gpus(["a pass", "communication", "whole solve"], solved),
    ]


class Host(NamedTuple):
    """One network namespace: its name, its IPv4 address, its only interface beside loopback."""

    name: str
    address: str
    interface: str


@contextmanager
def joined_hosts(count: int, megabits: float) -> Iterator[tuple[Host, ...]]:
    """Hosts that reach each other, each sending so many Mbit/s at most; OSError where it fails."""
    prefix = f"ol{os.getpid() % 10000}"
    hosts = tuple(Host(f"{prefix}-{i}", f"10.77.0.{i + 1}", f"{prefix}h{i}") for i in range(count))
    hub, limit = f"{prefix}-hub", f"rate {megabits:g}mbit burst 65536 latency 50ms"
    try:
        _run(f"ip netns add {hub}")
        _run(f"ip -n {hub} link add bridge type bridge")
        _run(f"ip -n {hub} link set bridge up")
        for i, (name, address, cable) in enumerate(hosts):
            _run(f"ip netns add {name}")
            _run(f"ip -n {name} link set lo up")
            _run(f"ip -n {name} link add {cable} type veth peer name {prefix}b{i} netns {hub}")
            _run(f"ip -n {hub} link set {prefix}b{i} master bridge up")
            _run(f"ip -n {name} address add {address}/24 dev {cable}")
            _run(f"ip -n {name} link set {cable} up")
            _run(f"tc -n {name} qdisc add dev {cable} root tbf {limit}")
        yield hosts
    finally:
        for name in (hub, *(host.name for host in hosts)):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _run(command: str) -> None:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip() or f"exit code {done.returncode}"
        raise OSError(f"`{command}` failed: {reason}. It needs root.")


# What is timed on this machine: a few steps of each batch in a pass.
SHAPES = tuple(
    Problem(f"{batch} × {features}, {columns}", steps * batch, features, columns, batch, 1,
            "float32")
    for batch, features, columns, steps in (
        (256, 1024, 100, 6), (1024, 1024, 100, 6), (4096, 1024, 100, 4), (1024, 3072, 10, 6),
    )
)  # fmt: skip
ROUNDS, PORT, TIMEOUT = 3, 29511, 300.0
# What a TCP stream carries of a link's bits, beside headers of packets of 1500 bytes.
PAYLOAD = 1448 / 1514


class Desk:
    """One rank: trains with the torch engine and times its steps."""

    def time(self, shapes: Sequence[Problem]) -> dict[str, Any]:
        """Seconds of a step of every shape, round by round, and of an all-reduce of one number."""
        return {"seconds": list(map(_step_seconds, shapes)), "message": _message_seconds()}


def _step_seconds(shape: Problem) -> tuple[float, ...]:
    """The mean step of each round, which is an epoch; the first is not counted."""
    rows = ours.rows_of(shape, make_data(shape))
    engine = make_engine("torch", 1, device="cpu", distributed=True)
    trainer = ours.begin(shape, engine)
    epoch = partial(ours.train, shape, rows, engine, trainer)
    told = [timed(epoch)[1] for _ in range(1 + ROUNDS)]
    return tuple(figures["seconds"] / shape.steps for figures in told[1:])


def _message_seconds() -> float:
    """Of an all-reduce of one number: the latency of its messages."""
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        return 0.0
    number = torch.zeros(1)
    told = [timed(lambda: distributed.all_reduce(number))[1] for _ in range(50)]
    return median(figures["seconds"] for figures in told[5:])


def run_ranks(
    session: Session, hosts: Sequence[Host] = (), shapes: Sequence[Problem] = SHAPES
) -> dict[str, Any]:
    """What rank 0 measured, of one process on each host; without hosts of one process alone."""
    conditions = replace(session.conditions, threads=1, cores=())
    quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # hosts here have no names
    places: list[tuple[list[str], dict[str, str]]] = [
        (["ip", "netns", "exec", host.name],
         {"RANK": str(i), "WORLD_SIZE": str(len(hosts)), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1",
          "MASTER_ADDR": hosts[0].address, "MASTER_PORT": str(PORT),
          "GLOO_SOCKET_IFNAME": host.interface})
        for i, host in enumerate(hosts)
    ]  # fmt: skip
    with ExitStack() as stack:
        ranks = [
            stack.enter_context(Process(f"rank {i}", Desk, conditions=conditions, prefix=prefix,
                                        variables=quiet | variables))
            for i, (prefix, variables) in enumerate(places or [([], {})])
        ]  # fmt: skip
        for rank in ranks:
            rank.send("time", shapes=shapes)
        told: list[dict[str, Any]] = [rank.receive(TIMEOUT) for rank in ranks]
        return told[0]


def measure(session: Session) -> Part:
    """Time every shape for every number of ranks and speed, beside what the model says.

    The model is given what is known without it: the speed of one rank alone on its core for each
    shape, the links' limit, and the time of a message that carries nothing.
    """
    part, options = session.part(), session.options
    if options.extrapolate:
        return part
    alone = run_ranks(session)["seconds"]
    for speed, count in product(options.megabits, options.ranks):
        with joined_hosts(count, speed) as hosts:
            told = run_ranks(session, hosts)
        latency = told["message"] / (2 * (count - 1))
        for shape, one, seconds in zip(SHAPES, alone, told["seconds"], strict=True):
            modelled = model_of(shape, median(one), count, speed, latency)
            facts = {"ranks": count, "megabits": speed, "modelled": modelled.total,
                     "communication": modelled.communication}  # fmt: skip
            part = part.with_([Measure(shape.name, ONELAYER, "torch engine", seconds, facts=facts)])
        session.keep(part)
    return part


def model_of(work: Problem, alone: float, ranks: int, megabits: float, latency: float) -> StepCost:
    """The model's step where ranks share this machine's cores."""
    share = min(1.0, len(os.sched_getaffinity(0)) / ranks)
    operations = 4 * work.batch_size * work.features * work.columns
    plenty = 1e15  # reading and updating are within the time of one rank alone
    link = megabits * 1e6 / 8 * PAYLOAD
    return step_cost(work, Rank(share * operations / alone, plenty, plenty, link, latency), ranks)


COLUMNS: Columns = {
    "B × D, columns": lambda m: m.work,
    "ranks": fact("ranks", str),
    "link": fact("megabits", "{:g} Mbit/s".format),
    **SECONDS,
    "model": fact("modelled", "{:.3g}".format),
    "measured / model": lambda m: f"{(m.median or 0.0) / m.facts['modelled']:.2f}",
    "all-reduce": fact("communication", percent),
}


def render(part: Part, _: Path) -> list[str]:
    measured = [measure_table(COLUMNS, part.measures)] if part.measures else []
    return ["## Several machines", *measured, *extrapolation()]


OPTIONS: dict[str, dict[str, Any]] = {
    "--ranks": {"type": int, "nargs": "+", "default": [2, 3, 4], "help": "default 2 3 4"},
    "--megabits": {"type": float, "nargs": "+", "default": [100, 1000],
                   "help": "of a link; default 100 1000"},
    "--extrapolate": {"action": "store_true", "help": "only what needs no measuring"},
}  # fmt: skip
SUITE = Suite("cluster", "several machines, measured and extrapolated (root, iproute2, PyTorch)",
              measure, render, in_whole=False, options=OPTIONS)  # fmt: skip
