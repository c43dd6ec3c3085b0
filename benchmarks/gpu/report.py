"""What was measured, as Markdown for people and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.tables import table


@dataclass(frozen=True)
class Figure:
    """One contender on one piece of work.

    Attributes:
        work: what is done.
        who: by what.
        seconds: of every round, in order.
        share: of the measured matmul limit, 0 … 1; None where that says nothing.
        answer: how the answer compared with what is asserted of it, in words.
        asked: what was asked of it, in words; "" where nothing was.
        device_megabytes: peak memory of tensors on the device; None where it is not told.
    """

    work: str
    who: str
    seconds: tuple[float, ...]
    share: float | None = None
    answer: str = ""
    asked: str = ""
    device_megabytes: float | None = None


@dataclass(frozen=True)
class Report:
    """All figures of one call, and the machine that they hold for."""

    machine: dict[str, str]
    started: str
    quick: bool
    figures: tuple[Figure, ...]
    absent: tuple[str, ...]

    def markdown(self) -> str:
        """The page: machine, table, and what could not be measured."""
        head = ("work", "by", "median", "range", "n", "of matmul", "on the device", "asked",
                "answer")  # fmt: skip
        about = "; ".join(f"{name} {value}" for name, value in self.machine.items())
        lines = [
            "# onelayer on a GPU",
            f"{about}; {self.started}" + ("; a short look, no figures to quote" * self.quick),
            table(head, [_cells(figure) for figure in self.figures], numbers_from=2),
            *(f"- not measured: {reason}" for reason in self.absent),
        ]
        return "\n\n".join(lines) + "\n"

    def write(self, folder: Path) -> Path:
        """Keep both forms in the folder; the Markdown's path comes back."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gpu.json").write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")
        page = folder / "gpu.md"
        page.write_text(self.markdown(), "utf-8")
        return page


def time_text(seconds: float) -> str:
    """Milliseconds below a second, else seconds.

    Example:
        >>> time_text(0.0421), time_text(12.34)
        ('42.1 ms', '12.3 s')
    """
    return f"{1e3 * seconds:.1f} ms" if seconds < 1.0 else f"{seconds:.1f} s"


def _cells(figure: Figure) -> Sequence[str]:
    low, high = min(figure.seconds), max(figure.seconds)
    memory, share = figure.device_megabytes, figure.share
    return (
        figure.work,
        figure.who,
        time_text(median(figure.seconds)),
        f"{time_text(low)} – {time_text(high)}",
        str(len(figure.seconds)),
        "" if share is None else f"{100 * share:.0f} %",
        "" if memory is None else f"{memory:.0f} MB",
        figure.asked,
        figure.answer,
    )
