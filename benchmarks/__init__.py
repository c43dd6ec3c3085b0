"""onelayer beside its peers: `python -m benchmarks`.

Answers are asserted equal first and timed second. Each contender has a process of its own with the
same cores and threads; rounds are interleaved, so that drift of the machine hits all alike.

    problem      what is trained: shapes, runs, data
    oracle       the answer in float64, and how far rounding alone may carry float32 from it
    peers/       one contender a file
    contenders   the list of them
    worker       the process that a contender lives in; crew starts workers and talks to them
    limits       what the machine can do: sgemm and copying
    rounds       agreement, then interleaved timing
    sections     what is measured, section by section; sweeps, command: the other two sections
    optimum/     time to the optimum, beside other solvers: a section with a package of its own
    record       what was measured, as JSON
    figures      medians, ratios, shares; targets holds what was asked of them
    page, charts docs/benchmarks.md and its pictures, from the record alone
"""
