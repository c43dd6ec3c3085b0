"""What is measured: one suite a file, each with its answers asserted, its targets and its page."""

from benchmarks.suites import cluster, gpu, optimum, probes, reproduce, streaming, sweeps
from benchmarks.suites.training import GRIDS, PEERS, PENALTY, PHASES, WIDE

SUITES = (PEERS, PENALTY, GRIDS, WIDE, reproduce.SUITE, optimum.SUITE, probes.SUITE, sweeps.SUITE,
          streaming.SUITE, cluster.SUITE, gpu.SUITE, PHASES)  # fmt: skip
