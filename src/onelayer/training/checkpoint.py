"""Checkpoints: training and λ paths write their state, and resume from it bit for bit.

They are files of their own, checkpoints/NAME-000001.safetensors and so on in the run folder, each
whole or absent. The last two are kept, in case the newest is damaged. A checkpoint resumes the same
training only with the same rows, settings, arithmetic and versions: its fingerprint.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from onelayer.data import Dataset, Splits
from onelayer.data.progress import Log
from onelayer.data.sparse import sparse_rows
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine
from onelayer.engines.processes import leads
from onelayer.errors import (
    CheckpointWarning,
    DataError,
    OnelayerError,
    SaveError,
    known_fields,
    one_line,
    require_number,
)
from onelayer.files.atomic import check_replaceable, durable_file, writing
from onelayer.files.manifest import CHECKPOINTS, own_checkpoints
from onelayer.files.records import Arrays, from_plain, read_json, to_plain, write_json
from onelayer.files.tensors import read_sealed, read_texts, write_sealed
from onelayer.training.run import Run, group_passes, planned_part
from onelayer.training.state import TrainingState

# Features up to this size are hashed whole; of larger ones, this many rows spread evenly.
WHOLE_BYTES = 1 << 28

SAMPLED_ROWS = 4096
_BLOCK_BYTES = 1 << 24

# Values of a fingerprint that begin so say nothing to a reader but whether they changed.
HASHED = "sha256:"

KIND = "onelayer.checkpoint"
VERSION = "4"
Scalar = bool | int | float | str | None

# What the bits of a training depend on, by the words that name it in a message.
Fingerprint = dict[
    str, Scalar | list[int] | list[float] | dict[str, Scalar] | list[dict[str, Scalar]]
]


def write_state(stream: BinaryIO, state: Any, made_with: Fingerprint, command: str) -> None:
    """Write a training state, its fingerprint and its command to a stream, new and empty."""
    arrays: Arrays = {}
    texts = {
        "state": write_json(to_plain(state, arrays)),
        "progress": write_json([state.done, state.total]),
        "fingerprint": write_json(made_with),
        "command": command,
    }
    write_sealed(stream, KIND, VERSION, texts, arrays)


def read_state(path: Path, kind: type[Any] = TrainingState) -> tuple[Any, Fingerprint]:
    """Read a state of that type and its fingerprint; `DataError`s begin with "it" or "its"."""
    texts, arrays = read_sealed(path, KIND, VERSION)
    # Arrays are read-only as read, and training writes to them.
    writable = {name: np.array(array) for name, array in arrays.items()}
    state = from_plain(kind, read_json(texts.get("state", "")), writable)
    return state, from_plain(Fingerprint, read_json(texts.get("fingerprint", "")))


def fingerprint(
    data: Splits, runs: Sequence[Run], engine: Engine, **options: Any
) -> dict[str, Any]:
    """Everything that the bits of a training depend on, as plain values for `differences`."""
    found = fingerprint_of(data, engine, {"runs": [run.as_dict() for run in runs]} | options)
    found.pop("instruction_set", None)  # the kernel trains to the same bits with each
    return found


def fingerprint_of(data: Splits, engine: Engine, settings: dict[str, Any]) -> dict[str, Any]:
    """Data, settings and arithmetic, but not what changes no bit, or on resuming only rounding."""
    from importlib.metadata import version  # its own imports take 30 ms

    arithmetic = {"onelayer": version("onelayer"), "numpy": np.__version__} | engine.describe()
    arithmetic.pop("processes", None)
    if engine.name == "native":
        arithmetic.pop("threads", None)
    return {"data": data_fingerprint(data)} | settings | arithmetic


def data_fingerprint(data: Splits) -> dict[str, Any]:
    """Sizes and hashes of the three parts, each under the words that name it in a message."""
    found: dict[str, Any] = {}
    parts = {"training": data.train, "validation": data.validation, "test": data.test}
    for role, dataset in parts.items():
        stored = stored_rows(dataset.X)
        blocks = b"" if stored is None else np.append(stored.blocks, stored.window_rows).tobytes()
        found |= {
            f"number of {role} rows": dataset.rows,
            f"number of features of the {role} rows": dataset.features,
            f"classes of the {role} rows": HASHED + _sha256(repr(dataset.class_names).encode()),
            f"dtype of the {role} rows": dataset.X.dtype.name,
            f"{role} data": HASHED + _hash(dataset),
            f"shuffled order of the {role} rows": HASHED + _sha256(blocks),
        }
        for name in ("weights", "offsets"):
            if (of_rows := getattr(dataset, name)) is not None:
                found[f"{name} of the {role} rows"] = HASHED + _sha256(of_rows.tobytes())
        if dataset.groups is not None:
            names = "\0".join(map(str, dataset.groups.tolist()))
            found[f"groups of the {role} rows"] = HASHED + _sha256(names.encode())
    return found


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """How two fingerprints differ: the first difference of each part, as a half sentence."""
    for part in {**before, **now}:
        old, new = before.get(part), now.get(part)
        if old == new:
            continue
        if part == "runs" and isinstance(old, list) and isinstance(new, list):
            yield _run_difference(old, new)
        elif isinstance(old, dict) and isinstance(new, dict):
            yield next(_changes(old, new))
        else:
            yield from _changes({part: old}, {part: new})


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in {**before, **now}:
        old, new, words = before.get(name), now.get(name), f"the {one_line(name.replace('_', ' '))}"
        if old != new and HASHED in (str(old)[: len(HASHED)], str(new)[: len(HASHED)]):
            yield f"{words} changed"
        elif old != new:
            yield f"{words} was {_word(old)} and is {_word(new)}"


def with_fewer_epochs(
    runs: Sequence[Run], before: Mapping[str, Any], now: Mapping[str, Any]
) -> list[Run]:
    """The runs that a checkpoint is of where these are the same with more epochs; else none."""
    old, new = before.get("runs"), now["runs"]
    if not isinstance(old, list) or len(old) != len(new) or {**before, "runs": new} != now:
        return []
    earlier: list[Run] = []
    for run, was, is_now in zip(runs, old, new, strict=True):
        epochs, name = (
            (was.get(n) for n in ("epochs", "name")) if isinstance(was, dict) else (0, "")
        )
        if {**is_now, "epochs": epochs, "name": name} != was:
            return []
        try:
            earlier.append(replace(run, epochs=epochs, name=str(name)))  # type: ignore[arg-type]
        except OnelayerError:
            return []
    fewer = [a.epochs - b.epochs for a, b in zip(earlier, runs, strict=True)]
    return earlier if min(fewer) < 0 and max(fewer) <= 0 else []


def why_not_longer(before: Sequence[Run], runs: Sequence[Run]) -> str:
    """Why runs cannot go on from those with fewer epochs; '' where they can."""
    for i, (old, new) in enumerate(zip(before, runs, strict=True)):
        if new.epochs > old.epochs and (part := planned_part(new)):
            return f"run {i}'s {part} was planned over {old.epochs} epochs and not {new.epochs}"
    if group_passes(before) != group_passes(runs):
        return "with these epochs other runs share their batches"
    return ""


def _run_difference(before: list[Any], now: list[Any]) -> str:
    if len(before) != len(now):
        return f"there were {len(before)} runs and are {len(now)}"
    changed = [
        f"run {number}'s {one_line(name)} was {_word(old.get(name))} and is {_word(new.get(name))}"
        for number, (old, new) in enumerate(zip(before, now, strict=True))
        if isinstance(old, dict)
        for name in {**old, **new}
        if old.get(name) != new.get(name) and name != "name"
    ]
    if not changed:
        return "the run names changed"
    more = f" ({len(changed) - 1} more settings differ)" if len(changed) > 1 else ""
    return changed[0] + more


def _word(value: Any) -> str:
    return "not set" if value is None else one_line(value)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _hash(dataset: Dataset) -> str:
    """The hash of all labels, and of all features or some rows from the first to the last."""
    digest = hashlib.sha256(dataset.y.tobytes())
    sparse = sparse_rows(dataset.X)
    row_bytes = dataset.features * dataset.X.dtype.itemsize
    row_bytes = row_bytes if sparse is None else -(-sparse.nbytes // dataset.rows)
    whole = dataset.rows * row_bytes <= WHOLE_BYTES
    count = dataset.rows if whole else min(dataset.rows, SAMPLED_ROWS)
    chosen = np.linspace(0, dataset.rows - 1, count).astype(np.int64)
    step = max(1, _BLOCK_BYTES // row_bytes) if whole else 64
    for start in range(0, count, step):
        block = slice(start, start + step) if whole else chosen[start : start + step]
        for array in _arrays_of(dataset.X[block]):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _arrays_of(X: NDArray[np.generic]) -> list[NDArray[Any]]:
    """What rows are stored in, whatever integers say where values of sparse rows are."""
    if (sparse := sparse_rows(X)) is None:
        return [X]
    rows = sparse.to_scipy()
    return [rows.indptr.astype(np.int64), rows.indices.astype(np.int64), rows.data]


# Checkpoints of a training that are kept.
KEPT = 2

# The training that a folder is for; others in it follow from that one. And its λ path; of many
# feature sets the paths and what is learned of few shots, whose names go on behind a dot, and the
# heads that are finished.
FIRST, PATH, HEAD, SHOTS = "runs", "path", "head", "shots"

# What each of them is called in Python, its work, and what it counts.
_VERBS = {FIRST: ("train", "training", "epochs"), PATH: ("solve_path", "solving", "λ")}
_VERBS[HEAD] = ("probe", "probing", "heads")

# Ctrl-C resumes from a state that is at most this many seconds old.
HOLD_SECONDS = 1.0

FIRST_BATCHES, MAX_PART_SECONDS = 16, 10.0


@known_fields
@dataclass(frozen=True)
class Checkpoint:
    """Where and how often training or a λ path writes checkpoints, and whether it resumes.

    A path writes them between two λ.

    Attributes:
        folder: the run folder; checkpoints are written to checkpoints/ in it, by one process at a
            time.
        every: minimum seconds between checkpoints; 0 writes as often as possible.
        resume: whether to resume, bit for bit, from the latest valid checkpoint, with more epochs
            as well, unless a schedule or an average is planned over all of them; without one,
            training starts at the beginning.
        command: how to resume, for whoever finds the folder; may be empty.
        name: of the training, where one folder has several.
        overwrite: whether the folder may hold a finished run, which `save` then replaces.
        shared: whether processes that were started together train for the folder, which all of
            them must see: the first one writes, and all resume from the same file.
        log: called with one line on where training resumes from; None for nobody.

    Raises:
        SettingsError: for seconds below 0.

    Example:
        >>> import tempfile
        >>> from onelayer import Run, load, train
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoint = Checkpoint(folder, every=0, resume=True)
        ...     first = train(load("digits"), Run(0.1, epochs=2), checkpoint=checkpoint)
        ...     again = train(load("digits"), Run(0.1, epochs=2), checkpoint=checkpoint)
        ...     bool((again.W == first.W).all())
        True
    """

    folder: Path | str
    every: float = 60.0
    resume: bool = False
    command: str = ""
    name: str = FIRST
    shared: bool = False
    overwrite: bool = False
    log: Log | None = None

    @property
    def writes(self) -> bool:
        """Whether this process writes them."""
        return leads() or not self.shared

    def __post_init__(self) -> None:
        require_number("checkpoint every", self.every, "a number of seconds, 0 or above", least=0)

    @contextmanager
    def managing(
        self, of: Callable[[], dict[str, Any]], kind: type[Any] = TrainingState
    ) -> Iterator[CheckpointManager]:
        """Hold the folder's lock while checkpoints of states of that type are written to it."""
        folder = Path(self.folder)
        with writing(folder) if self.writes else nullcontext():
            if self.writes:
                resumes = self.resume and unfinished(folder) is not None
                check_replaceable(folder, overwrite=self.overwrite or resumes)
            yield CheckpointManager(self, of, kind)

    def managing_path(
        self, kind: type[Any], data: Splits, engine: Engine, settings: dict[str, Any]
    ) -> AbstractContextManager[CheckpointManager]:
        """As `managing`, for a λ path of these data and settings."""
        own = self if self.is_of(PATH) else replace(self, name=PATH)
        return own.managing(lambda: fingerprint_of(data, engine, settings), kind)

    def is_of(self, name: str) -> bool:
        """Whether they are of the training or path of that name, or of one of its parts."""
        return self.name.partition(".")[0] == name


@dataclass(frozen=True)
class Unfinished:
    """The newest checkpoint of what has not ended, epochs or λ done and in all, and command."""

    file: Path
    done: int
    total: int
    command: str

    @property
    def progress(self) -> str:
        """As "3 of 20 epochs done"."""
        return f"{self.done} of {self.total} {self._words[2]} done"

    @property
    def verb(self) -> str:
        """What does it: "train", "solve_path" or "probe"."""
        return self._words[0]

    @property
    def _words(self) -> tuple[str, str, str]:
        return _VERBS.get(_name_of(self.file).partition(".")[0], _VERBS[FIRST])


def unfinished(folder: Path) -> Unfinished | None:
    """Training or a path in a folder that has not ended; None without a checkpoint."""
    newest: list[Unfinished] = []
    names = {_name_of(file) for file in own_checkpoints(folder)}
    for name in {HEAD} if HEAD in names else names:
        for _, file in newest_first(folder / CHECKPOINTS, name):
            with suppress(OSError, DataError):
                texts = read_texts(file, KIND, VERSION)
                progress = from_plain(tuple[int, int], read_json(texts.get("progress", "")))
                command = texts.get("command", "")
                shown = command if command.isprintable() else ""
                newest.append(Unfinished(file, *progress, shown))
                break
    if not newest:
        return None
    done, total = sum(each.done for each in newest), sum(each.total for each in newest)
    last = max(newest, key=lambda each: each.file.stat().st_mtime_ns)
    return replace(last, done=done, total=total)


class CheckpointInterval:
    """How many `batches` of an epoch are taken at once, so that parts are short beside `every`."""

    def __init__(self, every: float, *, fixed: bool = False) -> None:
        # Processes that share the rows must cut an epoch alike, whatever their own clocks say.
        self.batches = 256 if fixed else FIRST_BATCHES
        self._seconds, self._fixed = min(every / 4, MAX_PART_SECONDS), fixed

    def adapt(self, batches: int, seconds: float) -> None:
        """Set the length of the next part by how long this one took."""
        if not self._fixed:
            fitting = int(batches * self._seconds / max(seconds, 1e-9))
            self.batches = max(1, min(fitting, 8 * self.batches))


class CheckpointManager:
    """Writes checkpoints of states of one type, with `done` and `total`, and finds the latest."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        of: Callable[[], dict[str, Any]],
        kind: type[Any] = TrainingState,
    ) -> None:
        self.interval = CheckpointInterval(checkpoint.every, fixed=checkpoint.shared)
        self._checkpoint, self._of, self._kind = checkpoint, of, kind
        self._folder = Path(checkpoint.folder) / CHECKPOINTS
        self._own: list[Path] = []
        self._held: Any = None
        self._failed = False
        self._wrote = self._looked = time.monotonic()

    def latest(
        self,
        check: Callable[[Any], None],
        go_on: Callable[[Any, Fingerprint, Fingerprint], str | None] = lambda *_: None,
    ) -> Any:
        """The latest valid state, or None; damaged ones are skipped, one of other data refused."""
        if not self._checkpoint.resume:
            return None
        for _, file in newest_first(self._folder, self._checkpoint.name):
            try:
                state, made_with = read_state(file, self._kind)
                changed = "; ".join(differences(made_with, self._fingerprint))
                if not changed:
                    check(state)
                elif (why := go_on(state, made_with, self._fingerprint)) is not None:
                    changed = why
            except (OSError, DataError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                _warn(f"cannot read {file}, trying an older checkpoint: {reason}")
                continue
            if changed and not self._is_main:
                continue  # of an earlier training, whose own FIRST has been replaced
            if changed:
                raise SaveError(
                    f"cannot resume from {file}: {changed}. Use the original settings or drop "
                    "--resume (resume=False)."
                )
            self._own = [file]
            found = Unfinished(file, state.done, state.total, "")
            self._log(f"resuming from {file}: {found.progress}")
            return state
        if self._is_main:
            folder = self._checkpoint.folder
            self._log(f"no checkpoint in {folder}; {self._work} starts from the beginning")
        return None

    @property
    def _is_main(self) -> bool:
        """Whether it is what the folder is for, and does not follow from another training."""
        return self._checkpoint.name == FIRST or self._checkpoint.is_of(PATH)

    @property
    def _work(self) -> str:
        return _VERBS[PATH if self._checkpoint.is_of(PATH) else FIRST][1]

    def _log(self, line: str) -> None:
        if self._checkpoint.log is not None:
            self._checkpoint.log(line)

    def offer(self, state: Callable[[], Any]) -> None:
        """Take a copy of the state, if it is time for that, and write it if it is due."""
        if not self._checkpoint.writes:
            return
        now = time.monotonic()
        due = now - self._wrote >= self._checkpoint.every
        if due or now - self._looked >= HOLD_SECONDS:
            self._held = state()
            self._looked = time.monotonic()
        if due:
            self.flush()

    def hold(self, state: Any) -> None:
        """Take a state that needs no copy, and write it if it is due."""
        if self._checkpoint.writes:
            self._held = state
            if time.monotonic() - self._wrote >= self._checkpoint.every:
                self.flush()

    def finish(self, state: Callable[[], Any], *, last: bool) -> None:
        """Write the state at the end, always where more epochs may go on from this `last` one."""
        long_ago = time.monotonic() - self._wrote >= self._checkpoint.every / 10
        if self._checkpoint.writes and (last or long_ago):
            self._held = state()
            self.flush()
        if self._held is None:
            self._keep(self._own[-1:])

    def flush(self) -> None:
        """Write the state that was taken last, unless it is written; warn once while that fails."""
        if self._held is None:
            return
        try:
            self._write(self._held)
            self._held, self._failed = None, False
        except OSError as error:
            if not self._failed:
                _warn(
                    f"cannot write a checkpoint to {self._folder}: {error.strerror or error}; "
                    f"{self._work} continues; the next checkpoint will be tried again."
                )
            self._failed = True
        self._wrote = time.monotonic()

    def _write(self, state: Any) -> None:
        name = self._checkpoint.name
        self._folder.mkdir(parents=True, exist_ok=True)
        number = max((n for n, _ in newest_first(self._folder, name)), default=0) + 1
        file = self._folder / f"{name}-{number:06d}.safetensors"
        with durable_file(file) as stream:
            write_state(stream, state, self._fingerprint, self._checkpoint.command)
        self._keep([*self._own, file][-KEPT:])

    def _keep(self, own: list[Path]) -> None:
        """Remove the training's checkpoints but these."""
        self._own = own
        for older in own_checkpoints(self._folder.parent):
            if older not in own and _name_of(older) == self._checkpoint.name:
                older.unlink(missing_ok=True)

    @cached_property
    def _fingerprint(self) -> Fingerprint:
        return as_read(self._of())


def as_read(made_with: dict[str, Any]) -> Fingerprint:
    """A fingerprint through JSON and back, like the one that it is compared with."""
    return from_plain(Fingerprint, read_json(write_json(made_with)))


def newest_first(folder: Path, name: str) -> list[tuple[int, Path]]:
    """Number and file of each checkpoint of a training."""
    found = [
        (int(file.stem.removeprefix(f"{name}-")), file)
        for file in folder.glob(f"{name}-*.safetensors")
        if file.stem.removeprefix(f"{name}-").isdecimal() and file.is_file()
    ]
    return sorted(found, reverse=True)


def _name_of(file: Path) -> str:
    return file.stem.rpartition("-")[0]


def _warn(message: str) -> None:
    warnings.warn(message, CheckpointWarning, stacklevel=3)
