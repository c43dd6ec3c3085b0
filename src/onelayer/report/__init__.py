"""Pages, charts and tables, drawn from records alone: nothing is recomputed.

    page, path_page     what the page of a result and of a λ path hold, section by section
    render              how pages are made and written; templates (.j2), page.css, page.js
    chart, theme        the chart builders, in Vega-Lite; colours and type
    tables              tables, described once for the terminal, pages and notebooks
    notebook            HTML of results, paths, models and evaluations
    summary             figures over seeds; path_summary: figures of a λ path
    settings            sections on each setting: curves, distance, confusion, reliability
    conclusions         sections that compare values of η and of λ; selection: the best setting
    weight_images       rows of W as pictures

The drawing libraries are imported when a page is drawn and not before.
"""

from onelayer.report.notebook import evaluation_html, model_html, path_html, result_html
from onelayer.report.page import write_report
from onelayer.report.path_page import edge_sentence
from onelayer.report.render import write_templates
from onelayer.report.selection import select_setting
from onelayer.report.tables import (
    accuracy_table,
    advice_table,
    best_on_test,
    evaluation_tables,
    gradient_table,
    held_out_table,
    maps_table,
    model_table,
    path_table,
    ranking_table,
    result_table,
    seeds_sentence,
    strongest_table,
)

__all__ = [
    "accuracy_table",
    "advice_table",
    "best_on_test",
    "edge_sentence",
    "evaluation_html",
    "evaluation_tables",
    "gradient_table",
    "held_out_table",
    "maps_table",
    "model_html",
    "model_table",
    "path_html",
    "path_table",
    "ranking_table",
    "result_html",
    "result_table",
    "seeds_sentence",
    "select_setting",
    "strongest_table",
    "write_report",
    "write_templates",
]
