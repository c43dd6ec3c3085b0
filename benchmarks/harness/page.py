"""docs/explanation/benchmarks.md: every number of the page, from the record alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.harness.record import ONELAYER, QUIET_CORES, Measure, Part, Record
from onelayer.report.chart import Chart
from onelayer.report.theme import LIGHT, chart_config

if TYPE_CHECKING:
    from benchmarks.harness.rounds import Suite

MEGABYTE = 1e6
QUICK = "**A quick run: fewer epochs and rounds than the targets are stated for.**"
PAGES = Path(__file__).resolve().parents[1] / "pages"


@dataclass(frozen=True)
class Target:
    """One figure that is asked for."""

    measure: str
    asked: float
    unit: str  # "×", "%", "MB", "J" or "s"
    at_least: bool  # a lower bound, or an upper one
    figure: Callable[[Record], float | None]  # in the unit; None where the record has none

    def met(self, measured: float) -> bool:
        return measured >= self.asked if self.at_least else measured <= self.asked

    def row(self, record: Record) -> list[str]:
        figure = self.figure(record)
        bound = f"{'≥' if self.at_least else '≤'} {self.asked:g} {self.unit}"
        if figure is None:
            return [self.measure, bound, "not measured", ""]
        met = "yes" if self.met(figure) else "**no**"
        return [self.measure, bound, f"{figure:.3g} {self.unit}", met]


def max_peak(suites: Iterable[str], who: Collection[str], record: Record) -> float | None:
    """The largest peak of memory that some contenders had in some suites, in MB."""
    measures = [m for suite in suites if suite in record for m in record[suite].measures]
    peaks = [m.facts["peak_bytes"] for m in measures if m.who in who and "peak_bytes" in m.facts]
    return max(peaks) / MEGABYTE if peaks else None


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1) -> str:
    """A Markdown table; columns from `numbers_from` on are flush right, short rows filled up."""
    rules = ["---" if i < numbers_from else "---:" for i in range(len(head))]
    full = ([*row, *[""] * (len(head) - len(row))] for row in rows)
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(rules)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in full)])


def spread_text(values: Sequence[float]) -> str:
    """The median to three digits, with the least and the greatest value."""
    if not values:
        return "—"
    middle = median(values)
    digits = max(0, 2 - math.floor(math.log10(middle))) if middle > 0 else 0
    least, most = (f"{end(values):.{digits}f}" for end in (min, max))
    return f"{middle:.{digits}f} ({least}–{most})"


def megabytes(count: float | None) -> str:
    return "" if count is None else f"{count / MEGABYTE:.0f}"


def percent(share: float | None, digits: int = 0) -> str:
    return "" if share is None else f"{100 * share:.{digits}f} %"


Columns = Mapping[str, Callable[[Measure], str]]  # what a table says of a measure, by heading


def fact(key: str, text: Callable[[Any], str]) -> Callable[[Measure], str]:
    """A column of one of the facts, empty where a measure has none."""
    return lambda m: "" if m.facts.get(key) is None else text(m.facts[key])


CONTENDER: Columns = {"contender": lambda m: m.label}
SECONDS: Columns = {
    "seconds: median (min–max)": lambda m: spread_text(m.seconds),
    "n": lambda m: str(len(m.seconds)) if m.seconds else "",
}


def measure_table(columns: Columns, measures: Iterable[Measure], names: int = 1) -> str:
    """A line for each measure; one that was refused has the reason behind its name's columns."""
    texts, rows = list(columns.values()), []
    for m in measures:
        figures = [m.refused] if m.refused else [text(m) for text in texts[names:]]
        rows.append([*(text(m) for text in texts[:names]), *figures])
    return table(list(columns), rows, names)


def picture(chart: Chart, words: str, folder: Path) -> str:
    """Draw a chart beside the page; its Markdown, with the words for who cannot see it."""
    save_chart(chart, folder)
    return f"![{words}](benchmarks/{chart.name}.png)"


def save_chart(chart: Chart, folder: Path) -> None:
    """Write a chart as SVG and PNG, in the look of onelayer's own pages."""
    import vl_convert

    svg = vl_convert.vegalite_to_svg(chart.paper | {"config": chart_config(LIGHT, paper=True)})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{chart.name}.svg").write_text(svg, encoding="utf-8")
    (folder / f"{chart.name}.png").write_bytes(vl_convert.svg_to_png(svg, scale=2))


def render_page(
    record: Record, suites: Sequence[Suite], folder: Path, others: Sequence[Record] = ()
) -> str:
    """The page of one kind of processor as Markdown, its pictures into the folder.

    Of others there is what was asked and measured, so that no ratio is read as another machine's.
    """
    first = _first(record, suites)
    parts = [
        "# Benchmarks",
        "Written by `make bench` (`python -m benchmarks`) from its records, one for each kind of "
        "processor, in `benchmarks/results`; do not edit.",
        QUICK if first.quick else "",
        _load_warning(first),
        _on(first, others, suites),
        "## Asked and measured",
        _asked(record, suites),
        "## Conditions",
        _conditions(first, record),
    ]
    for suite in suites:
        if part := record.get(suite.name):
            heading, *rest = suite.render(part, folder) or [""]
            when = "" if part.started == first.started else _when(part)
            parts += [heading, when, *rest, _method(suite.name)]
    for other in others:
        part = _first(other, suites)
        parts += [f"## On {_kind(part)}", _when(part), _asked(other, suites)]
        for suite in suites:  # what no other kind of machine has
            if suite.name in other and not suite.in_whole:
                heading, *rest = suite.render(other[suite.name], folder)
                parts += [f"#{heading}", *rest, _method(suite.name)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _first(record: Record, suites: Sequence[Suite]) -> Part:
    return next(record[suite.name] for suite in suites if suite.name in record)


def _kind(part: Part) -> str:
    return part.machine.get("kind", part.machine.get("processor", "?"))


def _on(first: Part, others: Sequence[Record], suites: Sequence[Suite]) -> str:
    """Whose figures these are, and where those of other kinds of processor stand."""
    kinds = [_kind(_first(other, suites)) for other in others]
    ends = f" At the end: {'; '.join(kinds)}." if kinds else ""
    return f"All figures are of one kind of processor: {_kind(first)}.{ends}"


def _asked(record: Record, suites: Sequence[Suite]) -> str:
    rows = [target.row(record) for suite in suites if suite.name in record
            for target in suite.targets]  # fmt: skip
    return table(["measure", "asked", "measured", "met"], rows) if rows else ""


def _method(suite: str) -> str:
    """How a suite measures, where it says so."""
    path = PAGES / f"{suite}.md"
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def _busy(part: Part) -> str:
    return "unknown" if part.other_work is None else f"{part.other_work:.2f}"


def _load_warning(part: Part) -> str:
    cores = float(part.machine.get("cores", 0))
    if (part.other_work or 0.0) < max(QUIET_CORES, cores / 100):
        return ""
    return (f"**Other work kept {_busy(part)} cores busy meanwhile: these times are not to be "
            "trusted.**")  # fmt: skip


def _when(part: Part) -> str:
    processor = part.machine.get("processor", "?")
    line = f"Measured {part.started} on {processor}; cores busy with other work: {_busy(part)}."
    return f"{line} {_load_warning(part)}".strip()


def _conditions(part: Part, record: Record) -> str:
    """The first part's conditions, and the machine's limits over all parts."""
    alike = [each for each in record.values() if each.threads == part.threads]
    everything = [m for each in alike for m in each.measures]
    about: dict[str, str] = next((m.facts["about"] for m in part.measures
                                  if m.who == ONELAYER and m.facts.get("about")), {})  # fmt: skip
    facts = {
        "when": part.started,
        **part.machine,
        "threads": str(part.threads),
        "onelayer's engine": ", ".join(f"{k} {v}" for k, v in about.items()) or part.engine,
        "rows of the report's setting": str(part.facts.get("data", "")),
        "cores busy with other work, mean": _busy(part),
    }
    if values := [v for m in everything for v in m.series.get("sgemm", ())]:
        facts["sgemm 4096³ by NumPy, GFLOP/s"] = f"{spread_text(values)}, n = {len(values)}"
    return table(["", ""], facts.items(), numbers_from=2)
