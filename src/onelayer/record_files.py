"""What the files of every record on disk have in common: settings, arrays, and how they fail.

A folder of records holds settings.json, which says what kind it is, and arrays as safetensors.
Nothing in these files can run code when it is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from onelayer.checkpoints import unfinished
from onelayer.command import Command, read_command
from onelayer.errors import SaveError
from onelayer.result import DataCard
from onelayer.run_folder import SETTINGS_FILE
from onelayer.run_lock import holder

WEIGHTS_FILE = "weights.safetensors"

Kind = Literal["runs", "path"]
T = TypeVar("T")


def kind_of(folder: Path | str) -> Kind:
    """Tell what a folder holds: the runs of a `Result`, or a λ path.

    Args:
        folder: a run folder.

    Returns:
        "runs" or "path".

    Raises:
        SaveError: when it is no run folder, or its settings are damaged or of an unknown kind.

    Example:
        >>> kind_of("absent")
        Traceback (most recent call last):
        ...
        onelayer.errors.SaveError: absent should be a run folder, but settings.json is not there.
    """
    return load_file(Path(folder) / SETTINGS_FILE, _read_kind)


@dataclass(frozen=True)
class Origin:
    """How a run folder came about.

    Attributes:
        command: the command line that made it.
        environment: what that ran on.
        interrupted: whether Ctrl-C ended it.
    """

    command: Command
    environment: Mapping[str, str]
    interrupted: bool


def saved_origin(folder: Path | str) -> Origin:
    """Tell which command made a run folder, of whatever kind it is.

    Args:
        folder: a run folder.

    Returns:
        The command and its circumstances.

    Raises:
        SaveError: when it is no run folder or does not say which command made it.

    Example:
        >>> saved_origin("absent")
        Traceback (most recent call last):
        ...
        onelayer.errors.SaveError: absent should be a run folder, but settings.json is not there.
    """
    origin = load_file(Path(folder) / SETTINGS_FILE, _read_origin)
    if origin is None:
        raise SaveError(
            f"{folder} does not say which command made it; it was made from Python or by an older "
            "version."
        )
    return origin


def write_settings(path: Path, kind: Kind, form: int, settings: Mapping[str, Any]) -> None:
    """Write settings as JSON, headed by their kind and format.

    Args:
        path: where.
        kind: what the folder holds.
        form: number of the format of that kind.
        settings: plain values, all numbers finite.

    Raises:
        OSError: when the disk refuses.
    """
    whole = {"kind": kind, "format": form} | dict(settings)
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_settings(path: Path, kind: Kind, form: int) -> dict[str, Any]:
    """Read settings back.

    Args:
        path: as written by `write_settings`.
        kind: what the folder should hold.
        form: the only format that is understood.

    Returns:
        The settings.

    Raises:
        ValueError: when they are of another kind or format; `load_file` turns it into a sentence.
    """
    found = _read_kind(path)
    if found != kind:
        raise ValueError(f"it is of the kind {found!r} and not {kind!r}")
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if settings.get("format") != form:
        raise ValueError(f"format {settings.get('format')!r} is not {form}")
    return settings


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as safetensors.

    Args:
        path: where.
        arrays: by name.

    Raises:
        OSError: when the disk refuses.
    """
    from safetensors.numpy import save

    path.write_bytes(save({name: np.ascontiguousarray(a) for name, a in arrays.items()}))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read arrays back, bit for bit.

    Args:
        path: as written by `write_arrays`.

    Returns:
        The arrays, by name.
    """
    from safetensors.numpy import load

    return dict(load(path.read_bytes()))


def write_card(card: DataCard) -> dict[str, Any]:
    """A data card as plain values, fit for JSON; `read_card` gives it back."""
    return asdict(card)


def read_card(values: Mapping[str, Any]) -> DataCard:
    """The data card of plain values.

    Example:
        >>> card = DataCard("digits", "scikit-learn", ("0", "1"), (1, 8, 8), 100, 50, 50)
        >>> read_card(json.loads(json.dumps(write_card(card)))) == card
        True
    """
    shape = values["image_shape"] and tuple(values["image_shape"])
    features = values.get("feature_names")  # older records have none
    return DataCard(
        **dict(values)
        | {
            "class_names": tuple(values["class_names"]),
            "image_shape": shape,
            "feature_names": None if features is None else tuple(features),
        }
    )


def load_file(path: Path, read: Callable[[Path], T]) -> T:
    """Read one file of a run folder; whatever is wrong with it becomes one sentence.

    Args:
        path: of the file.
        read: reads it.

    Returns:
        What `read` returns.

    Raises:
        SaveError: when the file is missing, or `read` fails.
    """
    if not path.is_file():
        raise SaveError(_absent(path))
    try:
        return read(path)
    except Exception as error:
        # Each format's reader has its own family of errors for damaged files.
        raise SaveError(
            f"{path} should be a file that onelayer wrote, but it cannot be read ({error}); "
            "make it again or restore the file from a backup."
        ) from error


def _absent(path: Path) -> str:
    """Why a file of a run folder is not there."""
    folder = path.parent
    found = unfinished(folder) if path.name == SETTINGS_FILE else None
    if found is None:
        return f"{folder} should be a run folder, but {path.name} is not there."
    at_it = holder(folder)
    how = found.command or "train(…, checkpoint=Checkpoint(…, resume=True))"
    return (
        f"{folder} holds no result yet: {found.done} of {found.total} run-epochs are trained, "
        + (f"and {at_it} is at it." if at_it else f"to go on: {how}")
    )


def _read_origin(path: Path) -> Origin | None:
    settings = json.loads(path.read_text(encoding="utf-8"))
    command = read_command(settings.get("command"))
    stopped = any(one["status"] == "interrupted" for one in settings.get("outcomes", ()))
    return None if command is None else Origin(command, settings["environment"], stopped)


def _read_kind(path: Path) -> Kind:
    # Run folders that are older than paths do not say what they are.
    kind = json.loads(path.read_text(encoding="utf-8")).get("kind", "runs")
    if kind not in get_args(Kind):
        raise ValueError(f"the kind {kind!r} is none of {', '.join(get_args(Kind))}")
    return kind  # type: ignore[no-any-return]
