"""Which of several processes this is, as torchrun tells each in its environment.

A launcher that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun does, starts the
same command several times, on one machine or many.
"""

from __future__ import annotations

import os
import re

from onelayer.errors import SettingsError, one_line


def processes() -> int:
    """How many processes were started together; 1 without a launcher.

    Example:
        >>> processes()
        1
    """
    return _number("WORLD_SIZE", 1) if _launched() else 1


def rank() -> int:
    """Number of this process among them, from 0."""
    return _number("RANK", 0, processes() - 1) if processes() > 1 else 0


def leads() -> bool:
    """Whether this is the process that speaks and writes for all of them."""
    return rank() == 0


def local_rank() -> int:
    """Number of this process among those on its machine, from 0."""
    given = processes() > 1 and "LOCAL_RANK" in os.environ
    return _number("LOCAL_RANK", 0, processes() - 1) if given else rank()


def attempt() -> int:
    """Which start this is: an elastic launcher starts all again after one has failed."""
    restarts = "TORCHELASTIC_RESTART_COUNT"
    return _number(restarts, 0) if _launched() and restarts in os.environ else 0


def meeting_place() -> tuple[str, int]:
    """Address and port where the processes meet."""
    return os.environ["MASTER_ADDR"], _number("MASTER_PORT", 1, 65535)


def _launched() -> bool:
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"))


def _number(name: str, least: int, most: int = 1_000_000) -> int:
    """A launcher's variable; one that was left over or damaged is refused."""
    text = os.environ.get(name, "")
    if re.fullmatch("[0-9]{1,9}", text) and least <= int(text) <= most:
        return int(text)
    raise SettingsError(
        f"the environment variable {name} should be a whole number from {least} to {most}, but it "
        f"is {one_line(repr(text))}; start onelayer by torchrun, or unset RANK and WORLD_SIZE."
    )
