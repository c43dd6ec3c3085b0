"""Checkpoints: training writes down where it stands, and goes on from there to the same bits.

They are files of their own, checkpoints/NAME-000001.safetensors and so on in the run folder, each
whole or absent. The last two are kept: were the newest damaged, the one before would do.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onelayer.checkpoint_files import read_progress, read_standing, write_standing
from onelayer.errors import CheckpointWarning, DataError, SaveError
from onelayer.fingerprint import differences
from onelayer.launch import leads
from onelayer.ranges import require_number
from onelayer.run_folder import CHECKPOINTS
from onelayer.standing import Standing
from onelayer.whole_file import durable_file

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
        >>> from onelayer import Run, load, train
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
