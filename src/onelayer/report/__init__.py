"""The page and the tables, drawn from a result's records alone: nothing is recomputed.

    summary.py      the table's numbers          conclusions.py  the two conclusions' numbers
    curves.py       over epochs                  penalties.py    over λ
    confusion.py    which class for which        pictures.py     rows of W as pictures
    charts.py       what every chart is          theme.py        colours and type of both modes
    sections.py     what the page holds          page.py         writes it (page.html.j2, .css, .js)
    export.py       PNG and SVG                  terminal.py     the tables in the terminal

The drawing libraries are imported when a page is drawn and not before.
"""

from onelayer.report.page import write_report
from onelayer.report.terminal import gradient_table, terminal_table

__all__ = ["gradient_table", "terminal_table", "write_report"]
