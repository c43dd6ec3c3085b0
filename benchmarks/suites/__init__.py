"""What is measured: one suite a file, each with its answers asserted, its targets and its page."""

from benchmarks.suites import (
    cluster,
    few_features,
    gpu,
    optimum,
    probes,
    proofs,
    reproduce,
    sparse,
    streaming,
)
from benchmarks.suites.training import GRIDS, PEERS, PHASES, WIDE

SUITES = (PEERS, GRIDS, WIDE, reproduce.SUITE, optimum.SUITE, probes.SUITE, proofs.SUITE,
          sparse.SUITE, few_features.SUITE, streaming.SUITE, cluster.SUITE, gpu.SUITE,
          PHASES)  # fmt: skip
