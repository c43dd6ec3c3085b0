"""Pages, charts and tables, drawn from records alone: nothing is recomputed.

    page, path_page     the pages of a result and of a λ path, section by section
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
