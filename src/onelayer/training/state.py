"""A checkpoint as one file: arrays as safetensors, everything else as JSON in its header.

    W, b                          weights that the runs keep, (R, K, D) and (R, K)
    state.W, state.b              weights of the runs of the pass under way
    slot.NAME.W, slot.NAME.b      what else their steps remember, as velocity and average
    history.*                     the measures, (R, epochs + 1)
    snapshot.I, direction.I       of run I: W at each epoch, direction of the largest curvature

docs/guide/checkpoints.md describes it. The header holds the SHA-256 of the file.

Where training stands between two steps: all that it needs to go on to the same bits.
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
from onelayer.training.history import Entries
from onelayer.training.result import History, Outcome
from onelayer.training.run import Run


@dataclass(frozen=True, eq=False)
class Place:
    """A place in the order of the steps; the order itself follows from the runs' seeds.

    Attributes:
        sharing: which pass over the data is under way, 0, 1, …, in the order of `group_passes`;
            their number when all are behind.
        epoch: which epoch of it is under way; 0 is the measurement before the first.
        batch: how many of its batches are done.
        alive: positions of the runs in it that go on.
        state: where these runs stand; None at the beginning of a pass, whose runs all start from
            the weights that they have.
    """

    sharing: int
    epoch: int = 0
    batch: int = 0
    alive: tuple[int, ...] = ()
    state: State | None = None


@dataclass(frozen=True, eq=False)
class Standing:
    """All that training needs to go on.

    Attributes:
        runs: the settings, learning rates settled.
        place: where in the order of the steps.
        entries: what the logbook held.
        directions: where the curvature meter starts its next measurement, by position.
        due: the epoch at which it measures next, by position.
        done: run-epochs behind it.
        total: of how many.
        seconds: wall time of training behind it.
    """

    runs: tuple[Run, ...]
    place: Place
    entries: Entries
    directions: dict[int, NDArray[np.float64]]
    due: dict[int, int]
    done: int
    total: int
    seconds: float


KIND = "onelayer.checkpoint"

VERSION = "2"

Arrays = dict[str, NDArray[Any]]


def write_standing(
    stream: BinaryIO, standing: Standing, made_of: Mapping[str, Any], command: str
) -> None:
    """Write where training stands.

    Args:
        stream: new and empty.
        standing: what to write.
        made_of: plain values that its bits depend on; `differences` compares them.
        command: how it was started, for who finds the folder; may be empty.

    Raises:
        OSError: when the disk refuses.
    """
    texts = {
        "standing": _json(_values(standing)),
        "made_of": _json(dict(made_of)),
        "command": command,
    }
    write_sealed(stream, KIND, VERSION, texts, _arrays(standing))


def read_standing(path: Path) -> tuple[Standing, dict[str, Any]]:
    """Read where training stood, and what that was made of.

    Args:
        path: as written by `write_standing`.

    Returns:
        The standing, bit for bit, and the plain values that its bits depend on.

    Raises:
        DataError: when it is damaged, cut or something else; the sentence begins with "it" or
            "its".
        OSError: when it cannot be read.
    """
    texts, arrays = read_sealed(path, KIND, VERSION)
    try:
        return _standing(json.loads(texts["standing"]), arrays), json.loads(texts["made_of"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"it lacks what a checkpoint holds ({error!r}).") from error


def read_progress(path: Path) -> tuple[int, int, str]:
    """Read from its header alone how far training was, and how it was started.

    Args:
        path: of a checkpoint.

    Returns:
        Run-epochs done and in all, and the command.

    Raises:
        DataError: when it is no checkpoint.
        OSError: when it cannot be read.
    """
    texts = read_texts(path, KIND, VERSION)
    values = json.loads(texts["standing"])
    return values["done"], values["total"], texts["command"]


def _json(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _values(standing: Standing) -> dict[str, Any]:
    entries, place = standing.entries, standing.place
    return {
        "runs": [run.as_dict() for run in standing.runs],
        "pass": place.sharing,
        "epoch": place.epoch,
        "batch": place.batch,
        "alive": list(place.alive),
        "outcomes": [outcome and asdict(outcome) for outcome in entries.outcomes],
        "epochs": list(entries.epochs),
        "reached": list(entries.reached),
        "curvatures": {
            str(i): {str(epoch): value for epoch, value in bends.items()}
            for i, bends in entries.bends.items()
        },
        "due": {str(i): epoch for i, epoch in standing.due.items()},
        "done": standing.done,
        "total": standing.total,
        "seconds": standing.seconds,
    }


def _arrays(standing: Standing) -> Arrays:
    entries, state = standing.entries, standing.place.state
    arrays: Arrays = {"W": entries.weights.W, "b": entries.weights.b}
    if state is not None:
        parts = {"state": state.weights} | {f"slot.{n}": slot for n, slot in state.slots.items()}
        for name, part in parts.items():
            arrays |= {f"{name}.W": part.W, f"{name}.b": part.b}
    arrays |= {f"history.{name}": getattr(entries.history, name) for name in History.measures()}
    arrays |= {f"snapshot.{i}": shots for i, shots in entries.snapshots.items()}
    return arrays | {f"direction.{i}": found for i, found in standing.directions.items()}


def _standing(values: Mapping[str, Any], arrays: Arrays) -> Standing:
    # Read arrays cannot be written, and training writes on.
    arrays = {name: np.array(array) for name, array in arrays.items()}

    def numbered(name: str) -> Arrays:
        prefix = f"{name}."
        found = {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)}
        return found

    slots = {name.removesuffix(".W") for name in numbered("slot") if name.endswith(".W")}
    state = None
    if "state.W" in arrays:
        state = State(
            Weights(arrays["state.W"], arrays["state.b"]),
            {n: Weights(arrays[f"slot.{n}.W"], arrays[f"slot.{n}.b"]) for n in sorted(slots)},
        )
    entries = Entries(
        weights=Weights(arrays["W"], arrays["b"]),
        outcomes=tuple(one and Outcome(**one) for one in values["outcomes"]),
        epochs=tuple(values["epochs"]),
        reached=tuple(values["reached"]),
        history=History(**numbered("history")),
        snapshots={int(i): shots for i, shots in numbered("snapshot").items()},
        bends={
            int(i): {int(epoch): value for epoch, value in bends.items()}
            for i, bends in values["curvatures"].items()
        },
    )
    return Standing(
        runs=tuple(Run(**run) for run in values["runs"]),
        place=Place(
            values["pass"],
            values["epoch"],
            values["batch"],
            tuple(values["alive"]),
            state,
        ),
        entries=entries,
        directions={int(i): found for i, found in numbered("direction").items()},
        due={int(i): epoch for i, epoch in values["due"].items()},
        done=values["done"],
        total=values["total"],
        seconds=values["seconds"],
    )
