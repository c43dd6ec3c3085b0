"""Time to the optimum: how far above J* each solver is, against time.

Every contender minimises the same cost, J = mean cross-entropy + λ Σ W², on the same rows; its
answers are judged by `onelayer.objective.cost.cost` in float64, never by its own word.

    problem     which rows, which λ's
    oracle      costs in float64, and J* with a proof
    watch       looks over a contender's shoulder: iterates and when they were had, judged
    peers/      one contender a file; contenders is the list of them
    worker      the process that a contender lives in; crew talks to it
    measure     traces, then interleaved rounds of plain calls; the λ path on all rows
    record      what was measured
    figures     ratios from the record
    page, chart its part of docs/benchmarks.md and its picture
"""
