"""What every suite measures with: one of each.

processes   workers under the same conditions: their clock, their memory, the machine's limits
problem     a training job: shapes, runs, data; oracle is its answer in float64
rounds      rounds of timing in turn, and what a suite is
record      what was measured, as JSON: number, n, spread, device, versions
page        Markdown tables, targets and docs/explanation/benchmarks.md
"""
