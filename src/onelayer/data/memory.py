"""How much memory this process has, and how much more it may take."""

from __future__ import annotations

import os
from pathlib import Path

try:
    import resource
except ImportError:  # Windows, which has no such limits
    resource = None  # type: ignore[assignment]

_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
# More than any file says with sense, and still a float.
MOST_BYTES = 1e300
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def format_bytes(count: float) -> str:
    """A number of bytes with its unit."""
    count = float(min(count, MOST_BYTES))
    for unit in ("bytes", "kB", "MB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000.0
    return f"{count:.3g} GB"


def available_memory() -> int:
    """Bytes that this process may still take: of the machine, its control group and its limit."""
    left = [_of_machine(), *_of_groups()]
    if resource is not None:
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            left.append(limit - _process_bytes(0))
    return max(0, min(left))


def resident_memory() -> int:
    """Bytes of this process that are in memory now; 0 where the system does not say."""
    return _process_bytes(1)


def _of_machine() -> int:
    for line in _lines(_PROC / "meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PHYS_PAGES") * _PAGE // 2
    return 4 << 30  # the system does not say


def _of_groups() -> list[int]:
    """What each control group of this process has left; pages of files can be freed."""
    left = []
    for line in _lines(_PROC / "self" / "cgroup"):
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            names = (_CGROUP, "memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            names = (_CGROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        root, limit_name, usage_name = names
        folder = root / group.lstrip("/")
        # Inside a container the group's own folder is the root.
        for place in (folder, *folder.parents[: len(Path(group).parts)], root):
            limit, usage = _number(place / limit_name), _number(place / usage_name)
            if limit is not None and usage is not None:
                left.append(limit - usage + _file_bytes(place))
    return left


def _file_bytes(group: Path) -> int:
    stat = dict(line.split() for line in _lines(group / "memory.stat"))
    both = ("inactive_file", "active_file")
    return max(sum(int(stat.get(total + name, 0)) for name in both) for total in ("", "total_"))


def _process_bytes(field: int) -> int:
    for line in _lines(_PROC / "self" / "statm"):
        return int(line.split()[field]) * _PAGE
    return 0


def _number(path: Path) -> int | None:
    for line in _lines(path):
        return int(line) if line.strip().isdecimal() else None
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
