"""The page and the tables, drawn from a result's records alone: nothing is recomputed.

    series.py          runs over epochs          grouping.py        what can be compared
    summary.py         the table's numbers       learning_rates.py  conclusion 1
    curves.py          over epochs               shrinkage.py       conclusion 2
    confusion.py       which class for which     penalties.py       its charts, over λ
    pictures.py        rows of W as pictures     theme.py           colours and type
    charts.py          what every chart is       export.py          SVG
    sections.py        what the page holds       facts.py           what it says of the whole
    page.py            writes it (.j2 .css .js)  painter.py         PNG, in a second process
    terminal.py        the terminal's tables

The drawing libraries are imported when a page is drawn and not before.
"""

from onelayer.report.advice_terminal import advice_table
from onelayer.report.page import write_report
from onelayer.report.path_page import write_path_report
from onelayer.report.path_terminal import path_table
from onelayer.report.terminal import gradient_table, terminal_table

__all__ = [
    "advice_table",
    "gradient_table",
    "path_table",
    "terminal_table",
    "write_path_report",
    "write_report",
]
