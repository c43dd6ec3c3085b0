"""The training state: everything needed to resume bit for bit, and its file.

A checkpoint is one file, arrays as safetensors and everything else as JSON in its header, which
also holds the SHA-256 of the file. docs/guide/checkpoints.md describes it.

    W, b                          weights that the runs keep, (R, K, D) and (R, K)
    state.W, state.b              weights of the runs of the current pass
    slot.NAME.W, slot.NAME.b      what else their steps remember, as velocity and average
    history.*                     the measures, (R, epochs + 1)
    snapshot.I, direction.I       of run I: W at each epoch, direction of the largest curvature
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from onelayer.engines import State, Weights
from onelayer.errors import DataError
from onelayer.files.tensors import read_sealed, read_texts, write_sealed
from onelayer.training.history import HistorySnapshot
from onelayer.training.result import History, Outcome
from onelayer.training.run import Run


@dataclass(frozen=True, eq=False)
class Cursor:
    """A place in the sequence of steps, which itself follows from the runs' seeds.

    Attributes:
        pass_index: which pass over the data, 0, 1, …, in the order of `group_passes`; their number
            when all are done.
        epoch: which epoch of it; 0 is the measurement before the first.
        batch: number of its batches that are done.
        alive: positions of the runs in it that continue.
        state: the state of these runs; None at the beginning of a pass, whose runs all start from
            the weights that they have.
    """

    pass_index: int
    epoch: int = 0
    batch: int = 0
    alive: tuple[int, ...] = ()
    state: State | None = None


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Everything needed to resume bit for bit.

    Attributes:
        runs: the settings, with learning rates as numbers.
        cursor: the place in the sequence of steps.
        history: what was recorded.
        directions: where the curvature meter starts its next measurement, by position.
        due: the epoch at which it measures next, by position.
        done: run-epochs that are done.
        total: all of them.
        seconds: wall time of training so far.
    """

    runs: tuple[Run, ...]
    cursor: Cursor
    history: HistorySnapshot
    directions: dict[int, NDArray[np.float64]]
    due: dict[int, int]
    done: int
    total: int
    seconds: float


KIND = "onelayer.checkpoint"

VERSION = "2"

Arrays = dict[str, NDArray[Any]]


def write_state(
    stream: BinaryIO, state: TrainingState, fingerprint: Mapping[str, Any], command: str
) -> None:
    """Write a training state to an empty stream; raises OSError when the disk refuses.

    Args:
        stream: new and empty.
        state: what to write.
        fingerprint: plain values that its bits depend on; `differences` compares them.
        command: how training was started, for whoever finds the folder; may be empty.
    """
    texts = {
        "state": _json(_values(state)),
        "fingerprint": _json(dict(fingerprint)),
        "command": command,
    }
    write_sealed(stream, KIND, VERSION, texts, _arrays(state))


def read_state(path: Path) -> tuple[TrainingState, dict[str, Any]]:
    """Read a training state, bit for bit, and its fingerprint.

    Raises:
        DataError: when the file is damaged, cut or of another kind; the sentence begins with "it"
            or "its".
        OSError: when it cannot be read.
    """
    texts, arrays = read_sealed(path, KIND, VERSION)
    try:
        return _state(json.loads(texts["state"]), arrays), json.loads(texts["fingerprint"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"it is not a whole checkpoint ({error!r}).") from error


def read_progress(path: Path) -> tuple[int, int, str]:
    """Run-epochs done and in all, and the command, from the header of a checkpoint alone.

    Raises:
        DataError: when it is no checkpoint.
        OSError: when it cannot be read.
    """
    texts = read_texts(path, KIND, VERSION)
    values = json.loads(texts["state"])
    return values["done"], values["total"], texts["command"]


def _json(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _values(state: TrainingState) -> dict[str, Any]:
    history, cursor = state.history, state.cursor
    return {
        "runs": [run.as_dict() for run in state.runs],
        "pass": cursor.pass_index,
        "epoch": cursor.epoch,
        "batch": cursor.batch,
        "alive": list(cursor.alive),
        "outcomes": [outcome and asdict(outcome) for outcome in history.outcomes],
        "epochs": list(history.epochs),
        "reached": list(history.reached),
        "curvatures": {
            str(i): {str(epoch): value for epoch, value in values.items()}
            for i, values in history.curvatures.items()
        },
        "due": {str(i): epoch for i, epoch in state.due.items()},
        "done": state.done,
        "total": state.total,
        "seconds": state.seconds,
    }


def _arrays(state: TrainingState) -> Arrays:
    history, runs = state.history, state.cursor.state
    arrays: Arrays = {"W": history.weights.W, "b": history.weights.b}
    if runs is not None:
        parts = {"state": runs.weights} | {f"slot.{n}": slot for n, slot in runs.slots.items()}
        for name, part in parts.items():
            arrays |= {f"{name}.W": part.W, f"{name}.b": part.b}
    arrays |= {f"history.{name}": getattr(history.history, name) for name in History.measures()}
    arrays |= {f"snapshot.{i}": shots for i, shots in history.snapshots.items()}
    return arrays | {f"direction.{i}": found for i, found in state.directions.items()}


def _state(values: Mapping[str, Any], arrays: Arrays) -> TrainingState:
    # Arrays are read-only as read, and training writes to them.
    arrays = {name: np.array(array) for name, array in arrays.items()}

    def under(prefix: str) -> Arrays:
        keys = [key for key in arrays if key.startswith(f"{prefix}.")]
        return {key.removeprefix(f"{prefix}."): arrays[key] for key in keys}

    runs = None
    if "state.W" in arrays:
        slots = under("slot")
        names = sorted({name.rpartition(".")[0] for name in slots})
        runs = State(
            Weights(arrays["state.W"], arrays["state.b"]),
            {name: Weights(slots[f"{name}.W"], slots[f"{name}.b"]) for name in names},
        )
    history = HistorySnapshot(
        weights=Weights(arrays["W"], arrays["b"]),
        outcomes=tuple(outcome and Outcome(**outcome) for outcome in values["outcomes"]),
        epochs=tuple(values["epochs"]),
        reached=tuple(values["reached"]),
        history=History(**under("history")),
        snapshots={int(i): shots for i, shots in under("snapshot").items()},
        curvatures={
            int(i): {int(epoch): value for epoch, value in measured.items()}
            for i, measured in values["curvatures"].items()
        },
    )
    alive = tuple(values["alive"])
    return TrainingState(
        runs=tuple(Run(**run) for run in values["runs"]),
        cursor=Cursor(values["pass"], values["epoch"], values["batch"], alive, runs),
        history=history,
        directions={int(i): found for i, found in under("direction").items()},
        due={int(i): epoch for i, epoch in values["due"].items()},
        done=values["done"],
        total=values["total"],
        seconds=values["seconds"],
    )
