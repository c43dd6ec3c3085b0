"""The optimum's part of docs/benchmarks.md, from the record alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.contenders import ONELAYER
from benchmarks.figures import MEGABYTE, spread_text
from benchmarks.optimum import figures
from benchmarks.optimum.record import OptimumRecord, Solved
from benchmarks.tables import table

HEAD = ("contender", "seconds to 1e-6: median (min–max)", "n", "× onelayer", "iterations",
        "excess", "X, MB", "MB above X")  # fmt: skip
QUIET_CORES = 0.1


def render_optimum(record: OptimumRecord | None, pictures: Sequence[tuple[str, str]]) -> list[str]:
    """Headings, charts and tables.

    Args:
        record: what was measured, if it was.
        pictures: name without its ending, and the words for who cannot see it.
    """
    if record is None:
        return []
    return [
        "## Time to the optimum",
        _conditions(record),
        *(f"![{words}](benchmarks/{name}.png)" for name, words in pictures),
        *_tasks(record),
        *_paths(record),
        METHOD,
        _confirmed(record),
    ]


def _conditions(record: OptimumRecord) -> str:
    busy = record.other_work
    load = "unknown" if busy is None else f"{busy:.2f}"
    warning = "" if busy is None or busy < QUIET_CORES else (
        " **Other work kept cores busy meanwhile: these times are not to be trusted.**"
    )  # fmt: skip
    processor = record.machine.get("processor", "?")
    return f"Measured {record.started} on {processor}; cores busy with other work: {load}.{warning}"


def _tasks(record: OptimumRecord) -> list[str]:
    parts = []
    for task, l2 in dict.fromkeys((s.task, s.l2) for s in record.solved):
        found = [s for s in record.solved if (s.task, s.l2) == (task, l2)]
        rows = [row for one in found for row in _rows(record, one)]
        rows += [[label, f"not installed (pip install {pip})", *6 * [""]]
                 for label, pip in record.absent]  # fmt: skip
        parts += [f"### {record.titles[task]}, λ = {l2:g}", table(HEAD, rows)]
    return parts


def _rows(record: OptimumRecord, found: Solved) -> list[list[str]]:
    if found.refused:
        return [[found.label, found.refused, *6 * [""]]]
    sizes = [f"{found.x_bytes / MEGABYTE:.0f}", f"{found.peak_bytes / MEGABYTE:.0f}"]
    if not found.seconds:
        k, seconds, excess = min(found.steps, key=lambda step: step[2], default=(0, 0.0, math.inf))
        least = figures.least_ratio(record, found)
        words = "not reached" if found.cut else "gave up"
        return [[found.label, f"{words}: {excess:.1e} after {seconds:.1f} s", "",
                 f"> {least:.1f}" if least else "", str(k), "", *sizes]]  # fmt: skip
    times = figures.ratio(record, found)
    row = [found.label, spread_text(found.seconds), str(len(found.seconds)),
           f"{times:.1f}" if times else "", str(found.budget),
           f"{found.excess:.1e}", *sizes]  # fmt: skip
    if found.contender != ONELAYER:
        return [row]
    row[0], row[4] = f"{found.label}, the gap of 1e-6 proven", ""
    reached = [found.label + ", the iterate was there", spread_text(found.reached),
               str(len(found.reached)), "", str(found.budget), "", "", ""]  # fmt: skip
    return [row, reached] if found.reached else [row]


def _paths(record: OptimumRecord) -> list[str]:
    rows = [
        [
            f"{p.label}: {p.l2s} λ" if p.l2s > 1 else p.label,
            spread_text(p.seconds, 1),
            str(len(p.seconds)),
            f"{sum(p.passes)}",
            "" if p.gap is None else f"{p.gap:.1e}",
            f"{p.x_bytes / MEGABYTE:.0f}",
            f"{p.peak_bytes / MEGABYTE:.0f}",
        ]
        for p in record.paths
    ]
    head = ("contender", "seconds: median (min–max)", "n", "iterations", "largest proven gap / J",
            "X, MB", "MB above X")  # fmt: skip
    return [f"### {record.titles['all']}", table(head, rows)] if rows else []


def _confirmed(record: OptimumRecord) -> str:
    said = []
    for least in record.least:
        nearest = figures.nearest_peer(record, least.task, least.l2)
        other = (
            f"; the lowest peer, {nearest[0]}, ended {nearest[1]:+.1e} J* from it"
            if nearest
            else ""
        )
        said.append(
            f"- {record.titles[least.task]}, λ = {least.l2:g}: J* = {least.cost:.10f}, proven to "
            f"{least.gap:.0e} of it{other}"
        )
    return "\n".join(said)


METHOD = """\
**How it is measured.** Every contender minimises J = mean cross-entropy + λ Σ W² (scikit-learn's
C = 1 / (2λN)) on pixels divided by the largest value, in a process of its own, all alive together
with the same cores and threads. Answers are judged by `onelayer.objective.cost.cost` in float64.

- Peers get X scaled and in their own type before the clock starts; onelayer gets the bytes as
  stored, and its call includes scaling, metric and proof.
- Each is watched once over its iterates (the curves; the clock stands still while one is looked
  at). Then come interleaved rounds of plain calls. A peer is told the fewest iterations that reach
  an excess of 1e-6 J*, its own tolerance set too small to matter, and proves nothing. onelayer
  is told no such number: its call ends when it has proven a gap of 1e-6 J.
- A watched solution is ended after 30 s, and who took more than 12 s is timed once. "Not reached":
  its time was over. "Gave up": the solver itself ended it.
- MB above X: the peak of resident memory during a call, less what was resident before.
- J* comes from onelayer in float64 with the gap proven to 1e-10, and is confirmed by the peers:"""
