"""One contender a file; each offers `prepare(problem, data, threads) -> Prepared`.

Preparing is not timed: imports, compiling, starting threads. What is timed is `train`, from X as
stored in memory to trained weights in NumPy arrays; whatever conversion of X a contender wants
happens inside it, as it must for a user.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.problem import Answer

# The environment variable by which a worker is told which of onelayer's engines to use.
ENGINE_VARIABLE = "ONELAYER_BENCHMARK_ENGINE"


@dataclass(frozen=True)
class Prepared:
    """A contender that is ready to train.

    Attributes:
        train: trains from the initial weights and returns the answer; the same each time.
        about: versions and choices that a reader of the figures should know.
        compile_seconds: time spent compiling beforehand, where there was any.
    """

    train: Callable[[], Answer]
    about: dict[str, str] = field(default_factory=dict)
    compile_seconds: float | None = None
