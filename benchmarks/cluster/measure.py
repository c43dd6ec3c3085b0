"""Hold the cost model to measurements: ranks on hosts of one machine, joined by limited links."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from benchmarks.cluster.model import Rank, Workload, step_cost
from benchmarks.cluster.namespaces import Host, joined_hosts
from benchmarks.cluster.rank import Shape

ROOT = Path(__file__).resolve().parents[2]
PORT = 29511
TIMEOUT = 300
# What a TCP stream carries of a link's bits, beside headers of packets of 1500 bytes.
PAYLOAD = 1448 / 1514

SHAPES = (
    Shape(batch_size=256, features=1024, columns=100, steps=6),
    Shape(batch_size=1024, features=1024, columns=100, steps=6),
    Shape(batch_size=4096, features=1024, columns=100, steps=4),
    Shape(batch_size=1024, features=3072, columns=10, steps=6),
)


@dataclass(frozen=True)
class Timed:
    """What rank 0 saw: seconds a step of each shape, and of an all-reduce of one number."""

    seconds: list[float]
    message: float


@dataclass(frozen=True)
class Measured:
    """One shape on a number of ranks over links of one speed; seconds a step."""

    shape: Shape
    ranks: int
    megabits: float
    measured: float
    modelled: float
    communication: float


def measure(ranks: Sequence[int], megabits: Sequence[float]) -> list[Measured]:
    """Time every shape for every number of ranks and speed, beside what the model says.

    The model is told what can be had without it: the speed of one rank alone on its core for each
    shape, the links' limit, and the time of a message that carries nothing.

    Args:
        ranks: numbers of ranks, each ≥ 2.
        megabits: speeds of the links, Mbit/s.

    Returns:
        One entry for each combination.

    Raises:
        OSError: where namespaces cannot be made.
    """
    alone = _run_ranks(None, 1).seconds
    found = []
    for speed in megabits:
        for count in ranks:
            with joined_hosts(count, speed) as hosts:
                timed = _run_ranks(hosts, count)
            latency = timed.message / (2 * (count - 1))
            for shape, one, seconds in zip(SHAPES, alone, timed.seconds, strict=True):
                cost = step_cost(_workload(shape), _rank(shape, one, count, speed, latency), count)
                found.append(Measured(shape, count, speed, seconds, cost.total, cost.communication))
    return found


def render(found: Sequence[Measured]) -> str:
    """The measurements as a Markdown table."""
    lines = [
        "| B × D, columns | ranks | link | measured | model | measured / model | all-reduce |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for m in found:
        size = f"{m.shape.batch_size} × {m.shape.features}, {m.shape.columns}"
        lines.append(
            f"| {size} | {m.ranks} | {m.megabits:g} Mbit/s | {1e3 * m.measured:.1f} ms "
            f"| {1e3 * m.modelled:.1f} ms | {m.measured / m.modelled:.2f} "
            f"| {m.communication:.0%} |"
        )
    return "\n".join(lines)


def _workload(shape: Shape) -> Workload:
    rows = shape.batch_size * shape.steps
    return Workload(rows, shape.features, shape.columns, shape.batch_size, stored_bytes=4)


def _rank(shape: Shape, alone: float, ranks: int, megabits: float, latency: float) -> Rank:
    """What each of so many ranks can do where they share this machine's cores."""
    cores = len(os.sched_getaffinity(0))
    operations = 4 * shape.batch_size * shape.features * shape.columns
    share = min(1.0, cores / ranks)
    plenty = 1e15  # reading and updating are within the time of one rank alone
    link = megabits * 1e6 / 8 * PAYLOAD
    return Rank(share * operations / alone, plenty, plenty, link, latency)


def _run_ranks(hosts: Sequence[Host] | None, count: int) -> Timed:
    """Start one process for each rank, wait for all, and return what rank 0 printed."""
    shapes = json.dumps([astuple(shape) for shape in SHAPES])
    words = [sys.executable, "-m", "benchmarks.cluster.rank", shapes]
    running = []
    for rank in range(count):
        host = None if hosts is None else hosts[rank]
        running.append(
            subprocess.Popen(
                words if host is None else host.command(words),
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env=_variables(hosts, rank, count),
            )
        )
    try:
        said = [process.communicate(timeout=TIMEOUT)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    for rank, process in enumerate(running):
        if process.returncode:
            raise OSError(f"rank {rank} of {count} ended with exit code {process.returncode}.")
    return Timed(**json.loads(said[0]))


def _variables(hosts: Sequence[Host] | None, rank: int, count: int) -> dict[str, str]:
    """The environment of a rank: torchrun's variables, one thread, its own interface."""
    variables = dict(os.environ) | {"OMP_NUM_THREADS": "1", "ONELAYER_THREADS": "1"}
    variables["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # hosts here have no names
    if hosts is None:
        return variables
    return variables | {
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": hosts[0].address,
        "MASTER_PORT": str(PORT),
        "GLOO_SOCKET_IFNAME": hosts[rank].interface,
    }
