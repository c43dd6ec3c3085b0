"""A control group that may take so much memory, the pages of files that it reads included."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
NAME = "onelayer-benchmark"


@dataclass(frozen=True)
class Group:
    """A group of processes with a limit on their memory."""

    folder: Path
    peak_name: str

    def enter(self) -> None:
        """Put the calling process into the group; for the child, before it starts its program."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()), "ascii")

    def peak_bytes(self) -> int:
        """The most that the group has had at one time."""
        return int((self.folder / self.peak_name).read_text("ascii"))


@contextmanager
def memory_limit(most_bytes: int) -> Iterator[Group]:
    """A group below this process's own that is gone after the block.

    Raises:
        OSError: where no such group can be made: it takes root and control groups, Linux's.
    """
    parent, limit, peak = _of_this_process()
    folder = parent / NAME
    folder.mkdir()
    try:
        (folder / limit).write_text(str(most_bytes), "ascii")
        yield Group(folder, peak)
    finally:
        folder.rmdir()


def _of_this_process() -> tuple[Path, str, str]:
    """Its group's folder, and the names of the limit and of the peak, in version 1 or 2."""
    for line in Path("/proc/self/cgroup").read_text("ascii").splitlines():
        _, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(","):
            folder = ROOT / "memory" / group.lstrip("/")
            return folder, "memory.limit_in_bytes", "memory.max_usage_in_bytes"
    return ROOT / group.lstrip("/"), "memory.max", "memory.peak"
