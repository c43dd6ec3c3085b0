"""The page and the tables, drawn from a result's records alone: nothing is recomputed.

    series.py          runs over epochs          grouping.py        what can be compared
    summary.py         the table's numbers       learning_rates.py  conclusion 1
    curves.py          over epochs               shrinkage.py       conclusion 2
    confusion.py       which class for which     penalties.py       its charts, over λ
    pictures.py        rows of W as pictures     theme.py           colours and type
    charts.py          what every chart is       export.py          SVG
    sections.py        what the page holds       facts.py           what it says of the whole
    page.py            writes it (.j2 .css .js)  painter.py         PNG, in a second process
    terminal.py        the terminal's tables; *_terminal.py: of others
    model_pictures.py  one model's templates

The drawing libraries are imported when a page is drawn and not before.
"""

from onelayer.report.advice_terminal import advice_table
from onelayer.report.evaluation_terminal import evaluation_tables
from onelayer.report.model_pictures import write_templates
from onelayer.report.model_terminal import model_table, strongest_table
from onelayer.report.page import write_report
from onelayer.report.path_page import write_path_report
from onelayer.report.path_terminal import path_table
from onelayer.report.terminal import gradient_table, terminal_table

__all__ = [
    "advice_table",
    "evaluation_tables",
    "gradient_table",
    "model_table",
    "path_table",
    "strongest_table",
    "terminal_table",
    "write_path_report",
    "write_report",
    "write_templates",
]
