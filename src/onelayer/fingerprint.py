"""What a checkpoint's bits depend on, and how two of those differ in words.

A checkpoint continues the same training only with the same rows, settings, arithmetic and versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from onelayer.data import Dataset, Splits
from onelayer.engines import Engine
from onelayer.plan import Run
from onelayer.stored import stored_rows

# Features up to this size are summed whole; of larger ones, so many rows spread evenly.
WHOLE_BYTES = 1 << 28
SAMPLED_ROWS = 4096
_BLOCK_BYTES = 1 << 24


def made_of(splits: Splits, runs: Sequence[Run], engine: Engine, **choices: Any) -> dict[str, Any]:
    """All that the bits of a training depend on, as plain values.

    Args:
        splits: the data.
        runs: the settings as given.
        engine: what does the arithmetic. The native engine's threads are left out, which change
            no bit, and so is the number of processes, so that training can go on with the
            machines that are left: to rounding then, not to the bit.
        **choices: what else was chosen.

    Returns:
        What `differences` compares.
    """
    from importlib.metadata import version  # its own imports take 30 ms

    arithmetic = {"onelayer": version("onelayer"), "numpy": np.__version__} | engine.describe()
    arithmetic.pop("processes", None)
    if engine.name == "native":
        arithmetic.pop("threads", None)
    given = {"runs": [run.as_dict() for run in runs]}
    return {"data": fingerprint(splits)} | given | choices | arithmetic


def fingerprint(splits: Splits) -> dict[str, Any]:
    """Sizes and sums of the three sets of rows, as plain values.

    Labels are summed whole. So are features up to 256 MiB; of larger ones 4096 rows are, spread
    evenly from the first to the last, so that a set of a terabyte is not read for it.

    Args:
        splits: the data.

    Returns:
        For each set its rows, features, classes, dtype and a sum; and for rows that stay in their
        files a sum of the blocks that they are shuffled by.

    Example:
        >>> d = Dataset(np.eye(3), np.array([0, 1, 0]), ("a", "b"))
        >>> found = fingerprint(Splits(d, d, d, name="made", source="made in memory"))
        >>> found["training"]["rows"], found["training"]["sum"] == found["test"]["sum"]
        (3, True)
    """
    sets = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    return {
        role: {
            "rows": dataset.rows,
            "features": dataset.features,
            "classes": list(dataset.class_names),
            "dtype": dataset.X.dtype.name,
            "sum": _sum(dataset),
            "blocks": _blocks(dataset),
        }
        for role, dataset in sets.items()
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Say what is not as it was, the first difference of each part.

    Args:
        before: what a checkpoint was made of: "runs" as a list of settings, "data" as
            `fingerprint` gives it, and further plain values by their names.
        now: what it would be continued with, likewise.

    Yields:
        Half sentences: "run 2's l2 was 0.1 and is 0.2".

    Example:
        >>> list(differences({"dtype": "float32"}, {"dtype": "float64"}))
        ['the dtype was float32 and is float64']
    """
    for part in {**before, **now}:
        one, other = before.get(part), now.get(part)
        if one == other:
            continue
        if part == "runs" and one and other:
            yield _of_runs(one, other)
        elif part == "data" and one and other:
            yield _of_data(one, other)
        else:
            yield f"the {part.replace('_', ' ')} was {_word(one)} and is {_word(other)}"


def _of_runs(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> str:
    if len(before) != len(now):
        return f"there were {len(before)} runs and are {len(now)}"
    changed = [
        f"run {number}'s {name} was {_word(one.get(name))} and is {_word(other.get(name))}"
        for number, (one, other) in enumerate(zip(before, now, strict=True))
        for name in {**one, **other}
        if one.get(name) != other.get(name) and name != "name"
    ]
    if not changed:
        return "the names of the runs are others"
    more = f" ({len(changed) - 1} more settings differ)" if len(changed) > 1 else ""
    return changed[0] + more


def _of_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    for role, one in before.items():
        for what, was in one.items():
            value = now[role][what]
            if was == value:
                continue
            if what == "sum":
                return f"the values of the {role} rows are others"
            if what == "blocks":
                return f"the {role} rows lie in files in another way, and are shuffled in another"
            if what == "classes":
                return f"the classes of the {role} rows are others"
            if what == "rows":
                return f"the {role} rows were {was} and are {value}"
            return f"the {what} of the {role} rows was {was} and is {value}"
    return "the data are others"


def _word(value: Any) -> str:
    return "not set" if value is None else str(value)


def _blocks(dataset: Dataset) -> str | None:
    stored = stored_rows(dataset.X)
    if stored is None:
        return None
    return hashlib.sha256(np.append(stored.blocks, stored.window_rows).tobytes()).hexdigest()


def _sum(dataset: Dataset) -> str:
    digest = hashlib.sha256(dataset.y.tobytes())
    row_bytes = dataset.features * dataset.X.dtype.itemsize
    if dataset.rows * row_bytes <= WHOLE_BYTES:
        step = max(1, _BLOCK_BYTES // row_bytes)
        for start in range(0, dataset.rows, step):
            digest.update(np.ascontiguousarray(dataset.X[start : start + step]).tobytes())
    else:
        chosen = np.linspace(0, dataset.rows - 1, min(dataset.rows, SAMPLED_ROWS)).astype(np.int64)
        for start in range(0, len(chosen), 64):
            digest.update(np.ascontiguousarray(dataset.X[chosen[start : start + 64]]).tobytes())
    return digest.hexdigest()
