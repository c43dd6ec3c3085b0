"""A λ path on disk: weights as safetensors, scores and proofs as Parquet, settings as JSON.

    settings.json          kind "path" and format; choice, chosen position, test score, data card
    path.parquet           one line a λ: proof, passes, status, score on the training rows
    held_out.parquet       one line a λ and fold: score on the rows that λ is chosen by
    weights.safetensors    W (P, K, D), b (P, K), scale, offset

Nothing in these files can run code when it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer import optimum
from onelayer.command import read_command, write_command
from onelayer.optimum import Certificate, Choice, Optimum, Score
from onelayer.path_record import PathRecord
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
from onelayer.run_folder import SETTINGS_FILE, staged_folder
from onelayer.scaling import Scaling

FORMAT = 1
PATH_FILE = "path.parquet"
HELD_OUT_FILE = "held_out.parquet"

CERTIFICATE = tuple(item.name for item in fields(Certificate))
SCORE = tuple(item.name for item in fields(Score))
Line = dict[str, Any]


def save_path(record: PathRecord, folder: Path | str) -> None:
    """Save a λ path as a folder, whole or not at all.

    Args:
        record: what to save.
        folder: where; an earlier run or path there is replaced.

    Raises:
        SaveError: when it cannot be written; nothing is left behind then.

    Example:
        >>> import tempfile
        >>> from onelayer.data import load
        >>> from onelayer.result import DataCard
        >>> path = optimum.solve_path(load("digits"), [1.0, 0.1])
        >>> card = DataCard("digits", "scikit-learn", tuple("0123456789"), (1, 8, 8), 1, 1, 1)
        >>> with tempfile.TemporaryDirectory() as place:
        ...     save_path(PathRecord(path, card), Path(place) / "path")
        ...     bool((load_path(Path(place) / "path").path.best.W == path.best.W).all())
        True
    """
    with staged_folder(Path(folder)) as staging:
        write_path_records(record, staging)


def write_path_records(record: PathRecord, folder: Path) -> None:
    """Write the four files of a λ path into an existing folder.

    Args:
        record: what to write.
        folder: an existing folder.

    Raises:
        OSError: when the disk refuses; `staged_folder` turns it into a sentence.
    """
    path = record.path
    arrays: dict[str, NDArray[Any]] = {
        # Exact: float32 is among the numbers of float64, and each line says what its W was.
        "W": np.stack([one.W for one in path.optima]),
        "b": np.stack([one.b for one in path.optima]),
        "scale": path.scaling.scale,
        "offset": path.scaling.offset,
    }
    write_arrays(folder / WEIGHTS_FILE, arrays)
    _write_lines(folder / PATH_FILE, map(_line_of, path.optima, path.train))
    scores = (
        {"position": i, "l2": one.l2, "fold": fold} | asdict(score)
        for i, (one, of_one) in enumerate(zip(path.optima, path.held_out, strict=True))
        for fold, score in enumerate(of_one)
    )
    _write_lines(folder / HELD_OUT_FILE, scores)
    settings = {
        "chosen": path.chosen,
        "choice": asdict(path.choice),
        "test": path.test and asdict(path.test),
        "folds": path.folds,
        "scaling": path.scaling.name,
        "data": write_card(record.data),
        "environment": dict(record.environment),
        "seconds": dict(path.seconds),
        "command": write_command(record.command),
    }
    write_settings(folder / SETTINGS_FILE, "path", FORMAT, settings)


def load_path(folder: Path | str) -> PathRecord:
    """Load a saved λ path.

    Args:
        folder: as written by `save_path`.

    Returns:
        The record as it was saved, weights bit for bit.

    Raises:
        SaveError: when a file is missing, damaged or of another kind or format.

    Example:
        >>> load_path("absent")
        Traceback (most recent call last):
        ...
        onelayer.errors.SaveError: absent should be a run folder, but settings.json is not there.
    """
    folder = Path(folder)
    settings = load_file(folder / SETTINGS_FILE, lambda path: read_settings(path, "path", FORMAT))
    lines = load_file(folder / PATH_FILE, _read_lines)
    train = load_file(folder / PATH_FILE, lambda _: tuple(map(_train_score, lines)))
    held_out = load_file(folder / HELD_OUT_FILE, lambda path: _read_scores(path, len(lines)))
    arrays = load_file(folder / WEIGHTS_FILE, read_arrays)
    optima = load_file(folder / WEIGHTS_FILE, lambda _: _optima(lines, arrays["W"], arrays["b"]))

    def gathered(_: Path) -> PathRecord:
        if settings["chosen"] not in range(len(optima)):
            raise ValueError(f"chosen is {settings['chosen']}, of {len(optima)} λ")
        path = optimum.Path(
            optima=optima,
            scaling=Scaling(settings["scaling"], arrays["scale"], arrays["offset"]),
            train=train,
            held_out=held_out,
            chosen=settings["chosen"],
            choice=Choice(**settings["choice"]),
            test=settings["test"] and Score(**settings["test"]),
            folds=settings["folds"],
            seconds=settings["seconds"],
        )
        return PathRecord(
            path,
            read_card(settings["data"]),
            settings["environment"],
            read_command(settings.get("command")),
        )

    return load_file(folder / SETTINGS_FILE, gathered)


def _line_of(one: Optimum, train: Score) -> Line:
    return (
        asdict(one.certificate)
        | {"status": one.status, "passes": one.passes, "seconds": one.seconds, "tol": one.tol}
        | {"dtype": str(one.W.dtype)}
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
