"""Which of several processes this is, as torchrun tells each in its environment.

A launcher that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun does, starts the
same command several times, on one machine or many.
"""

from __future__ import annotations

import os


def processes() -> int:
    """How many processes were started together; 1 without a launcher.

    Example:
        >>> processes()
        1
    """
    launched = all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"))
    return int(os.environ["WORLD_SIZE"]) if launched else 1


def rank() -> int:
    """Number of this process among them, from 0."""
    return int(os.environ["RANK"]) if processes() > 1 else 0


def leads() -> bool:
    """Whether this is the process that speaks and writes for all of them."""
    return rank() == 0


def local_rank() -> int:
    """Number of this process among those on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", rank())) if processes() > 1 else 0


def attempt() -> str:
    """Which start this is: an elastic launcher starts all again after one has failed."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
