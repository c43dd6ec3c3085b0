"""Damaged records, also with a sum that fits: one sentence, never another error."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onelayer.errors import OnelayerError, SaveError
from onelayer.files.manifest import CHECKPOINTS
from onelayer.files.provenance import Command
from onelayer.solver import solve_path
from onelayer.training.checkpoint import Checkpoint
from onelayer.training.result import Result
from onelayer.training.run_folder import load_records, save_records, saved_origin
from onelayer.training.sweep import sweep
from tests.examples import few, tries
from tests.made_data import make_splits
from tests.training.damage import damage_bytes, damage_json, damage_sealed, reseal, seal
from tests.training.resuming import (
    WITH_STATE,
    Killed,
    assert_same,
    killed_after,
    trained,
    undisturbed,
)

CASES = tries(150)

ENDED = {"status": "interrupted", "epochs": 1, "message": ""}

# Cursors between two passes.
ALL_DONE = {"pass_index": 2, "epoch": 0, "batch": 0, "alive": [], "state": None}
AT_START = ALL_DONE | {"pass_index": 0}


def in_one_sentence(work: Callable[[], object]) -> bool:
    """Whether the work succeeds; if not, it says why on one line."""
    try:
        work()
    except OnelayerError as error:
        said = str(error)
    else:
        return True
    assert "\n" not in said
    return False


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with two checkpoints of a training that was killed."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.raises(Killed), killed_after(4):
        trained(make_splits(), WITH_STATE, checkpoint=Checkpoint(folder, every=0))
    return folder


def resume(folder: Path, damage: Callable[[bytes], bytes], to: Path) -> Any:
    """Resume with a damaged newest checkpoint and the one before it."""
    before, newest = sorted((folder / CHECKPOINTS).iterdir())
    (to / CHECKPOINTS).mkdir(parents=True)
    (to / CHECKPOINTS / before.name).write_bytes(before.read_bytes())
    (to / CHECKPOINTS / newest.name).write_bytes(damage(newest.read_bytes()))
    kept = Checkpoint(to, every=1e9, resume=True)
    return trained(make_splits(), WITH_STATE, checkpoint=kept)


@pytest.mark.parametrize("seed", few(1, range(15)))
def test_a_damaged_checkpoint_never_ends_in_another_error(
    seed: int, checkpoints: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    for i in range(CASES // 15):
        in_one_sentence(
            lambda to=tmp_path / str(i): resume(  # type: ignore[misc]
                checkpoints, lambda content: damage_sealed(content, rng), to
            )
        )


def forged(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """A checkpoint with another state and a sum that fits."""

    def forge(content: bytes) -> bytes:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        state = json.loads(header["__metadata__"]["state"])
        change(state)
        header["__metadata__"]["state"] = json.dumps(state)
        text = json.dumps(header, separators=(",", ":")).encode()
        return seal(len(text).to_bytes(8, "little") + text + content[8 + length :])

    return forge


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("cursor"), "its cursor is missing"),
        (lambda s: s.pop("due"), "its due is missing"),
        (lambda s: s.update(extra=1), "unknown to this onelayer"),
        (lambda s: s["epochs"].append(1), "its epochs should be 3, but it is 4"),
        (lambda s: s["reached"].__setitem__(0, 99), "its reached should be"),
        (lambda s: s["epochs"].__setitem__(0, "1"), "its epochs.0 should be a whole number"),
        (lambda s: s["cursor"].update(pass_index=2), "its cursor.pass_index should be"),
        (lambda s: s["cursor"].update(epoch=-1), "its cursor.epoch should be"),
        (lambda s: s["cursor"].update(batch=10**6), "its cursor.batch should be"),
        (lambda s: s["cursor"].update(alive=[]), "its cursor.alive should be"),
        (lambda s: s["cursor"].update(ALL_DONE), "its outcomes.0 should be True"),
        (lambda s: s.update(cursor=AT_START, reached=[1, 0, 0]), "its reached.0 should be (0, 0)"),
        (lambda s: s["reached"].__setitem__(2, 1), "its reached.2 should be"),
        (lambda s: s["outcomes"].__setitem__(0, ENDED), "its outcomes.0 should be False"),
        (lambda s: s["weights"].update(W="history.train_loss"), "its weights should be"),
        (lambda s: s["weights"].update(W="absent"), "the name of an array in the file"),
        (lambda s: s["history"].update(train_loss="weights.W"), "its history.train_loss should be"),
        (lambda s: s["runs"][0].update(momentum=2), "cannot be used: momentum"),
        (lambda s: s["runs"][0].update(l2=0.5), "its runs should be"),
        (lambda s: s["due"].update({"7": 1}), "its due should be"),
        (lambda s: s["due"].update({"x": 1}), "whose names are whole numbers"),
        (lambda s: s.update(done=10**30), "its done should be a whole number"),
        (lambda s: s.update(seconds="soon"), "its seconds should be a number"),
        (lambda s: s["outcomes"].__setitem__(0, {"status": "won", "epochs": 1}), "its outcomes"),
    ],
)
def test_of_a_newest_checkpoint_that_cannot_be_the_one_before_is_taken(
    change: Callable[[dict[str, Any]], object], said: str, checkpoints: Path, tmp_path: Path
) -> None:
    warned: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onelayer.training.checkpoint._warn", warned.append)
        result = resume(checkpoints, forged(change), tmp_path)
    assert len(warned) == 1
    assert said in warned[0]
    assert_same(result, undisturbed(WITH_STATE))


def test_a_learning_rate_that_auto_does_not_come_to_is_not_taken_from_a_checkpoint(
    tmp_path: Path,
) -> None:
    runs = [replace(run, learning_rate="auto") for run in WITH_STATE]
    with pytest.raises(Killed), killed_after(4):
        trained(make_splits(), runs, checkpoint=Checkpoint(tmp_path, every=0))
    *_, newest = sorted((tmp_path / CHECKPOINTS).iterdir())
    forge = forged(lambda state: state["runs"][0].update(learning_rate=0.5))
    newest.write_bytes(forge(newest.read_bytes()))
    warned: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onelayer.training.checkpoint._warn", warned.append)
        again = trained(make_splits(), runs, checkpoint=Checkpoint(tmp_path, resume=True))
    assert len(warned) == 1
    assert "its runs.0.learning_rate should be 0.04" in warned[0]
    assert_same(again, trained(make_splits(), runs))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, type]]:
    """Run folders of a sweep and of a λ path."""
    data, place = make_splits(), tmp_path_factory.mktemp("saved")
    result = sweep(
        data, learning_rate=[0.1, 0.01], l2=[0.0, 0.1], epochs=2, certify=True,
        scaling=["none", "unit"],
    )  # fmt: skip
    records = {
        "runs": replace(result, command=Command("train", {"data": "digits"}, "0.1")),
        "path": solve_path(data, [1.0, 0.1, 0.0]),
    }
    for name, record in records.items():
        save_records(record, place / name)
    return {name: (place / name, type(record)) for name, record in records.items()}


@pytest.mark.parametrize("kind", ["runs", "path"])
@pytest.mark.parametrize("name", ["settings.json", "weights.safetensors"])
def test_a_damaged_run_folder_is_refused_in_a_sentence_or_can_be_shown(
    kind: str, name: str, folders: dict[str, tuple[Path, type]]
) -> None:
    (folder, record), rng = folders[kind], np.random.default_rng(0)
    whole, refused = (folder / name).read_bytes(), 0
    for _ in range(CASES):
        if name == "settings.json" and rng.random() < 0.8:
            damaged = damage_json(whole.decode(), rng).encode("utf-8", "surrogatepass")
        else:
            damaged = damage_bytes(whole, rng)
        (folder / name).write_bytes(damaged)
        reseal(folder)
        in_one_sentence(lambda: saved_origin(folder))
        shown = in_one_sentence(lambda: repr(load_records(record, folder)))
        refused += not shown
        if shown:
            load_records(record, folder).best  # noqa: B018
    assert refused > CASES // 2
    (folder / name).write_bytes(whole)
    reseal(folder)


@pytest.mark.parametrize("kind", ["runs", "path"])
def test_of_a_run_folder_with_one_flipped_bit_none_is_accepted(
    kind: str, folders: dict[str, tuple[Path, type]]
) -> None:
    (folder, record), rng = folders[kind], np.random.default_rng(0)
    for file in (path for path in folder.iterdir() if path.is_file()):
        whole = file.read_bytes()
        for _ in range(CASES // 5):
            damaged = bytearray(whole)
            damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
            file.write_bytes(damaged)
            assert not in_one_sentence(lambda: load_records(record, folder))
        file.write_bytes(whole)
    load_records(record, folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "history.parquet"])
def test_a_file_of_another_run_is_not_accepted(name: str, tmp_path: Path) -> None:
    data = make_splits()
    for folder, rate in (("first", 0.1), ("second", 0.2)):
        save_records(sweep(data, learning_rate=rate, epochs=1), tmp_path / folder)
    (tmp_path / "second" / name).write_bytes((tmp_path / "first" / name).read_bytes())
    with pytest.raises(SaveError, match=f"{name} cannot be read .its content changed"):
        Result.load(tmp_path / "second")
