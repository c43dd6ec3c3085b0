"""Which model a user means: a model's file, a run folder, or one setting of a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onelayer.errors import SettingsError
from onelayer.model import Model
from onelayer.model_files import load_model
from onelayer.path_files import load_path
from onelayer.record_files import kind_of
from onelayer.result import Result
from onelayer.result_files import load_result
from onelayer.run_folder import SETTINGS_FILE


@dataclass(frozen=True, eq=False)
class ChosenModel:
    """A model, and in words which of several it is; the words are empty where there is but one."""

    model: Model
    words: str = ""


def open_model(named: str) -> ChosenModel:
    """Open the model that a user names.

    Args:
        named: a file that `save_model` wrote; a run folder, of which the run with the best
            validation accuracy is taken, or of a λ path the chosen λ; or FOLDER:SETTING, where
            SETTING is a setting's name ("λ=0.1, η=0.01"; in a path "λ=0.1") or the position of a
            run or λ, from 0.

    Returns:
        The model, and which it is.

    Raises:
        SaveError: when there is no such file or folder, or it is damaged.
        SettingsError: when the folder has no such setting; the names that it has are listed.

    Example:
        >>> open_model("absent.safetensors")
        Traceback (most recent call last):
        ...
        onelayer.errors.SaveError: absent.safetensors should be a model file, but it is not there.
    """
    folder, setting = _parted(named)
    if not folder.is_dir():
        return ChosenModel(load_model(named))
    if kind_of(folder) == "path":
        return _of_path(folder, setting)
    return _of_result(folder, setting)


def _parted(named: str) -> tuple[Path, str]:
    """The folder or file, and the setting: what stands behind a colon that ends a run folder."""
    colons = [i for i, letter in enumerate(named) if letter == ":"]
    for end in [len(named), *colons]:
        if (Path(named[:end]) / SETTINGS_FILE).is_file():
            return Path(named[:end]), named[end + 1 :]
    return Path(named), ""


def _of_result(folder: Path, setting: str) -> ChosenModel:
    result = load_result(folder)
    names = [run.name for run in result.runs]
    positions = _positions(folder, setting, names)
    position = _best(result, positions)
    words = ""
    if len(names) > 1:
        run, accuracy = result.runs[position], result.validation_accuracy[position]
        words = f"{run.name}, seed {run.seed}"
        if len(positions) > 1:
            words += f": the best of {len(positions)} runs by validation accuracy, {accuracy:.2%}"
    return ChosenModel(Model.from_result(result, position), words)


def _of_path(folder: Path, setting: str) -> ChosenModel:
    record = load_path(folder)
    path = record.path
    names = [f"λ={optimum.l2:g}" for optimum in path.optima]
    position = path.chosen
    if setting:
        position = _positions(folder, setting, names)[0]
    words = ""
    if len(names) > 1:
        how = f": chosen by {path.choice.by}, rule {path.choice.rule}"
        words = names[position] + ("" if setting else how)
    return ChosenModel(Model.from_path(record, position), words)


def _positions(folder: Path, setting: str, names: list[str]) -> list[int]:
    """Positions that a setting means: those of its name, or the one that it numbers."""
    if not setting:
        return list(range(len(names)))
    found = [i for i, name in enumerate(names) if _bare(name) == _bare(setting)]
    if not found and setting.isdecimal() and int(setting) < len(names):
        found = [int(setting)]
    if not found:
        known = "; ".join(dict.fromkeys(names))
        raise SettingsError(
            f"{folder} has no setting {setting!r}; name one of: {known}; or a position from 0 to "
            f"{len(names) - 1}."
        )
    return found


def _bare(name: str) -> str:
    return name.replace(" ", "").casefold()


def _best(result: Result, positions: list[int]) -> int:
    """Of equal accuracies the first counts, and one that was never measured is below all."""
    accuracies = np.nan_to_num(result.validation_accuracy[positions], nan=-1.0)
    return positions[int(np.argmax(accuracies))]
