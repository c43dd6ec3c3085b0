"""onelayer beside its peers: `python -m benchmarks`.

Answers are asserted equal first and timed second. Each contender has a process of its own with the
same cores and threads; rounds are interleaved, so that drift of the machine hits all alike.

    harness/   how anything is measured and kept
    suites/    what is measured, one file each
    pages/     how each suite measures, for docs/explanation/benchmarks.md
    peers/     onelayer and whom it is measured beside, a library a file
    results/   one record a kind of processor, which docs/explanation/benchmarks.md shows;
               check.json, what --check compares with
"""
