"""What a run folder holds, of a result, a λ path or a suite; nothing in its files can run code.

docs/reference/run-folder.md describes each file. The tables repeat the records for other programs;
onelayer reads no values from them.
"""

from __future__ import annotations

import importlib
import math
import shlex
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from onelayer import solver
from onelayer.data.dataset import DataCard, Splits
from onelayer.errors import SaveError, one_line
from onelayer.files.atomic import check_replaceable, staged_folder, writing
from onelayer.files.lock import holder
from onelayer.files.manifest import (
    HEADS_FILE,
    HELD_OUT_FILE,
    HISTORY_FILE,
    MANIFEST_FILE,
    PAGE_FILE,
    PATH_FILE,
    RECORDS,
    SETTINGS_FILE,
    SHOTS_FILE,
    WEIGHTS_FILE,
    Manifest,
    read_listed,
    read_manifest,
)
from onelayer.files.provenance import Command
from onelayer.files.records import Arrays, check_sizes, from_plain, read_json, to_plain, write_json
from onelayer.files.saved import Saved
from onelayer.files.tensors import unseal, write_sealed
from onelayer.model.calibration import Calibration
from onelayer.model.certificate import Certificate
from onelayer.model.evaluation import Mistakes
from onelayer.solver.selection import Score
from onelayer.solver.solver import Status
from onelayer.training.checkpoint import data_fingerprint, differences, unfinished
from onelayer.training.result import History, Result
from onelayer.training.run import AUTO
from onelayer.training.suite import Suite

WEIGHTS_KIND, FORMAT = "onelayer.run", 4
Kind = Literal["runs", "path", "suite"]
KINDS: dict[Kind, type[Any]] = {"runs": Result, "path": solver.Path, "suite": Suite}
T = TypeVar("T")
S = TypeVar("S", bound=Saved)


@dataclass(frozen=True)
class Origin:
    """The command that made a run folder, what it ran on, and whether Ctrl-C ended it."""

    command: Command
    environment: Mapping[str, str]
    interrupted: bool


def kind_of(folder: Path | str) -> Kind:
    """Whether a folder holds "runs" of a `Result`, a λ "path" or a "suite"; else `SaveError`."""
    content, place = _read_run(Path(folder), (SETTINGS_FILE,)), Path(folder) / SETTINGS_FILE
    kind: Kind = _read_part(place, content, _read_settings)["kind"]
    return kind


def load_any(folder: Path | str) -> Result | solver.Path | Suite:
    """Load what a run folder holds; `SaveError` where it holds no run."""
    record: Result | solver.Path | Suite = load_records(KINDS[kind_of(folder)], folder)
    return record


def saved_origin(folder: Path | str) -> Origin:
    """The command that made a run folder, of whatever kind; `SaveError` where there is none."""
    folder = Path(folder)

    def read(content: bytes) -> Origin | None:
        settings = _read_settings(content)
        if settings["command"] is None:
            return None
        command = from_plain(Command, settings["command"], place="command")
        environment = from_plain(dict[str, str], settings["environment"], place="environment")
        manifest = read_manifest(folder)
        return Origin(command, environment, manifest is None or not manifest.finished)

    origin = _read_part(folder / SETTINGS_FILE, _read_run(folder, (SETTINGS_FILE,)), read)
    if origin is None:
        raise SaveError(
            f"{folder} has no command to repeat; it was made from Python or by an older version."
        )
    return origin


def save_records(
    record: Saved,
    folder: Path | str,
    *,
    overwrite: bool = False,
    begun: bool = False,
    further: bool = False,
    data: Splits | None = None,
) -> None:
    """Save a record as a run folder without a page, all or nothing; see `check_replaceable`."""
    folder = Path(folder)
    with writing(folder):
        check_replaceable(folder, overwrite=overwrite, begun=begun)
        made_from = {} if data is None else data_fingerprint(data)
        manifest = Manifest(not record.interrupted, {}, further, made_from)
        with staged_folder(folder, manifest) as staging:
            _write_records(record, staging)


def check_finished(folder: Path, data: Splits) -> None:
    """Raise `SaveError` unless a finished run is whole and was made from these data."""
    load_records(KINDS[kind_of(folder)], folder)
    manifest = read_manifest(folder)
    if manifest is None or not manifest.data:
        return
    if changed := "; ".join(differences({"data": manifest.data}, {"data": data_fingerprint(data)})):
        raise SaveError(
            f"{folder} holds a finished run of other data: {changed}. Pass --overwrite to replace "
            "it, or name another folder."
        )


def draw_page(record: Saved, folder: Path | str) -> None:
    """Draw the page of a saved record; a `SaveError` leaves its records as they were."""
    folder = Path(folder)
    try:
        with staged_folder(folder, keeps=RECORDS.__contains__) as staging:
            # Pages are drawn by a higher package, which is asked by name.
            importlib.import_module("onelayer.report.page").write_report(record, staging)
    except Exception as error:
        cause = error.__cause__ or error  # without the advice of a SaveError
        reason = one_line(getattr(cause, "strerror", None) or cause).rstrip(".")
        raise SaveError(
            f"the page of {folder} could not be drawn ({reason}). The run is saved; to draw its "
            f"page: onelayer report {shlex.quote(str(folder))}"
        ) from error


def add_calibration(folder: Path, calibration: Calibration) -> bool:
    """Add to a run folder what calibrates a model of it; return whether its page was drawn anew.

    It takes the place of an earlier one of the same model. A folder without a page gets none.
    """
    with writing(folder):
        settings = _read_settings(_read_run(folder, (SETTINGS_FILE,))[SETTINGS_FILE])
        others = (of for of in settings.get("calibrations", ()) if of["model"] != calibration.model)
        settings["calibrations"] = [*others, to_plain(calibration)]
        with staged_folder(folder, keeps=lambda name: name != SETTINGS_FILE) as staging:
            _write_settings(settings, staging)
    manifest = read_manifest(folder)
    if has_page := manifest is not None and PAGE_FILE in manifest.files:
        draw_page(load_any(folder), folder)
    return has_page


def load_records(kind: type[S], folder: Path | str) -> S:
    """Load a record of that type, weights bit for bit; see `Saved.load`."""
    folder, wanted = Path(folder), _kind_of(kind)
    contents = _read_run(folder, RECORDS)
    settings = _read_part(folder / SETTINGS_FILE, contents, _read_settings)
    place = folder / WEIGHTS_FILE
    arrays = _read_part(place, contents, lambda raw: unseal(raw, WEIGHTS_KIND, str(FORMAT))[1])

    def read(_: bytes) -> S:
        if settings["kind"] != wanted:
            raise ValueError(f"it is of the kind {settings['kind']!r} and not {wanted!r}")
        own = {name: value for name, value in settings.items() if name not in ("kind", "format")}
        record = from_plain(kind, own, arrays)
        if isinstance(record, solver.Path):
            check_sizes(_path_sizes(record))
        elif isinstance(record, Suite):
            check_sizes(_suite_sizes(record))
        elif isinstance(record, Result):
            check_sizes(_result_sizes(record))
        return record

    return _read_part(folder / SETTINGS_FILE, contents, read)


def weights_digest(folder: Path) -> str:
    """The SHA-256 of the weights of a run folder."""
    return sha256(_read_run(folder, (WEIGHTS_FILE,))[WEIGHTS_FILE]).hexdigest()


def _read_run(folder: Path, names: Container[str]) -> dict[str, bytes]:
    contents = read_listed(folder, names.__contains__)
    if contents is None or (SETTINGS_FILE in names and SETTINGS_FILE not in contents):
        raise SaveError(_absent(folder))
    return contents


def _read_part(path: Path, contents: Mapping[str, bytes], read: Callable[[bytes], T]) -> T:
    """Read one file of a run folder; a `SaveError` in one sentence when it is not valid."""
    try:
        return read(contents[path.name])
    except Exception as error:
        # Each format's reader has its own family of errors for damaged files.
        reason = "the manifest lacks it" if isinstance(error, KeyError) else one_line(error)
        raise SaveError(
            f"{path} cannot be read ({reason.rstrip('.')}); make it again or restore the file from "
            "a backup."
        ) from error


def _absent(folder: Path) -> str:
    """Why a folder holds no run."""
    found = unfinished(folder)
    if found is None:
        return f"{folder} is not a run folder: it has no {MANIFEST_FILE}."
    writer = holder(folder)
    how = found.command or f"{found.verb}(…, checkpoint=Checkpoint(…, resume=True))"
    return f"{folder} holds no result yet, {found.progress}, " + (
        f"and {writer} is still at work on it." if writer else f"to resume: {how}"
    )


def _kind_of(kind: type[Saved]) -> Kind:
    return next(name for name, known in KINDS.items() if issubclass(kind, known))


def _read_settings(content: bytes) -> dict[str, Any]:
    settings = from_plain(dict[str, Any], read_json(content))
    if (kind := settings.get("kind")) not in get_args(Kind):
        raise ValueError(f"the kind {kind!r} is none of {', '.join(get_args(Kind))}")
    if (form := settings.get("format")) != FORMAT:
        raise ValueError(f"format {form!r} is not {FORMAT}")
    return settings


@dataclass(frozen=True)
class _Solved:
    """What the settings of a model of a path say."""

    l2: float
    status: Status
    passes: int
    tol: float


def _path_sizes(path: solver.Path) -> Iterator[tuple[str, Any, Any]]:
    """Name, size and expected size of what must fit together in a path."""
    for i, model in enumerate(path.models):
        said = {item.name: model.settings.get(item.name) for item in fields(_Solved)}
        from_plain(_Solved, said, place=f"models.{i}.settings")
        yield f"models.{i}.certificate", model.certificate is None, False
        yield from _proof_sizes(model.require_certificate())
    for name in ("train", "held_out", "model_seconds"):
        yield name, len(getattr(path, name)), len(path.models)
    yield "chosen", path.chosen in range(len(path.models)), True
    for of_one in path.held_out:
        yield "held_out", len(of_one), max(path.folds, 1)
    if path.mistakes is not None:
        yield from _mistake_sizes(path.mistakes, path.data, path.models[0].features)
    yield from _score_sizes(chain(path.train, *path.held_out, filter(None, [path.test])))


def _score_sizes(scores: Iterable[Score]) -> Iterator[tuple[str, Any, Any]]:
    for score in scores:
        yield "accuracy", 0.0 <= score.accuracy <= 1.0 or math.isnan(score.accuracy), True
        yield "number of rows", score.rows >= 0, True


def _suite_sizes(suite: Suite) -> Iterator[tuple[str, Any, Any]]:
    """Name, size and expected size of what must fit together in a suite."""
    yield "heads", len(set(suite.names)), len(suite.heads)
    yield "heads", len(suite.heads) in range(1, suite.sets + 1), True
    for i, head in enumerate(suite.heads):
        place = f"heads.{i}"
        yield f"{place}.chosen", head.chosen in range(len(head.solutions)), True
        yield f"{place}.model.class_names", head.model.class_names, suite.data.class_names
        if not head.model.settings.get("refit"):
            yield f"{place}.model.certificate", head.model.certificate, head.best.certificate
        for one in head.solutions:
            yield f"{place}.held_out", len(one.held_out), max(suite.folds, 1)
            yield from _proof_sizes(one.certificate)
            yield from _score_sizes((one.train, *one.held_out, head.test))
        for few in head.few_shots:
            sizes = [few.repeats, *map(len, few.held_out), len(few.certificates)]
            yield f"{place}.few_shots", sizes, [max(few.repeats, 1)] * (2 + len(few.l2s))
            yield f"{place}.few_shots.chosen", few.chosen in range(len(few.l2s)), True
            yield from _score_sizes((*few.test, *chain(*few.held_out)))


def _result_sizes(record: Result) -> Iterator[tuple[str, Any, Any]]:
    """Name, size and expected size of what must fit together in a result."""
    runs, R, K, D = record.runs, len(record.runs), len(record.data.class_names), record.W.shape[-1]
    C = 0 if record.data.many_labels else K
    shapes = {"W": (R, K, D), "b": (R, K), "test_loss": (R,), "confusion": (R, C, C)}
    for name, shape in shapes.items():
        yield name, getattr(record, name).shape, shape
    if record.validation_scores is not None:
        yield "validation_scores", record.validation_scores.shape, (R,)
    kind = "float64" if record.W.dtype == np.float64 else "float32"
    for name in ("W", "b"):
        part = getattr(record, name)
        yield f"type of {name}", part.dtype.name, kind
        yield name, "finite" if np.isfinite(part).all() else "not finite", "finite"
    yield "smallest count of confusion", min(record.confusion.min(initial=0), 0), 0
    for name in History.measures():
        epochs = max((run.epochs for run in runs), default=0)
        yield f"history.{name}", getattr(record.history, name).shape, (R, epochs + 1)
    for scaling in (record.scaling, *record.other_scalings.values()):
        maps = (scaling.scale, scaling.offset, scaling.low, scaling.high)
        sizes = [part.shape for part in maps if part is not None]
        yield "scaling", sizes, [(D,)] * len(sizes)
    if record.data.image_shape is not None:
        yield "data.image_shape", math.prod(record.data.image_shape), D
    names = record.data.feature_names
    yield "data.feature_names", None if names is None else len(names), None if names is None else D
    yield "outcomes", len(record.outcomes), R
    unset = [AUTO in (run.learning_rate, run.batch_size) for run in runs]
    yield "runs", any(unset), False
    for proof in (*record.certificates, *record.optima):
        yield from _proof_sizes(proof)
    yield "certificates", len(record.certificates), R if record.certificates else 0
    for name in ("snapshots", "curvatures", "reliability", "other_scalings", "mistakes"):
        yield name, [i for i in getattr(record, name) if i >= R], []
    for i, shots in record.snapshots.items():
        yield "snapshots", shots.shape, (runs[i].epochs + 1, K, D)
    for curve in record.reliability.values():
        parts = (curve.rows, curve.confidence, curve.accuracy)
        yield "reliability", [part.shape for part in parts], [(len(curve.rows),)] * 3
    for mistakes in record.mistakes.values():
        yield from _mistake_sizes(mistakes, record.data, D)
    for run, outcome in zip(runs, record.outcomes, strict=True):
        yield "outcomes", outcome.epochs, min(max(outcome.epochs, 0), run.epochs)


def _mistake_sizes(mistakes: Mistakes, card: DataCard, D: int) -> Iterator[tuple[str, Any, Any]]:
    n, K = len(mistakes.rows), len(card.class_names)
    for name in ("true", "predicted", "confidence"):
        yield f"mistakes.{name}", getattr(mistakes, name).shape, (n,)
    for name in ("true", "predicted"):
        yield f"mistakes.{name}", [k for k in getattr(mistakes, name) if not 0 <= k < K], []
    yield "mistakes.ids", n if mistakes.ids is None else len(mistakes.ids), n
    if mistakes.images is not None:
        yield "mistakes.images", mistakes.images.shape, (n, D)
        yield "data.image_shape", card.image_shape is None, False


def _proof_sizes(proof: Certificate) -> Iterator[tuple[str, Any, Any]]:
    yield "certificate", (proof.l2 >= 0.0, proof.cost > 0.0, proof.gap >= 0.0), (True,) * 3


def _write_records(record: Saved, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays: Arrays = {}
    settings = {"kind": _kind_of(type(record)), "format": FORMAT} | to_plain(record, arrays)
    content = BytesIO()
    write_sealed(content, WEIGHTS_KIND, str(FORMAT), {}, arrays)
    (folder / WEIGHTS_FILE).write_bytes(content.getvalue())
    for name, columns in _tables(record).items():
        with (folder / name).open("wb") as file:  # pyarrow opens no names that are not UTF-8
            pq.write_table(pa.table(columns), file)
    _write_settings(settings, folder)


def _write_settings(settings: Mapping[str, Any], folder: Path) -> None:
    (folder / SETTINGS_FILE).write_text(write_json(settings, indent=2) + "\n", encoding="utf-8")


def _tables(record: Any) -> dict[str, dict[str, Any]]:
    if isinstance(record, Result):
        return {HISTORY_FILE: _history_columns(record)}
    if isinstance(record, Suite):
        return _suite_tables(record)
    models = [
        asdict(model.require_certificate())
        | {name: model.settings[name] for name in ("status", "passes")}
        | {"seconds": seconds, "tol": model.settings["tol"], "dtype": str(model.W.dtype)}
        | {f"train_{name}": value for name, value in asdict(train).items()}
        for model, seconds, train in zip(
            record.models, record.model_seconds, record.train, strict=True
        )
    ]
    scores = [
        {"position": i, "l2": model.l2, "l1": model.l1, "fold": fold} | asdict(score)
        for i, (model, of_one) in enumerate(zip(record.models, record.held_out, strict=True))
        for fold, score in enumerate(of_one)
    ]
    return {PATH_FILE: _columns(models), HELD_OUT_FILE: _columns(scores)}


def _suite_tables(suite: Suite) -> dict[str, dict[str, Any]]:
    ranks = {head.name: rank for rank, head in enumerate(suite.ranking, 1)}
    heads, solutions, scores = [], list[dict[str, Any]](), list[dict[str, Any]]()
    few_shots = [
        {"set": head.name, "shots": few.shots, "fraction": few.fraction, "rows": few.rows}
        | {"repeat": repeat, "l2": few.l2}
        | {f"test_{name}": value for name, value in asdict(test).items()}
        for head in suite.heads
        for few in head.few_shots
        for repeat, test in enumerate(few.test)
    ]
    for head in suite.heads:
        low, high = head.test_interval
        heads.append(
            {"set": head.name, "rank": ranks[head.name], "features": head.model.features}
            | {"dtype": head.dtype, "l2": head.l2, "seconds": head.seconds}
            | {f"test_{name}": value for name, value in asdict(head.test).items()}
            | {"test_accuracy_low": low, "test_accuracy_high": high}
        )
        for i, one in enumerate(head.solutions):
            solutions.append(
                {"set": head.name, "chosen": i == head.chosen}
                | asdict(one.certificate)
                | {"status": one.status, "passes": one.passes, "seconds": one.seconds}
                | {f"train_{name}": value for name, value in asdict(one.train).items()}
            )
            scores += [
                {"set": head.name, "position": i, "l2": one.l2, "fold": fold} | asdict(score)
                for fold, score in enumerate(one.held_out)
            ]
    tables = {HEADS_FILE: heads, PATH_FILE: solutions, HELD_OUT_FILE: scores}
    tables |= {SHOTS_FILE: few_shots} if few_shots else {}
    return {name: _columns(lines) for name, lines in tables.items()}


def _columns(lines: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [line[name] for line in lines] for name in lines[0]}


def _history_columns(result: Result) -> dict[str, Any]:
    measured = np.isfinite(result.history.train_loss)
    run, epoch = np.nonzero(measured)
    return {
        "run": run.astype(np.int32),
        "setting": [result.runs[i].name for i in run],
        "seed": np.array([result.runs[i].seed for i in run], np.int64),
        "epoch": epoch.astype(np.int32),
    } | {name: getattr(result.history, name)[measured] for name in History.measures()}
