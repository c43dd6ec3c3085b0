"""What was measured, as plain frozen records that go to JSON, a line a measure, and come back.

A record is one `Part` for each suite: its conditions (device, versions, load) and its measures,
each a number, n and spread (the seconds of every round). A part can be renewed alone. Records are
kept by the kind of the processor, in a file each.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from onelayer import _native
from onelayer.files.atomic import staged_file
from onelayer.files.provenance import describe_environment

ONELAYER, ORACLE = "onelayer", "NumPy float64"
PACKAGES = ("numpy", "torch", "jax", "jaxlib", "scikit-learn", "scikit-learn-intelex")
STAT = Path("/proc/stat")
# Cores that a system's own services may take without a word.
QUIET_CORES = 0.1


@dataclass(frozen=True)
class Measure:
    """One contender on one piece of work."""

    work: str
    who: str
    label: str  # for the reader
    seconds: tuple[float, ...] = ()  # one a round
    refused: str = ""  # why there are no times: it DISAGREES, CRASHED, or is not installed
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # the machine's limits
    facts: Mapping[str, Any] = field(default_factory=dict)  # `flops`, `peak_bytes`, `gap`, ...

    @property
    def median(self) -> float | None:
        return median(self.seconds) if self.seconds else None

    def share(self, limit: str, amount: str) -> float | None:
        """An amount a second as a share of the median limit of the same session."""
        speeds = self.series.get(limit)
        if not speeds or self.median is None:
            return None
        return float(self.facts[amount]) / self.median / 1e9 / median(speeds)


@dataclass(frozen=True)
class Part:
    """What one suite measured, and under which conditions."""

    started: str  # ISO 8601
    machine: Mapping[str, str]  # processor, system, versions
    threads: int  # of every contender
    engine: str  # of onelayer
    quick: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)  # of all measures
    measures: tuple[Measure, ...] = ()
    other_work: float | None = None  # cores that other work kept busy meanwhile, on average

    def find(self, who: str, work: str) -> Measure | None:
        return next((m for m in self.measures if (m.who, m.work) == (who, work)), None)

    def of(self, work: str) -> list[Measure]:
        return [m for m in self.measures if m.work == work]

    def with_(self, measures: Iterable[Measure] = (), **changes: Any) -> Part:
        return replace(self, measures=(*self.measures, *measures), **changes)


DISAGREES, CRASHED = "refused", "crashed"
Record = Mapping[str, Part]


def find(record: Record, suite: str, who: str, work: str) -> Measure | None:
    return record[suite].find(who, work) if suite in record else None


def complaints(record: Record) -> tuple[list[str], list[str]]:
    """Which answers disagree, and who crashed, in words."""
    refused = [m for part in record.values() for m in part.measures if m.refused]
    said = [(m.refused, f"{m.label} on {m.work}: {m.refused}") for m in refused]
    wrong = [f"DISAGREES: {words}" for why, words in said if why.startswith(DISAGREES)]
    return wrong, [f"CRASHED: {words}" for why, words in said if why.startswith(CRASHED)]


def compared(what: str, distance: float, allowed: float) -> Measure:
    """A comparison with NumPy float64 that is no contender's; a NaN disagrees."""
    words = "" if distance <= allowed else f"{DISAGREES}: off by {distance:.1e} of {allowed:.1e}"
    facts = {"distance": distance, "allowed": allowed}
    return Measure(ORACLE, "oracle", what, refused=words, facts=facts)


def median_ratio(peer: Measure | None, ours: Measure | None) -> float | None:
    """Median of peer / ours, pair by pair within a round, so that drift cancels."""
    if peer is None or ours is None:
        return None
    ratios = [p / o for p, o in zip(peer.seconds, ours.seconds, strict=False)]
    return median(ratios) if ratios else None


def kind_of_processor(threads: int) -> str:
    """Whose ratios are alike: the processor's model, the instructions in use, and threads."""
    known: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            known.setdefault(key.strip(), value.strip())
    model = " ".join(known.get(key, "?") for key in ("model name", "cpu family", "model"))
    return f"{model}, {_native.instruction_set()}, {threads} threads"


def kept_path(kind: str, folder: Path) -> Path:
    """Where the record of a kind of processor is kept."""
    return folder / f"{re.sub('[^a-z0-9]+', '-', kind.lower())}.json"


def read_kept(folder: Path, but: Path) -> list[dict[str, Part]]:
    """The kept records of all kinds: the newest first, those of few suites last."""
    records = [read_record(path) for path in folder.glob("*.json") if path != but]
    half = max(map(len, records), default=0) / 2
    return sorted(records, key=lambda record: (len(record) > half, started(record)), reverse=True)


def started(record: Record) -> str:
    """When the latest part of a record was begun."""
    return max(part.started for part in record.values())


def write_record(record: Record, path: Path) -> None:
    """Write the record as JSON, whole or not at all, one line for each measure."""
    parts = (f"{json.dumps(suite)}: {_part_text(part)}" for suite, part in record.items())
    with staged_file(path) as staging:
        staging.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _part_text(part: Part) -> str:
    fields = []
    for name, value in asdict(part).items():
        text = json.dumps(value, ensure_ascii=False)
        if name == "measures" and value:
            entries = ({k: v for k, v in one.items() if v not in ("", (), {})} for one in value)
            lines = (f"  {json.dumps(entry, ensure_ascii=False)}" for entry in entries)
            text = "[\n" + ",\n".join(lines) + "\n ]"
        fields.append(f' "{name}": {text}')
    return "{\n" + ",\n".join(fields) + "\n}"


def read_record(path: Path) -> dict[str, Part]:
    parts: dict[str, Any] = _tupled(json.loads(path.read_text(encoding="utf-8")))
    for part in parts.values():
        part["measures"] = tuple(Measure(**measure) for measure in part["measures"])
    return {suite: Part(**part) for suite, part in parts.items()}


def _tupled(value: Any) -> Any:
    """Lists become tuples, those inside them too."""
    if isinstance(value, dict):
        return {key: _tupled(v) for key, v in value.items()}
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def describe_machine(threads: int) -> dict[str, str]:
    """Processor, its kind, cores, memory, system, NumPy's BLAS, and the contenders' versions."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    known = {"kind": kind_of_processor(threads)}
    known |= {"memory": f"{memory:.0f} GiB", "blas": f"{blas['name']} {blas['version']}"}
    return describe_environment() | known | versions


class OtherWork:
    """How much of the processor other work took while benchmarks ran; known on Linux alone."""

    def __init__(self) -> None:
        self._started, self._before = time.perf_counter(), _other_seconds()

    def cores(self) -> float | None:
        """Cores that other work kept busy since the start, on average; steal is counted."""
        now = _other_seconds()
        if now is None or self._before is None:
            return None
        return max(now - self._before, 0.0) / (time.perf_counter() - self._started)


def _other_seconds() -> float | None:
    """Time that all cores together were not idle, less that of this process and ended workers."""
    try:
        fields = STAT.read_text(encoding="ascii").splitlines()[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(float, fields)
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy - sum(os.times()[:4])
