"""Where a training step's time goes: per-phase seconds, GFLOP/s and share of the sgemm limit.

Needs an extension built with -DONELAYER_PHASE_TIMES=ON; without it only totals are printed.

    python -m benchmarks.kernel_phases [one four many wide16 wide32] [--rounds 5] [--threads 2]

The sgemm limit is measured again before every round, so that a share compares neighbours in time.
One step's answer is asserted first: a speed of wrong numbers is no speed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import NamedTuple

import numpy as np

from benchmarks.limits import Limits
from onelayer import _native


class Setting(NamedTuple):
    """A problem's letters, how X is stored, and how many epochs make a round."""

    N: int
    D: int
    K: int
    R: int
    B: int
    stored: str
    epochs: int


SETTINGS = {
    "one": Setting(10_000, 3072, 10, 1, 100, "uint8", 40),
    "four": Setting(10_000, 3072, 10, 4, 100, "uint8", 20),
    "many": Setting(10_000, 3072, 10, 64, 100, "uint8", 2),
    "wide16": Setting(20_000, 1024, 1000, 1, 1024, "float16", 1),
    "wide32": Setting(20_000, 1024, 1000, 1, 1024, "float32", 1),
}


def arguments(s: Setting, threads: int) -> dict[str, object]:
    """What `train_epoch` takes for a setting, with random rows."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (s.N, s.D), dtype=np.uint8)
    whole = s.stored == "uint8"
    return {
        "X": X if whole else (X / 255).astype(s.stored),
        "y": rng.integers(0, s.K, s.N),
        "order": None,
        "batch_size": s.B,
        "W": (0.01 * rng.standard_normal((s.R, s.K, s.D))).astype(np.float32),
        "b": np.zeros((s.R, s.K), np.float32),
        "learning_rate": np.full((-(-s.N // s.B), s.R), 0.01),
        "l2": np.full(s.R, 0.01),
        "scale": np.full(s.D, 1 / 255 if whole else 1.0),
        "offset": np.zeros(s.D),
        "threads": threads,
    }


def assert_right(s: Setting, threads: int) -> None:
    """One step of the first run is NumPy's float64 step, to float32's rounding."""
    a = arguments(s, threads)
    X, y, W, b = a["X"][: s.B], a["y"][: s.B], a["W"], a["b"]  # type: ignore[index]
    first = {"X": X, "y": y, "learning_rate": a["learning_rate"][:1]}  # type: ignore[index]
    F, V = X * a["scale"], W[0].astype(np.float64)  # type: ignore[index]
    S = F @ V.T
    P = np.exp(S - S.max(axis=1, keepdims=True))
    P /= P.sum(axis=1, keepdims=True)
    P[np.arange(s.B), y] -= 1
    wanted = (1 - 2 * 0.01 * 0.01) * V - 0.01 * P.T @ F / s.B
    _native.train_epoch(**(a | first))  # type: ignore[arg-type]
    np.testing.assert_allclose(W[0], wanted, rtol=0, atol=1e-6)  # type: ignore[index]
    assert np.isfinite(b).all()  # type: ignore[call-overload]


def measure(name: str, s: Setting, rounds: int, threads: int) -> None:
    """Print one line: median time, GFLOP/s, share of the limit, and where the time went."""
    assert_right(s, threads)
    a = arguments(s, threads)
    flop = 4.0 * s.N * s.D * s.K * s.R * s.epochs
    _native.train_epoch(**a)  # type: ignore[arg-type]
    _native.phase_times()
    seconds, shares, limits = [], [], Limits(threads)
    for _ in range(rounds):
        limit = 1e9 * statistics.median(limits.sgemm() for _ in range(3))
        start = time.perf_counter()
        for _ in range(s.epochs):
            _native.train_epoch(**a)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - start)
        shares.append(flop / seconds[-1] / limit)
    phases = _native.phase_times()
    total = sum(phases.values())
    text = "  ".join(f"{phase} {100 * spent / total:4.1f}%" for phase, spent in phases.items())
    print(
        f"{name:7s} n={rounds} median {statistics.median(seconds):7.3f} s "
        f"{flop / statistics.median(seconds) / 1e9:6.1f} GFLOP/s  share of sgemm: "
        f"median {statistics.median(shares):.2f} ({min(shares):.2f}-{max(shares):.2f})  {text}",
        flush=True,
    )


def main() -> None:
    """Measure the settings named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", default=list(SETTINGS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=_native.default_threads())
    options = parser.parse_args()
    print(f"{_native.instruction_set()}, {options.threads} threads")
    for name in options.settings:
        measure(name, SETTINGS[name], options.rounds, options.threads)


if __name__ == "__main__":
    main()
