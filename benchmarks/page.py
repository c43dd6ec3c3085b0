"""docs/benchmarks.md: every number of the page, from the record alone."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks import figures
from benchmarks.charts import Picture
from benchmarks.contenders import ONELAYER
from benchmarks.optimum.page import render_optimum
from benchmarks.probes.page import render_probes
from benchmarks.record import Measured, Record
from benchmarks.tables import table
from benchmarks.targets import TARGETS

# Cores that a system's own services may take without a word.
QUIET_CORES = 0.1

SECTIONS = (
    ("one", "One run of the report's setting"),
    ("four", "The four settings side by side"),
    ("one-l2", "One run with λ = 0.1"),
    ("64", "64 runs: the four settings × 16 seeds, in one pass"),
    ("wide-float16", "Wide, float16 X: N = 20 000, D = 1024, K = 1000, B = 1024"),
    ("wide-float32", "Wide, float32 X: N = 20 000, D = 1024, K = 1000, B = 1024"),
)


def render_page(
    record: Record,
    pictures: Sequence[Picture],
    of_optimum: Sequence[tuple[str, str]] = (),
) -> str:
    """The page as Markdown."""
    parts = [
        "# Benchmarks",
        "Written by `make bench` (`python -m benchmarks`) from its record, "
        "`benchmarks/results/latest.json`; do not edit.",
        _quick_warning(record),
        _load_warning(record),
        "## Asked and measured",
        _targets(record),
        "## Conditions",
        _conditions(record),
        *_sections(record),
        *render_optimum(record.optimum, of_optimum),
        *render_probes(record.probes),
        *_growth(pictures),
        "## How it is measured",
        METHOD,
        agreement_text(record),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _quick_warning(record: Record) -> str:
    if not record.quick:
        return ""
    return "**A quick run: fewer epochs and rounds than the targets are stated for.**"


def _load_warning(record: Record) -> str:
    if record.other_work is None or record.other_work < QUIET_CORES:
        return ""
    return (
        f"**Other work kept {record.other_work:.2f} cores busy meanwhile: these times are not "
        "to be trusted.**"
    )


def _targets(record: Record) -> str:
    rows = []
    for target in TARGETS:
        measured = target.figure(record)
        shown = "not measured" if measured is None else f"{measured:.3g} {target.unit}"
        met = "" if measured is None else "yes" if target.met(measured) else "**no**"
        rows.append([target.measure, target.asked_text, shown, met])
    return table(["measure", "asked", "measured", "met"], rows)


def _conditions(record: Record) -> str:
    everything = [m for m in record.measured if m.contender == ONELAYER and m.about]
    engine = ", ".join(f"{k} {v}" for k, v in everything[0].about.items()) if everything else ""
    facts = {
        "when": record.started,
        **record.machine,
        "threads": str(record.threads),
        "onelayer's engine": engine or record.engine,
        "rows of the report's setting": record.data,
        "cores busy with other work, mean": (
            "unknown" if record.other_work is None else f"{record.other_work:.2f}"
        ),
    }
    for name, values in (
        ("sgemm 4096³ by NumPy, GFLOP/s", [v for m in record.measured for v in m.sgemm_gflops]),
        ("copy of 256 MiB, GB/s", [v for m in record.measured for v in m.copy_gbytes]),
    ):
        if values:
            facts[name] = f"{figures.spread_text(values, 0)}, n = {len(values)}"
    return table(["", ""], facts.items(), numbers_from=2)


def _sections(record: Record) -> list[str]:
    parts = []
    for problem, title in SECTIONS:
        found = [m for m in record.measured if m.problem == problem]
        if found:
            missing = [a for a in record.absent if problem == "one"]
            rows = [_row(m, record) for m in found]
            rows += [[a.label, f"not installed (pip install {a.pip})", *6 * [""]] for a in missing]
            parts += [f"## {title}", table(HEAD, rows)]
    if record.reproduce:
        command = record.reproduce
        peaks = [peak / figures.MEGABYTE for peak in command.peak_bytes]
        parts += [
            f"## `{command.command}`",
            f"Whole process, data cached: {figures.spread_text(command.seconds, 1)} s, "
            f"n = {len(command.seconds)}; peak memory of the process, interpreter, libraries and "
            f"data included, {figures.spread_text(peaks, 0)} MB.",
        ]
    return parts


HEAD = (
    "contender",
    "seconds: median (min–max)",
    "n",
    "× onelayer",
    "GFLOP/s",
    "of sgemm",
    "of copy",
    "MB above X",
)


def _row(found: Measured, record: Record) -> list[str]:
    if not found.agrees:
        return [found.label, f"refused: its weights are {found.distance:.1e} off", *6 * [""]]
    compiled = found.compile_seconds
    label = found.label + (f" (compiling apart: {compiled:.1f} s)" if compiled else "")
    ratio = figures.ratio_to_onelayer(record, found.contender, found.problem)
    return [
        label,
        figures.spread_text(found.seconds),
        str(len(found.seconds)),
        f"{ratio:.2f}" if ratio else "",
        f"{figures.gflops(found) or 0:.0f}",
        _percent(figures.sgemm_share(found)),
        _percent(figures.copy_share(found)),
        f"{found.peak_bytes / figures.MEGABYTE:.0f}",
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def _growth(pictures: Sequence[Picture]) -> list[str]:
    if not pictures:
        return []
    shown = [f"![{p.alternative}](benchmarks/{p.name}.png)" for p in pictures]
    return ["## How time grows", *shown]


def agreement_text(record: Record) -> str:
    """How close the timed contenders were to the oracle, in one sentence."""
    shares = [m.distance / m.allowed for m in record.measured
              if m.agrees and m.distance is not None and m.allowed]  # fmt: skip
    if not shares:
        return ""
    return (
        f"{len(shares)} contenders were compared; their distance was "
        f"{median(shares):.2f} of the tolerance in the median and {max(shares):.2f} at most."
    )


METHOD = """\
- **Agreement first.** Each contender trains once and its weights are compared with NumPy float64.
  Allowed is 16 times the distance that a float32 run of the same equations in another order of
  summation has from the oracle. A run that rounding alone can carry by more than 1 % of its
  largest weight (η = 0.1) is chaotic and is compared over its first five steps. Who disagrees is
  not timed, and the command's exit code is 1. SGDClassifier is another algorithm (one-vs-rest, one
  row a step): nothing is asserted of it.
- **Then time**, from X as stored in memory to trained weights in NumPy arrays, no evaluation.
  Converting X is timed; imports and JAX's compiling are not (the latter is shown). Each contender
  has a process of its own on the same cores with the same threads, all alive together; rounds are
  interleaved, and their order moves on by one each round. Every timed answer is compared too.
- **Ratios** are taken pair by pair within a round; the median of them is shown.
- **GFLOP/s** count the two products of every step, 4 N D K R epochs. **Of sgemm**: against the
  median of 4096³ float32 products by NumPy in the same process, right before and after each time.
- **Of copy**: the least bytes that must cross the memory bus a second, against the median copy
  of 256 MiB (reads and writes counted). In the model X is read once an epoch; W is free if it fits
  in the last-level cache, else read twice and written once every batch.
- **MB above X**: the peak of the process's resident memory during its first training, less what was
  resident when X was loaded and the contender was ready."""
