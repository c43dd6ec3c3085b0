"""The page and the tables, drawn from a result's records alone: nothing is recomputed.

    series.py          runs over epochs          grouping.py         what can be compared
    summary.py         the table's numbers       learning_rates.py   conclusion 1
    curves.py          over epochs               stability.py        its reason; stability_chart.py
    confusion.py       which class for which     shrinkage.py        conclusion 2
    pictures.py        rows of W as pictures     penalties.py        its charts, over λ
    distances.py       what training left        distance_chart.py   its chart
    selection.py       the best setting          heat_map.py         its chart, over η and λ
    charts.py          what every chart is       theme.py            colours and type
    sections.py        what the page holds       facts.py            what it says of the whole
    page.py            the page of a result      path_page.py        the page of a λ path
    rendering.py       how pages are made        wording.py          words that they share
    export.py          SVG                       painter.py          PNG, in a second process
    model_pictures.py  one model's templates     terminal.py         the terminal's tables;
                                                 *_terminal.py       those of other records

Of a λ path: path_summary.py has the numbers, path_axis.py, path_drawing.py and path_charts.py the
charts, path_facts.py the words, path_sections.py all of it. Templates (.j2): base is every page's
frame, pieces are its parts, page and path fill it.

The drawing libraries are imported when a page is drawn and not before.
"""

from onelayer.report.page import write_report
from onelayer.report.path_page import write_path_report
from onelayer.report.render import write_templates
from onelayer.report.tables import (
    advice_table,
    best_on_test,
    evaluation_tables,
    gradient_table,
    held_out_table,
    leaderboard,
    maps_table,
    model_table,
    path_table,
    seeds_sentence,
    strongest_table,
    terminal_table,
)

__all__ = [
    "advice_table",
    "best_on_test",
    "evaluation_tables",
    "gradient_table",
    "held_out_table",
    "leaderboard",
    "maps_table",
    "model_table",
    "path_table",
    "seeds_sentence",
    "strongest_table",
    "terminal_table",
    "write_path_report",
    "write_report",
    "write_templates",
]
