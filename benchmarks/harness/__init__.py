"""What every suite measures with: one of each.

processes   starts a worker process under fixed conditions and talks to it
worker      that process: its clock, its memory, and what the machine can do
problem     a training job: shapes, runs, data; oracle is its answer in float64
rounds      rounds of timing in turn, and what a suite is
record      what was measured, as JSON: number, n, spread, device, versions
page        Markdown tables, targets and docs/explanation/benchmarks.md
"""
