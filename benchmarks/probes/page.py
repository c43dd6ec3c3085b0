"""The embeddings' part of docs/benchmarks.md, from the record alone."""

from __future__ import annotations

from benchmarks.figures import MEGABYTE, spread_text
from benchmarks.probes import figures
from benchmarks.probes.record import Check, Part, ProbeRecord
from benchmarks.tables import table

HEAD = ("what", "training rows", "seconds: median (min–max)", "n", "passes",
        "largest proven gap / J", "excess over J*", "validation accuracy",
        "MB above X")  # fmt: skip
QUIET_CORES = 0.1
ORDER = ("path", "sweep", "path-of-shares", "path-of-tenth", "few-of-tenth", "peer")


def render_probes(record: ProbeRecord | None) -> list[str]:
    """Heading, table, comparison and method."""
    if record is None:
        return []
    parts = sorted(record.parts, key=lambda part: ORDER.index(part.key))
    return [
        f"## A linear probe on embeddings: {record.title}",
        _conditions(record),
        table(HEAD, [_row(part) for part in parts]),
        *(f"**{key} did not end: {reason}**" for key, reason in record.failed),
        _compared(record),
        METHOD,
        _checked(record.checks),
    ]


def _conditions(record: ProbeRecord) -> str:
    busy = record.other_work
    load = "unknown" if busy is None else f"{busy:.2f}"
    warning = "" if busy is None or busy < QUIET_CORES else (
        " **Other work kept cores busy meanwhile: these times are not to be trusted.**"
    )  # fmt: skip
    short = " **A quick run of a smaller set.**" if record.quick else ""
    processor = record.machine.get("processor", "?")
    return (
        f"Measured {record.started} on {processor}; X takes {record.x_bytes / MEGABYTE:.0f} MB; "
        f"cores busy with other work: {load}.{warning}{short}"
    )


def _row(part: Part) -> list[str]:
    return [
        part.label,
        f"{part.rows:,}".replace(",", " "),
        spread_text(part.seconds, 1),
        str(len(part.seconds)),
        str(part.passes),
        "" if part.gap is None else f"{part.gap:.1e}",
        "" if part.excess is None else f"{part.excess:.1e}",
        "" if part.accuracy is None else f"{100 * part.accuracy:.1f} %",
        "" if part.peak_bytes is None else f"{part.peak_bytes / MEGABYTE:.0f}",
    ]


def _compared(record: ProbeRecord) -> str:
    """What scikit-learn's time is a multiple of."""
    peer = record.find("peer")
    few, whole = (figures.ratio(record, "peer", key) for key in ("few-of-tenth", "path"))
    if peer is None or few is None:
        return ""
    said = (
        f"On a tenth of the rows {peer.models} fits of scikit-learn take {few:.1f} times as long "
        "as onelayer takes for the same λ's with their proofs"
    )
    path = record.find("path")
    if whole and path:
        said += f", and {whole:.2f} times as long as onelayer's {path.models} λ's on all rows"
    return said + "."


def _checked(checks: tuple[Check, ...]) -> str:
    if not checks:
        return ""
    rows = [
        [c.what, f"{c.distance:.1e}", f"{c.allowed:.1e}", "yes" if c.agrees else "**no**"]
        for c in checks
    ]
    return table(("held against NumPy float64", "off by", "allowed", "agrees"), rows)


METHOD = """\
- **Rows**: each class has a mean in a subspace of 64 dimensions; the noise has a falling spectrum
  (deviation ∝ (1 + i)^−½) in rotated directions. Training, validation and test rows lie in .npy
  files of their own and are mapped; in the third row validation and test are cut off one file.
- **Time** is that of `solve_path` (the solutions, their proofs, and the scores of every model) and
  of `run_sweep` (training, loss and accuracy on training and validation rows at every epoch, and
  the best run watched once more), rows loaded. scikit-learn has its defaults, its tolerance too,
  and float32 rows that were converted before the clock started; given float16 it takes float64.
- **Memory** is the most that the whole process ever had resident, interpreter, libraries, mapped
  files and answer included, less the bytes of the training features."""
