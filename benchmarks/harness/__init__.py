"""What every suite measures with: one of each.

processes   starts a worker process under fixed conditions and talks to it; worker is that process
rounds      agreement first, then rounds in turn
limits      matrix products, copying and memory: what the machine can do, what a process took
problem     a training job: shapes, runs, data; oracle is its answer in float64
record      what was measured, as JSON: number, n, spread, device, versions
page        Markdown tables, targets and docs/benchmarks.md; chart draws its pictures
"""
