"""Pages, charts and tables, drawn from records alone: nothing is recomputed.

    page, path_page     the pages of a result and of a λ path, section by section
    render              how pages are made and written; templates (.j2), page.css, page.js
    chart, theme        the chart builders, in Vega-Lite; colours and type
    table               what a table is, in the terminal, on pages and in notebooks
    tables              those of results, paths and suites; model_tables: of models
    notebook            HTML of results, paths, models and evaluations
    summary             figures over seeds, and of a λ path
    settings            sections on one setting: curves, distance, confusion, mistakes, W
    conclusions         sections that compare values of η and of λ; selection: the best setting
    weight_images       rows of W as pictures

The drawing libraries are imported when a page is drawn and not before.
"""
