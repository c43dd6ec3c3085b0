"""What a run folder holds, of a result or of a λ path; nothing in its files can run code.

settings.json          kind ("runs" or "path"), format, data card, environment, command and:
  of a result          runs, outcomes, reported figures, gradient checks, certificates, curvatures
  of a path            choice, chosen position, test score, folds
weights.safetensors    W, b, scale, offset; of a result test_loss, confusion, snapshot.<position>,
                       reliability.<position> (rows, confidence, accuracy of each bin),
                       scale.<name> and offset.<name> of other scalings of a sweep
history.parquet        of a result, one line a run and epoch: run, setting, seed, epoch, measures
path.parquet           of a path, one line a λ: certificate, passes, status, score in training
held_out.parquet       of a path, one line a λ and fold: score on the rows that λ is chosen by
report.html, charts/   the page, drawn from these records alone
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from onelayer import solver
from onelayer.data.dataset import DataCard
from onelayer.data.scaling import Scaling
from onelayer.errors import SaveError
from onelayer.files.atomic import SETTINGS_FILE, staged_folder
from onelayer.files.lock import holder
from onelayer.files.provenance import Command, read_command
from onelayer.files.saved import Saved
from onelayer.model.evaluation import Reliability
from onelayer.model.model import Certificate, Model
from onelayer.objective.gradcheck import GradientCheck
from onelayer.solver import Choice, Score
from onelayer.solver.solver import Optimum
from onelayer.training.checkpoint import unfinished
from onelayer.training.result import Curvature, History, Outcome, ReportedFigures, Result
from onelayer.training.run import Run

WEIGHTS_FILE = "weights.safetensors"

Kind = Literal["runs", "path"]

T = TypeVar("T")


def kind_of(folder: Path | str) -> Kind:
    """Whether a folder holds the "runs" of a `Result` or a λ "path".

    Raises:
        SaveError: when it is no run folder, or its settings are damaged or of an unknown kind.

    Example:
        >>> kind_of("absent")
        Traceback (most recent call last):
        ...
        onelayer.errors.SaveError: absent is not a run folder: it has no settings.json.
    """
    return load_file(Path(folder) / SETTINGS_FILE, _read_kind)


@dataclass(frozen=True)
class Origin:
    """The command that made a run folder, what it ran on, and whether Ctrl-C ended it."""

    command: Command
    environment: Mapping[str, str]
    interrupted: bool


def saved_origin(folder: Path | str) -> Origin:
    """The command that made a run folder, of whatever kind it is.

    Raises:
        SaveError: when it is no run folder or was not made by a command.
    """
    origin = load_file(Path(folder) / SETTINGS_FILE, _read_origin)
    if origin is None:
        raise SaveError(
            f"{folder} has no command to repeat; it was made from Python or by an older version."
        )
    return origin


def _read_origin(path: Path) -> Origin | None:
    settings = json.loads(path.read_text(encoding="utf-8"))
    command = read_command(settings.get("command"))
    stopped = any(outcome["status"] == "interrupted" for outcome in settings.get("outcomes", ()))
    return None if command is None else Origin(command, settings["environment"], stopped)


def _read_kind(path: Path) -> Kind:
    kind = json.loads(path.read_text(encoding="utf-8")).get("kind")
    if kind not in get_args(Kind):
        raise ValueError(f"the kind {kind!r} is none of {', '.join(get_args(Kind))}")
    return kind  # type: ignore[no-any-return]


def save(record: Result | solver.Path, folder: Path) -> None:
    """Save a result or a λ path with its page; see `Saved.save`."""
    if isinstance(record, Result):
        save_result(record, folder, page=True)
        return
    with staged_folder(folder) as staging:
        write_path_records(record, staging)
        _write_page(record, staging)


def load(kind: type[Saved], folder: Path) -> Saved:
    """Load a record of that type; see `Saved.load`."""
    return load_path(folder) if issubclass(kind, solver.Path) else load_result(folder)


def _write_page(record: Saved, folder: Path) -> None:
    # Pages are drawn by a higher package, which is asked by name.
    importlib.import_module("onelayer.report").write_report(record, folder)


def load_file(path: Path, read: Callable[[Path], T]) -> T:
    """Read one file of a run folder; a SaveError in one sentence when it is missing or damaged."""
    if not path.is_file():
        raise SaveError(_absent(path))
    try:
        return read(path)
    except Exception as error:
        # Each format's reader has its own family of errors for damaged files.
        raise SaveError(
            f"{path} cannot be read ({error}); make it again or restore the file from a backup."
        ) from error


def _absent(path: Path) -> str:
    """Why a file of a run folder is not there."""
    folder = path.parent
    found = unfinished(folder) if path.name == SETTINGS_FILE else None
    if found is None:
        return f"{folder} is not a run folder: it has no {path.name}."
    writer = holder(folder)
    how = found.command or "train(…, checkpoint=Checkpoint(…, resume=True))"
    return (
        f"{folder} holds no result yet: {found.done} of {found.total} run-epochs are trained, "
        + (f"and {writer} is still training it." if writer else f"to resume: {how}")
    )


def _write_settings(folder: Path, kind: Kind, form: int, settings: Mapping[str, Any]) -> None:
    whole = {"kind": kind, "format": form} | dict(settings)
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")


def _load_settings(folder: Path, kind: Kind, form: int) -> dict[str, Any]:
    def read(path: Path) -> dict[str, Any]:
        found = _read_kind(path)
        if found != kind:
            raise ValueError(f"it is of the kind {found!r} and not {kind!r}")
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if settings.get("format") != form:
            raise ValueError(f"format {settings.get('format')!r} is not {form}")
        return settings

    return load_file(folder / SETTINGS_FILE, read)


def _write_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    from safetensors.numpy import save

    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    (folder / WEIGHTS_FILE).write_bytes(save(whole))


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors.numpy import load

    return dict(load(path.read_bytes()))


def _read_card(values: Mapping[str, Any]) -> DataCard:
    lists = ("class_names", "image_shape", "feature_names")
    tuples = {name: tuple(values[name]) for name in lists if values.get(name) is not None}
    return DataCard(**dict(values) | tuples)


PATH_FORMAT = 1

PATH_FILE = "path.parquet"

HELD_OUT_FILE = "held_out.parquet"

CERTIFICATE = tuple(item.name for item in fields(Certificate))

SCORE = tuple(item.name for item in fields(Score))

Line = dict[str, Any]


def write_path_records(path: solver.Path, folder: Path) -> None:
    """Write the four files of a λ path into an existing folder."""
    arrays: dict[str, NDArray[Any]] = {
        # Exact: float32 is among the numbers of float64, and each line says what its W was.
        "W": np.stack([model.W for model in path.models]),
        "b": np.stack([model.b for model in path.models]),
        "scale": path.scaling.scale,
        "offset": path.scaling.offset,
    }
    _write_arrays(folder, arrays)
    _write_lines(folder / PATH_FILE, map(_line_of, path.models, path.model_seconds, path.train))
    scores = (
        {"position": i, "l2": model.l2, "fold": fold} | asdict(score)
        for i, (model, of_one) in enumerate(zip(path.models, path.held_out, strict=True))
        for fold, score in enumerate(of_one)
    )
    _write_lines(folder / HELD_OUT_FILE, scores)
    settings = {
        "chosen": path.chosen,
        "choice": asdict(path.choice),
        "test": path.test and asdict(path.test),
        "folds": path.folds,
        "scaling": path.scaling.name,
        "data": asdict(path.data),
        "environment": dict(path.environment),
        "seconds": dict(path.seconds),
        "command": path.command and asdict(path.command),
    }
    _write_settings(folder, "path", PATH_FORMAT, settings)


def load_path(folder: Path | str) -> solver.Path:
    """The saved λ path, weights bit for bit; a SaveError for what is missing or damaged."""
    folder = Path(folder)
    settings = _load_settings(folder, "path", PATH_FORMAT)
    lines = load_file(folder / PATH_FILE, _read_lines)
    train = load_file(folder / PATH_FILE, lambda _: tuple(map(_train_score, lines)))
    held_out = load_file(folder / HELD_OUT_FILE, lambda path: _read_scores(path, len(lines)))
    arrays = load_file(folder / WEIGHTS_FILE, _read_arrays)
    optima = load_file(folder / WEIGHTS_FILE, lambda _: _optima(lines, arrays["W"], arrays["b"]))

    def gathered(_: Path) -> solver.Path:
        if settings["chosen"] not in range(len(optima)):
            raise ValueError(f"chosen is {settings['chosen']}, of {len(optima)} λ")
        return solver.Path.of_optima(
            optima,
            held_out,
            scaling=Scaling(settings["scaling"], arrays["scale"], arrays["offset"]),
            train=train,
            chosen=settings["chosen"],
            choice=Choice(**settings["choice"]),
            data=_read_card(settings["data"]),
            test=settings["test"] and Score(**settings["test"]),
            folds=settings["folds"],
            seconds=settings["seconds"],
            environment=settings["environment"],
            command=read_command(settings.get("command")),
        )

    return load_file(folder / SETTINGS_FILE, gathered)


def _line_of(model: Model, seconds: float, train: Score) -> Line:
    return (
        asdict(model.require_certificate())
        | {name: model.settings[name] for name in ("status", "passes")}
        | {"seconds": seconds, "tol": model.settings["tol"], "dtype": str(model.W.dtype)}
        | {f"train_{name}": value for name, value in asdict(train).items()}
    )


def _optima(
    lines: Sequence[Line], W: NDArray[np.floating], b: NDArray[np.float64]
) -> tuple[Optimum, ...]:
    return tuple(
        Optimum(
            W=weights.astype(line["dtype"]),
            b=bias,
            certificate=Certificate(**{name: line[name] for name in CERTIFICATE}),
            status=line["status"],
            passes=line["passes"],
            seconds=line["seconds"],
            tol=line["tol"],
        )
        for line, weights, bias in zip(lines, W, b, strict=True)
    )


def _train_score(line: Line) -> Score:
    return Score(**{name: line[f"train_{name}"] for name in SCORE})


def _read_scores(path: Path, positions: int) -> tuple[tuple[Score, ...], ...]:
    scores: list[list[Score]] = [[] for _ in range(positions)]
    for line in _read_lines(path):
        scores[line["position"]].append(Score(**{name: line[name] for name in SCORE}))
    if not all(scores):
        raise ValueError(f"it has scores for {sum(map(bool, scores))} of {positions} λ")
    return tuple(map(tuple, scores))


def _write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(lines)), path)


def _read_lines(path: Path) -> list[Line]:
    import pyarrow.parquet as pq

    lines: list[Line] = pq.read_table(path).to_pylist()
    return lines


RESULT_FORMAT = 3

HISTORY_FILE = "history.parquet"


def save_result(
    result: Result, folder: Path | str, *, page: bool = False, keep_checkpoints: bool = False
) -> None:
    """Save a result as a run folder, whole or not at all; see `Result.save`.

    Args:
        result: what to save.
        folder: where; an earlier run there is replaced.
        page: whether to draw the page as well.
        keep_checkpoints: whether checkpoints there stay; those of an interrupted result always do.
    """
    keep = keep_checkpoints or result.interrupted
    with staged_folder(Path(folder), keep_checkpoints=keep) as staging:
        write_records(result, staging)
        if page:
            _write_page(result, staging)


def write_records(result: Result, folder: Path) -> None:
    """Write the three files of a result into an existing folder."""
    _write_weights(result, folder)
    _write_history(result, folder / HISTORY_FILE)
    settings = {
        "runs": [run.as_dict() for run in result.runs],
        "outcomes": [asdict(outcome) for outcome in result.outcomes],
        "scaling": result.scaling.name,
        "other_scalings": {str(i): one.name for i, one in result.other_scalings.items()},
        "data": asdict(result.data),
        "reported": [asdict(figures) for figures in result.reported],
        "gradient_checks": [asdict(check) for check in result.gradient_checks],
        "certificates": [_finite(asdict(certificate)) for certificate in result.certificates],
        "optima": [asdict(certificate) for certificate in result.optima],
        "curvatures": {str(i): asdict(curvature) for i, curvature in result.curvatures.items()},
        "environment": dict(result.environment),
        "seconds": dict(result.seconds),
        "command": result.command and asdict(result.command),
    }
    _write_settings(folder, "runs", RESULT_FORMAT, settings)


def load_result(folder: Path | str) -> Result:
    """The saved result, weights bit for bit; see `Result.load`."""
    folder = Path(folder)
    settings = _load_settings(folder, "runs", RESULT_FORMAT)
    tensors = load_file(folder / WEIGHTS_FILE, _read_arrays)
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
        data=_read_card(settings["data"]),
        snapshots={int(n.removeprefix(prefix)): t for n, t in tensors.items() if prefix in n},
        reported=tuple(ReportedFigures(**figures) for figures in settings["reported"]),
        gradient_checks=tuple(GradientCheck(**check) for check in settings["gradient_checks"]),
        certificates=tuple(_certificate(values) for values in settings["certificates"]),
        optima=tuple(Certificate(**values) for values in settings["optima"]),
        curvatures={
            int(i): Curvature(tuple(c["epochs"]), tuple(c["values"]))
            for i, c in settings["curvatures"].items()
        },
        reliability={
            int(name.removeprefix("reliability.")): Reliability(t[0].astype(np.int64), t[1], t[2])
            for name, t in tensors.items()
            if name.startswith("reliability.")
        },
        environment=settings["environment"],
        seconds=settings["seconds"],
        command=read_command(settings.get("command")),
        other_scalings={
            int(i): Scaling(name, tensors[f"scale.{name}"], tensors[f"offset.{name}"])
            for i, name in settings.get("other_scalings", {}).items()
        },
    )


def _write_weights(result: Result, folder: Path) -> None:
    tensors = {
        "W": result.W,
        "b": result.b,
        "scale": result.scaling.scale,
        "offset": result.scaling.offset,
        "test_loss": result.test_loss,
        "confusion": result.confusion,
    } | {f"snapshot.{position}": shots for position, shots in result.snapshots.items()}
    for position, curve in result.reliability.items():
        bins = [curve.rows, curve.confidence, curve.accuracy]
        tensors[f"reliability.{position}"] = np.stack(bins).astype(np.float64)
    for other in result.other_scalings.values():
        tensors |= {f"scale.{other.name}": other.scale, f"offset.{other.name}": other.offset}
    _write_arrays(folder, tensors)


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
    """The gap of λ = 0 is infinite, which JSON cannot say: null stands for it."""
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
