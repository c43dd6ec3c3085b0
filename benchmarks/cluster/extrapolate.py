"""What the model says of clusters that are not here: 64 and 1024 GPUs, 10⁹ × 1024 rows."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.cluster.model import Rank, Workload, pass_cost, smallest_batch, step_cost

GPUS = (8, 64, 1024)
ROWS = 10**9
FEATURES = 1024
BATCHES = (1024, 16_384, 262_144, 4_194_304)
SOLVER_PASSES = 30
LOCAL_BATCH = 1024
LOCAL_STEPS = (1, 16, 256)

# A GPU of the H200's class by its maker's data: half of 989 TFLOP/s in bf16, 4.8 TB/s of memory,
# 450 GB/s each way within a machine of 8, 50 GB/s (400 Gbit/s) between machines.
WITHIN = Rank(
    flops=495e12,
    read_bandwidth=4.8e12,
    memory_bandwidth=4.8e12,
    link_bandwidth=450e9,
    latency=5e-6,
)
BETWEEN = replace(WITHIN, link_bandwidth=50e9, latency=10e-6)


def rank_of(gpus: int) -> Rank:
    """One GPU of so many: the link is that between machines where there are several."""
    return WITHIN if gpus <= GPUS[0] else BETWEEN


def render() -> str:
    """Tables of steps, of batches and of the optimum, in Markdown."""
    parts = [_steps(columns) for columns in (1000, 32_000)]
    return "\n\n".join([*parts, _local_steps(1000), _optimum(1000)])


def _work(columns: int, batch_size: int) -> Workload:
    return Workload(ROWS, FEATURES, columns, batch_size, stored_bytes=2)


def _steps(columns: int) -> str:
    lines = [
        f"Synchronous steps, {columns} columns (runs × classes): time of an epoch, and the share "
        "of it that is communication.",
        "",
        "| GPUs | " + " | ".join(f"B = {b:,}" for b in BATCHES) + " | B for 10 % |",
        "|---:|" + "---:|" * (len(BATCHES) + 1),
    ]
    for gpus in GPUS:
        rank, cells = rank_of(gpus), []
        for batch in BATCHES:
            cost = step_cost(_work(columns, batch), rank, gpus)
            epoch = cost.total * _work(columns, batch).steps
            cells.append(f"{epoch:.3g} s, {cost.communication:.0%}")
        least = smallest_batch(_work(columns, gpus), rank, gpus)
        lines.append(f"| {gpus} | {' | '.join(cells)} | {least:,} |")
    return "\n".join(lines)


def _local_steps(columns: int) -> str:
    lines = [
        f"Local steps, {columns} columns: each GPU takes H steps on {LOCAL_BATCH:,} rows "
        "of its own, then all average their weights: time of an epoch, share of communication.",
        "",
        "| GPUs | " + " | ".join(f"H = {h}" for h in LOCAL_STEPS) + " |",
        "|---:|" + "---:|" * len(LOCAL_STEPS),
    ]
    for gpus in GPUS:
        work = _work(columns, LOCAL_BATCH * gpus)
        cost = step_cost(work, rank_of(gpus), gpus)
        cells = []
        for h in LOCAL_STEPS:
            shared = replace(cost, reduce=cost.reduce / h)
            cells.append(f"{shared.total * work.steps:.3g} s, {shared.communication:.0%}")
        lines.append(f"| {gpus} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _optimum(columns: int) -> str:
    lines = [
        f"The optimum, {columns} classes: a pass over all rows, its communication, and "
        f"{SOLVER_PASSES} passes.",
        "",
        "| GPUs | a pass | communication | whole solve |",
        "|---:|---:|---:|---:|",
    ]
    for gpus in GPUS:
        cost = pass_cost(_work(columns, gpus), rank_of(gpus), gpus)
        lines.append(
            f"| {gpus} | {cost.total:.3g} s | {cost.communication:.2%} "
            f"| {SOLVER_PASSES * cost.total:.3g} s |"
        )
    return "\n".join(lines)
