"""A result on disk: weights as safetensors, history as Parquet, settings as JSON.

    settings.json          runs, outcomes, data card, figures, checks, environment, command, format
    history.parquet        one line a run and epoch: run, setting, seed, epoch, the measures
    weights.safetensors    W, b, scale, offset, test_loss, confusion, snapshot.<position>;
                           scale.<name> and offset.<name> of other scalings of a sweep

Nothing in these files can run code when it is loaded.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from onelayer.command import read_command, write_command
from onelayer.gradcheck import GradientCheck
from onelayer.optimum import Certificate
from onelayer.plan import Run
from onelayer.record_files import (
    WEIGHTS_FILE,
    load_file,
    read_arrays,
    read_card,
    read_settings,
    write_arrays,
    write_card,
    write_settings,
)
from onelayer.result import Curvature, History, Outcome, ReportedFigures, Result
from onelayer.run_folder import SETTINGS_FILE, staged_folder
from onelayer.scaling import Scaling

FORMAT = 2
HISTORY_FILE = "history.parquet"


def save_result(result: Result, folder: Path | str) -> None:
    """Save a result as a run folder, whole or not at all.

    Args:
        result: what to save.
        folder: where; an earlier run there is replaced. Checkpoints there are removed, unless
            the result is an interrupted one, which they can go on from.

    Raises:
        SaveError: when it cannot be written; nothing is left behind then.

    Example:
        >>> import tempfile
        >>> from onelayer import Run, load, train
        >>> result = train(load("digits"), [Run(learning_rate=0.1, epochs=1)])
        >>> with tempfile.TemporaryDirectory() as place:
        ...     save_result(result, Path(place) / "first")
        ...     bool((load_result(Path(place) / "first").W == result.W).all())
        True
    """
    with staged_folder(Path(folder), keep_checkpoints=result.interrupted) as staging:
        write_records(result, staging)


def write_records(result: Result, folder: Path) -> None:
    """Write the three files of a result into an existing folder.

    Args:
        result: what to write.
        folder: an existing folder.

    Raises:
        OSError: when the disk refuses; `staged_folder` turns it into a sentence.
    """
    _write_weights(result, folder / WEIGHTS_FILE)
    _write_history(result, folder / HISTORY_FILE)
    settings = {
        "runs": [run.as_dict() for run in result.runs],
        "outcomes": [asdict(outcome) for outcome in result.outcomes],
        "scaling": result.scaling.name,
        "other_scalings": {str(i): one.name for i, one in result.other_scalings.items()},
        "data": write_card(result.data),
        "reported": [asdict(figures) for figures in result.reported],
        "gradient_checks": [asdict(check) for check in result.gradient_checks],
        "certificates": [_finite(asdict(certificate)) for certificate in result.certificates],
        "optima": [asdict(certificate) for certificate in result.optima],
        "curvatures": {str(i): asdict(curvature) for i, curvature in result.curvatures.items()},
        "environment": dict(result.environment),
        "seconds": dict(result.seconds),
        "command": write_command(result.command),
    }
    write_settings(folder / SETTINGS_FILE, "runs", FORMAT, settings)


def load_result(folder: Path | str) -> Result:
    """Load a saved result.

    Args:
        folder: a run folder.

    Returns:
        The result as it was saved, weights bit for bit.

    Raises:
        SaveError: when a file is missing, damaged or of another format.

    Example:
        >>> load_result("absent")
        Traceback (most recent call last):
        ...
        onelayer.errors.SaveError: absent should be a run folder, but settings.json is not there.
    """
    folder = Path(folder)
    settings = load_file(folder / SETTINGS_FILE, lambda path: read_settings(path, "runs", FORMAT))
    tensors = load_file(folder / WEIGHTS_FILE, read_arrays)
    runs = tuple(Run(**run) for run in settings["runs"])
    history = load_file(folder / HISTORY_FILE, lambda path: _read_history(path, runs))
    prefix = "snapshot."
    return Result(
        runs=runs,
        outcomes=tuple(Outcome(**outcome) for outcome in settings["outcomes"]),
        W=tensors["W"],
        b=tensors["b"],
        scaling=Scaling(settings["scaling"], tensors["scale"], tensors["offset"]),
        history=history,
        test_loss=tensors["test_loss"],
        confusion=tensors["confusion"],
        data=read_card(settings["data"]),
        snapshots={int(n.removeprefix(prefix)): t for n, t in tensors.items() if prefix in n},
        reported=tuple(ReportedFigures(**figures) for figures in settings["reported"]),
        gradient_checks=tuple(GradientCheck(**check) for check in settings["gradient_checks"]),
        certificates=tuple(_certificate(values) for values in settings["certificates"]),
        optima=tuple(Certificate(**values) for values in settings["optima"]),
        curvatures={
            int(i): Curvature(tuple(c["epochs"]), tuple(c["values"]))
            for i, c in settings["curvatures"].items()
        },
        environment=settings["environment"],
        seconds=settings["seconds"],
        command=read_command(settings.get("command")),
        other_scalings={
            int(i): Scaling(name, tensors[f"scale.{name}"], tensors[f"offset.{name}"])
            for i, name in settings.get("other_scalings", {}).items()
        },
    )


def _write_weights(result: Result, path: Path) -> None:
    tensors = {
        "W": result.W,
        "b": result.b,
        "scale": result.scaling.scale,
        "offset": result.scaling.offset,
        "test_loss": result.test_loss,
        "confusion": result.confusion,
    } | {f"snapshot.{position}": shots for position, shots in result.snapshots.items()}
    for other in result.other_scalings.values():
        tensors |= {f"scale.{other.name}": other.scale, f"offset.{other.name}": other.offset}
    write_arrays(path, tensors)


def _write_history(result: Result, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    measured = np.isfinite(result.history.train_loss)
    run, epoch = np.nonzero(measured)
    columns: dict[str, Any] = {
        "run": run.astype(np.int32),
        "setting": [result.runs[i].name for i in run],
        "seed": np.array([result.runs[i].seed for i in run], np.int64),
        "epoch": epoch.astype(np.int32),
    }
    columns |= {name: getattr(result.history, name)[measured] for name in History.measures()}
    pq.write_table(pa.table(columns), path)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """The gap of λ = 0 is infinite, for which JSON has no word: null stands for it."""
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def _certificate(values: dict[str, Any]) -> Certificate:
    return Certificate(**values | {"gap": np.inf if values["gap"] is None else values["gap"]})


def _read_history(path: Path, runs: tuple[Run, ...]) -> History:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    history = History.empty(len(runs), max(run.epochs for run in runs))
    place = table["run"].to_numpy(), table["epoch"].to_numpy()
    for name in History.measures():
        getattr(history, name)[place] = table[name].to_numpy()
    return history
