"""What a table is: shown in the terminal (within 80 columns), on pages and in notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from onelayer.report.summary import Spread, number

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Where = Literal["everywhere", "page", "terminal"]


@dataclass(frozen=True)
class Column:
    """A column: its heading, and where it is shown."""

    name: str
    words: bool = False  # left-aligned, and may wrap
    group: str = ""  # stands over neighbouring columns of the same group on a page
    short: str = ""  # replaces the heading in the terminal, where nothing stands over it
    where: Where = "everywhere"


@dataclass(frozen=True)
class Cell:
    """A cell: text, its error ("± 0.1"), a second line on pages, and how it is stressed."""

    text: str
    error: str = ""
    below: str = ""
    strong: bool = False
    trouble: bool = False

    @property
    def plain(self) -> str:
        """Text and error on one line."""
        return f"{self.text} ± {self.error}" if self.error else self.text


@dataclass(frozen=True)
class Table:
    """A table; a `terminal` prints it, table.html.j2 shows it on pages."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    chosen: int | None = None
    note: str = ""  # what stands behind each ±

    def __rich__(self) -> RichTable:
        """The table in the terminal's style."""
        from rich import box
        from rich.styled import Styled
        from rich.table import Table as RichTable

        shown = [i for i, column in enumerate(self.columns) if column.where != "page"]
        table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        table.title, table.caption = self.title, self.note or None
        table.caption_justify = "left"
        for i in shown:
            column = self.columns[i]
            heading = column.short or column.name
            texts = [heading, *(row[i].plain for row in self.rows)]
            least = max(len(word) for text in texts for word in (text.split() or [""]))
            if i == 0 or not column.words:  # the first column names the row: it wraps last
                least = max(least, *(len(line) for text in texts for line in text.split("\n")))
            table.add_column(
                heading,
                justify="left" if column.words else "right",
                overflow="fold",
                no_wrap=not column.words,
                # Words of a column that wraps are not broken up to this length.
                min_width=min(least, 18) if column.words else least,
            )
        for position, row in enumerate(self.rows):
            cells = [
                Styled(cell.plain, f"bold{' red' * cell.trouble}")
                if cell.trouble or cell.strong
                else cell.plain
                for cell in row
            ]
            style = "bold" if position == self.chosen else None
            table.add_row(*(cells[i] for i in shown), style=style)
        return table

    @property
    def groups(self) -> list[tuple[str, list[Column]]]:
        """Neighbouring columns of a page by their group, which may be empty."""
        shown = (column for column in self.columns if column.where != "terminal")
        return [(group, list(columns)) for group, columns in groupby(shown, lambda c: c.group)]

    def on_page(self, row: Sequence[Cell]) -> list[tuple[Column, Cell]]:
        """The cells of a row that are shown on pages."""
        pairs = zip(self.columns, row, strict=True)
        return [(column, cell) for column, cell in pairs if column.where != "terminal"]


def make_table(
    title: str,
    columns: Iterable[Column | str],
    rows: Iterable[Sequence[Cell | str]],
    chosen: int | None = None,
    note: str = "",
) -> Table:
    """A table from columns and cells, plain ones as text; the note is for cells with an error."""
    cells = tuple(tuple(Cell(one) if isinstance(one, str) else one for one in row) for row in rows)
    return Table(
        title,
        tuple(Column(one) if isinstance(one, str) else one for one in columns),
        cells,
        chosen,
        note if any(cell.error for row in cells for cell in row) else "",
    )


def spread_cell(measured: Spread, form: str = ".2f", *, strong: bool = False) -> Cell:
    """Mean ± standard deviation over seeds, and the range below, as in "1.00 to 2.00"."""
    mean, deviation, low, high = (
        number(value, form)
        for value in (measured.mean, measured.deviation, measured.low, measured.high)
    )
    if measured.n < 2:
        return Cell(mean, strong=strong)
    return Cell(mean, deviation, f"{low} to {high}", strong=strong)
