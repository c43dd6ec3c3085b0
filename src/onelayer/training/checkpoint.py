"""Checkpoints: training writes down where it stands, and goes on from there to the same bits.

They are files of their own, checkpoints/NAME-000001.safetensors and so on in the run folder, each
whole or absent. The last two are kept: were the newest damaged, the one before would do.

What a checkpoint's bits depend on, and how two of those differ in words.

A checkpoint continues the same training only with the same rows, settings, arithmetic and versions.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from onelayer.data import Dataset, Splits
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine
from onelayer.engines.processes import leads
from onelayer.errors import CheckpointWarning, DataError, SaveError, require_number
from onelayer.files.atomic import CHECKPOINTS, durable_file
from onelayer.training.run import Run
from onelayer.training.state import Standing, read_progress, read_standing, write_standing

# Features up to this size are summed whole; of larger ones, so many rows spread evenly.
WHOLE_BYTES = 1 << 28

SAMPLED_ROWS = 4096

_BLOCK_BYTES = 1 << 24


def made_of(splits: Splits, runs: Sequence[Run], engine: Engine, **choices: Any) -> dict[str, Any]:
    """All that the bits of a training depend on, as plain values.

    Args:
        splits: the data.
        runs: the settings as given.
        engine: what does the arithmetic. The native engine's threads are left out, which change
            no bit, and so is the number of processes, so that training can go on with the
            machines that are left: to rounding then, not to the bit.
        **choices: what else was chosen.

    Returns:
        What `differences` compares.
    """
    from importlib.metadata import version  # its own imports take 30 ms

    arithmetic = {"onelayer": version("onelayer"), "numpy": np.__version__} | engine.describe()
    arithmetic.pop("processes", None)
    if engine.name == "native":
        arithmetic.pop("threads", None)
    given = {"runs": [run.as_dict() for run in runs]}
    return {"data": fingerprint(splits)} | given | choices | arithmetic


def fingerprint(splits: Splits) -> dict[str, Any]:
    """Sizes and sums of the three sets of rows, as plain values.

    Labels are summed whole. So are features up to 256 MiB; of larger ones 4096 rows are, spread
    evenly from the first to the last, so that a set of a terabyte is not read for it.

    Args:
        splits: the data.

    Returns:
        For each set its rows, features, classes, dtype and a sum; and for rows that stay in their
        files a sum of the blocks that they are shuffled by.

    Example:
        >>> d = Dataset(np.eye(3), np.array([0, 1, 0]), ("a", "b"))
        >>> found = fingerprint(Splits(d, d, d, name="made", source="made in memory"))
        >>> found["training"]["rows"], found["training"]["sum"] == found["test"]["sum"]
        (3, True)
    """
    sets = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    return {
        role: {
            "rows": dataset.rows,
            "features": dataset.features,
            "classes": list(dataset.class_names),
            "dtype": dataset.X.dtype.name,
            "sum": _sum(dataset),
            "blocks": _blocks(dataset),
        }
        for role, dataset in sets.items()
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Say what is not as it was, the first difference of each part.

    Args:
        before: what a checkpoint was made of: "runs" as a list of settings, "data" as
            `fingerprint` gives it, and further plain values by their names.
        now: what it would be continued with, likewise.

    Yields:
        Half sentences: "run 2's l2 was 0.1 and is 0.2".

    Example:
        >>> list(differences({"dtype": "float32"}, {"dtype": "float64"}))
        ['the dtype was float32 and is float64']
    """
    for part in {**before, **now}:
        one, other = before.get(part), now.get(part)
        if one == other:
            continue
        if part == "runs" and one and other:
            yield _of_runs(one, other)
        elif part == "data" and one and other:
            yield _of_data(one, other)
        else:
            yield f"the {part.replace('_', ' ')} was {_word(one)} and is {_word(other)}"


def _of_runs(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> str:
    if len(before) != len(now):
        return f"there were {len(before)} runs and are {len(now)}"
    changed = [
        f"run {number}'s {name} was {_word(one.get(name))} and is {_word(other.get(name))}"
        for number, (one, other) in enumerate(zip(before, now, strict=True))
        for name in {**one, **other}
        if one.get(name) != other.get(name) and name != "name"
    ]
    if not changed:
        return "the names of the runs are others"
    more = f" ({len(changed) - 1} more settings differ)" if len(changed) > 1 else ""
    return changed[0] + more


def _of_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    for role, one in before.items():
        for what, was in one.items():
            value = now[role][what]
            if was == value:
                continue
            if what == "sum":
                return f"the values of the {role} rows are others"
            if what == "blocks":
                return f"the {role} rows lie in files in another way, and are shuffled in another"
            if what == "classes":
                return f"the classes of the {role} rows are others"
            if what == "rows":
                return f"the {role} rows were {was} and are {value}"
            return f"the {what} of the {role} rows was {was} and is {value}"
    return "the data are others"


def _word(value: Any) -> str:
    return "not set" if value is None else str(value)


def _blocks(dataset: Dataset) -> str | None:
    stored = stored_rows(dataset.X)
    if stored is None:
        return None
    return hashlib.sha256(np.append(stored.blocks, stored.window_rows).tobytes()).hexdigest()


def _sum(dataset: Dataset) -> str:
    digest = hashlib.sha256(dataset.y.tobytes())
    row_bytes = dataset.features * dataset.X.dtype.itemsize
    if dataset.rows * row_bytes <= WHOLE_BYTES:
        step = max(1, _BLOCK_BYTES // row_bytes)
        for start in range(0, dataset.rows, step):
            digest.update(np.ascontiguousarray(dataset.X[start : start + step]).tobytes())
    else:
        chosen = np.linspace(0, dataset.rows - 1, min(dataset.rows, SAMPLED_ROWS)).astype(np.int64)
        for start in range(0, len(chosen), 64):
            digest.update(np.ascontiguousarray(dataset.X[chosen[start : start + 64]]).tobytes())
    return digest.hexdigest()


KEPT = 2

# The training that a folder is for; others in it follow from that one.
FIRST = "runs"

# Ctrl-C goes on from where training stood at most so many seconds before.
HOLD_SECONDS = 1.0

FIRST_BATCHES, MOST_PART_SECONDS = 16, 10.0

# Processes that share the rows must cut an epoch alike, so it cannot depend on their own clocks.
SHARED_BATCHES = 256


@dataclass(frozen=True)
class Checkpoint:
    """Where training writes down where it stands, how often, and whether it goes on from there.

    Attributes:
        folder: the run folder; its sub-folder checkpoints/ is written, and one process at a time
            may do so.
        every: seconds from one checkpoint to the next, at least; 0 writes as often as it can.
        resume: whether to go on from the last checkpoint that is there, to the same bits as if
            training had never stopped; without one, training starts at the beginning.
        command: how to go on, for who finds the folder; may be empty.
        name: of the training, where one folder has several.
        shared: whether processes that were started together train for the folder, which all of
            them must see: the first one writes, and all go on from the same file.

    Raises:
        SettingsError: for seconds below 0.

    Example:
        >>> import tempfile
        >>> from onelayer import Run, load
        >>> from onelayer import train
        >>> with tempfile.TemporaryDirectory() as place:
        ...     kept = Checkpoint(place, every=0, resume=True)
        ...     first = train(load("digits"), [Run(0.1, epochs=2)], checkpoint=kept)
        ...     again = train(load("digits"), [Run(0.1, epochs=2)], checkpoint=kept)
        ...     bool((again.W == first.W).all())
        True
    """

    folder: Path | str
    every: float = 60.0
    resume: bool = False
    command: str = ""
    name: str = FIRST
    shared: bool = False

    @property
    def writes(self) -> bool:
        """Whether it is this process that writes them."""
        return leads() or not self.shared

    def __post_init__(self) -> None:
        require_number("checkpoint every", self.every, "a number of seconds, 0 or above", least=0)


@dataclass(frozen=True)
class Unfinished:
    """Training that has not ended, as its newest checkpoints tell.

    Attributes:
        file: the checkpoint that was written last.
        done: run-epochs that are behind it.
        total: of how many; what a sweep has not begun to train is not counted.
        command: how to go on; may be empty.
    """

    file: Path
    done: int
    total: int
    command: str


def unfinished(folder: Path) -> Unfinished | None:
    """Tell what training a folder holds that has not ended.

    Args:
        folder: a run folder, or none.

    Returns:
        What its newest checkpoints tell; None without one.

    Example:
        >>> unfinished(Path("absent")) is None
        True
    """
    files = list((folder / CHECKPOINTS).glob("*.safetensors"))
    newest: list[Unfinished] = []
    for name in {file.stem.rpartition("-")[0] for file in files}:
        for _, file in _newest_first(folder / CHECKPOINTS, name):
            with suppress(OSError, DataError, ValueError, KeyError):
                newest.append(Unfinished(file, *read_progress(file)))
                break
    if not newest:
        return None
    done, total = sum(one.done for one in newest), sum(one.total for one in newest)
    last = max(newest, key=lambda one: one.file.stat().st_mtime_ns)
    return replace(last, done=done, total=total)


class Pace:
    """How many batches make a part of an epoch, so that parts are short beside the interval.

    An epoch that is no longer than a part is taken whole from then on.

    Attributes:
        batches: of the next part.
    """

    def __init__(self, every: float, *, fixed: bool = False) -> None:
        self.batches, self._seconds = FIRST_BATCHES, min(every / 4, MOST_PART_SECONDS)
        self._fixed = fixed
        if fixed:
            self.batches = SHARED_BATCHES

    def learn(self, batches: int, seconds: float) -> None:
        """Take note of how long a part took."""
        if self._fixed:
            return
        wanted = int(batches * self._seconds / max(seconds, 1e-9))
        self.batches = max(1, min(wanted, 8 * self.batches))


class Keeper:
    """Writes one training's checkpoints, and finds the one to go on from.

    Attributes:
        pace: how long the parts of an epoch are, between which a checkpoint can stand.
    """

    def __init__(self, checkpoint: Checkpoint, made_of: Callable[[], dict[str, Any]]) -> None:
        """Keep checkpoints as said.

        Args:
            checkpoint: where and how often.
            made_of: what the bits depend on, as plain values; called once, when first needed.
        """
        self.pace = Pace(checkpoint.every, fixed=checkpoint.shared)
        self._said, self._find_made_of = checkpoint, made_of
        self._made_of: dict[str, Any] | None = None
        self._folder = Path(checkpoint.folder) / CHECKPOINTS
        self._own: list[Path] = []
        self._held: Standing | None = None
        self._failed = False
        self._wrote = self._looked = time.monotonic()

    def latest(self) -> Standing | None:
        """The newest standing to go on from, or None where training starts at the beginning.

        Raises:
            SaveError: when it was made of something else.

        Warns:
            CheckpointWarning: for each that is damaged and passed over.
        """
        if not self._said.resume:
            return None
        for _, file in _newest_first(self._folder, self._said.name):
            try:
                standing, made_of = read_standing(file)
            except (OSError, DataError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                _warn(f"{file} cannot be read, so an older one is looked for: {reason}")
                continue
            changed = "; ".join(differences(made_of, self._what_it_is_made_of()))
            if changed and self._said.name != FIRST:
                continue  # of an earlier training, whose own FIRST has made way for this one's
            if changed:
                raise SaveError(
                    f"{file} was made otherwise, so training cannot go on from it: {changed}. "
                    "Give what it was made with, or leave out --resume to start anew."
                )
            self._own = [file]
            return standing
        return None

    def offer(self, standing: Callable[[], Standing]) -> None:
        """Take where training stands now, if it is time for that; it may stop at any moment.

        Args:
            standing: tells it, with copies of all that training changes.
        """
        if not self._said.writes:
            return
        now = time.monotonic()
        due = now - self._wrote >= self._said.every
        if due or now - self._looked >= HOLD_SECONDS:
            self._held = standing()
            self._looked = time.monotonic()
        if due:
            self.flush()

    def finish(self, standing: Callable[[], Standing]) -> None:
        """Take where training stands at its end, unless that took next to no time."""
        long_ago = time.monotonic() - self._wrote >= self._said.every / 10
        if long_ago and self._said.writes:
            self._held = standing()
            self.flush()

    def flush(self) -> None:
        """Write the standing that was taken last, unless it is written.

        Warns:
            CheckpointWarning: when the disk refuses, once until it no longer does.
        """
        if self._held is None:
            return
        try:
            self._write(self._held)
            self._held, self._failed = None, False
        except OSError as error:
            if not self._failed:
                _warn(
                    f"no checkpoint could be written in {self._folder}: "
                    f"{error.strerror or error}; training goes on, and so do attempts."
                )
            self._failed = True
        self._wrote = time.monotonic()

    def _write(self, standing: Standing) -> None:
        name = self._said.name
        self._folder.mkdir(parents=True, exist_ok=True)
        number = next((n for n, _ in _newest_first(self._folder, name)), 0) + 1
        file = self._folder / f"{name}-{number:06d}.safetensors"
        with durable_file(file) as stream:
            write_standing(stream, standing, self._what_it_is_made_of(), self._said.command)
        self._own = [*self._own, file][-KEPT:]
        for _, older in _newest_first(self._folder, name):
            if older not in self._own:
                older.unlink(missing_ok=True)

    def _what_it_is_made_of(self) -> dict[str, Any]:
        if self._made_of is None:
            # Through JSON and back, as what it is compared with has been.
            self._made_of = json.loads(json.dumps(self._find_made_of()))
        return self._made_of


def _newest_first(folder: Path, name: str) -> Iterator[tuple[int, Path]]:
    """Number and file of each checkpoint of a training."""
    found = [
        (int(file.stem.removeprefix(f"{name}-")), file)
        for file in folder.glob(f"{name}-*.safetensors")
        if file.stem.removeprefix(f"{name}-").isdecimal()
    ]
    return iter(sorted(found, reverse=True))


def _warn(words: str) -> None:
    warnings.warn(words, CheckpointWarning, stacklevel=3)
