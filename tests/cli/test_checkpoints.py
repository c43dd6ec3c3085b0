"""Checkpoints on the command line: --resume, what is told of them, and who may write a folder."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onelayer.files import atomic
from onelayer.training import checkpoint as checkpoints
from onelayer.training.checkpoint import CheckpointManager, unfinished
from onelayer.training.loop import Training
from onelayer.training.result import Result
from tests.cli.conftest import Command
from tests.files.test_lock import held_by_another
from tests.made_data import make_dataset

TRAIN = ("train", "--data", "digits", "--epochs", "3", "--learning-rate", "0.1")
PATH = ("solve", "--data", "digits", "--l2", "1,0.1,0.01,0.001", "--tol", "1e-3")
SWEEP = ("train", "--data", "digits", "--epochs", "2", "--learning-rate", "0.01,0.1", "--l2", "0",
         "--seeds", "2", "--scaling", "unit,none")  # fmt: skip


class Killed(BaseException):
    """What stands for SIGKILL."""


def _kill_after(writes: int, patch: pytest.MonkeyPatch) -> None:
    write, count = CheckpointManager._write, [0]

    def counted(self: CheckpointManager, *standing: Any) -> None:
        write(self, *standing)
        count[0] += 1
        if count[0] == writes:
            raise Killed

    patch.setattr(CheckpointManager, "_write", counted)


def _killed(run: Command, *words: str, writes: int = 3) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _kill_after(writes, patch)
        with pytest.raises(Killed):
            run(*words, "--checkpoint-every", "0")


def _weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(("writes", "folds"), [(2, "2")])
def test_a_killed_path_goes_on_after_the_last_solved_lambda_to_the_same_bytes(
    writes: int, folds: str, run: Command, tmp_path: Path
) -> None:
    _killed(run, *PATH, "--folds", folds, "--out", "killed", writes=writes)
    found = unfinished(tmp_path / "killed")
    assert found is not None
    assert (found.file.stem, found.done, found.total) == (f"path-{writes:06d}", writes, 4)
    code, _, err = run("report", "killed")
    assert (code, f"holds no result yet, {writes} of 4 λ done" in err) == (1, True)
    code, _, err = run(*PATH, "--folds", folds, "--out", "killed", "--resume")
    assert code == 0, err
    assert f"resuming from killed/checkpoints/{found.file.name}: {writes} of 4 λ done" in err
    assert run(*PATH, "--folds", folds, "--out", "whole")[0] == 0
    for name in ("weights.safetensors", "held_out.parquet"):
        killed, whole = (tmp_path / folder / name for folder in ("killed", "whole"))
        assert killed.read_bytes() == whole.read_bytes(), name
    assert not (tmp_path / "killed" / "checkpoints").exists()
    code, out, _ = run(*PATH, "--folds", folds, "--out", "killed", "--resume")
    assert (code, "killed has finished" in out) == (0, True)


@pytest.mark.parametrize(
    ("writes", "name_and_done"),
    [
        (3, ("runs-000003", 4, 8)),
        (8, ("none-000003", 12, 16)),
        (13, ("best-000003", 17, 18)),
    ],
)
def test_a_killed_sweep_goes_on_to_the_same_bytes(
    writes: int, name_and_done: tuple[str, int, int], run: Command, tmp_path: Path
) -> None:
    """In the training under the first scaling, under the second, and of the best once more."""
    _killed(run, *SWEEP, "--out", "killed", writes=writes)
    found = unfinished(tmp_path / "killed")
    assert found is not None
    assert (found.file.stem, found.done, found.total) == name_and_done
    code, _, err = run(*SWEEP, "--out", "killed", "--resume")
    assert code == 0, err
    assert f"resuming from killed/checkpoints/{found.file.name}: " in err
    assert run(*SWEEP, "--out", "whole")[0] == 0
    for name in ("weights.safetensors", "history.parquet"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    killed, whole = Result.load(tmp_path / "killed"), Result.load(tmp_path / "whole")
    assert (killed.curvatures, killed.command) == (whole.curvatures, whole.command)
    last = {p.name.partition("-")[0] for p in (tmp_path / "killed" / "checkpoints").iterdir()}
    assert last == {"runs", "none", "best"}
    assert len(list((tmp_path / "killed" / "checkpoints").iterdir())) == 3
    assert {p.name for p in tmp_path.iterdir()} == {"killed", "whole"}


def test_a_run_folder_without_a_result_says_how_to_go_on_and_that_works(
    run: Command, tmp_path: Path
) -> None:
    _killed(run, *TRAIN, "--out", "a folder")
    said = set()
    for words in (["report", "a folder"], ["evaluate", "a folder"], ["rerun", "a folder"]):
        code, _, err = run(*words)
        assert code == 1
        said.add(err.rpartition("error: ")[2])
    assert len(said) == 1
    sentence, _, typed = said.pop().partition("to resume: ")
    assert "a folder holds no result yet, 1 of 3 epochs done" in sentence
    program, *words = shlex.split(typed)
    assert program == "onelayer"
    assert words[-3:] == ["--out", "a folder", "--resume"]
    assert run(*words)[0] == 0
    assert run("report", "a folder")[0] == 0
    assert run("rerun", "a folder")[0] == 0


def test_while_another_process_is_at_it_the_folder_says_so_and_takes_no_second(
    run: Command, tmp_path: Path
) -> None:
    _killed(run, *TRAIN)
    assert run(*TRAIN, "--out", "done")[0] == 0
    before = _weights(tmp_path / "done")
    with held_by_another(tmp_path / "runs" / "train") as other, held_by_another(tmp_path / "done"):
        code, _, err = run("report", "runs/train")
        assert code == 1
        assert f"and process {other.pid} is still at work on it." in err
        for words in ([*TRAIN], [*TRAIN, "--resume"]):
            code, _, err = run(*words)
            assert code == 1
            assert f"runs/train is being written by process {other.pid}" in err
        assert run("report", "done")[0] == 1
        assert run("solve", "--data", "digits", "--l2", "1", "--out", "done")[0] == 1
    assert _weights(tmp_path / "done") == before
    assert run(*TRAIN, "--resume")[0] == 0


def test_a_finished_run_is_not_trained_again_by_resume_unless_it_is_another(
    run: Command, tmp_path: Path
) -> None:
    assert run(*TRAIN)[0] == 0
    page = tmp_path / "runs" / "train" / "report.html"
    made = page.stat().st_mtime_ns
    code, out, err = run(*TRAIN, "--resume")
    assert (code, err) == (0, "")
    assert "runs/train has finished; --overwrite trains it again" in out
    assert page.stat().st_mtime_ns == made
    for words in ([*TRAIN], [*TRAIN, "--l2", "0.5", "--resume"]):
        code, _, err = run(*words)
        assert code == 1
        assert "runs/train holds a finished run; name another folder, or pass --overwrite" in err
    code, _, err = run(*TRAIN, "--l2", "0.5", "--resume", "--overwrite")
    assert code == 0
    assert "no checkpoint in runs/train; training starts from the beginning" in err
    assert Result.load(tmp_path / "runs" / "train").runs[0].l2 == 0.5


def test_a_finished_run_goes_on_with_more_epochs_to_the_bits_of_all_of_them(
    run: Command, tmp_path: Path
) -> None:
    how = ("train", "--data", "digits", "--lr", "0.1,0.01", "--momentum", "0.9", "--epochs")
    assert run(*how, "2", "--out", "run")[0] == 0
    code, _, err = run(*how, "4", "--out", "run", "--resume")
    assert code == 0, err
    assert "resuming from run/checkpoints/runs-" in err
    assert ": 4 of 8 epochs done" in err
    assert run(*how, "4", "--out", "whole")[0] == 0
    assert _weights(tmp_path / "run") == _weights(tmp_path / "whole")
    assert "run has finished" in run(*how, "4", "--out", "run", "--resume")[1]


def test_a_schedule_over_all_epochs_takes_no_more_of_them_and_says_so(
    run: Command, tmp_path: Path
) -> None:
    how = (*TRAIN, "--schedule", "cosine", "--checkpoint-every", "0")
    _killed(run, *how, writes=2)
    code, _, err = run(*how, "--epochs", "5", "--resume")
    assert code == 1
    assert "run 0's schedule cosine was planned over 3 epochs and not 5. Use the original" in err
    assert "resuming" not in err
    assert run(*how, "--resume")[0] == 0
    assert not (tmp_path / "runs" / "train" / "checkpoints").exists()


def test_resume_says_finished_only_of_a_whole_run_of_the_same_data(
    run: Command, tmp_path: Path
) -> None:
    dataset = make_dataset(200, seed=1)
    np.savez("rows.npz", X=dataset.X, y=dataset.y)
    fit = [word.replace("digits", "rows.npz") for word in TRAIN]
    assert run(*fit)[0] == 0
    weights, whole = tmp_path / "runs/train/weights.safetensors", _weights(tmp_path / "runs/train")
    for content, said in ((whole[:-1] + b"!", "content changed"), (None, "is missing")):
        weights.unlink() if content is None else weights.write_bytes(content)
        code, out, err = run(*fit, "--resume")
        assert (code, "finished" in out) == (1, False)
        assert said in err
    weights.write_bytes(whole)
    assert "runs/train has finished" in run(*fit, "--resume")[1]
    np.savez("rows.npz", X=dataset.X, y=dataset.y[::-1])
    code, out, err = run(*fit, "--resume")
    assert (code, out) == (1, "")
    assert "runs/train holds a finished run of other data: the training data changed." in err


def test_without_resume_it_starts_anew_and_says_what_there_was(
    run: Command, tmp_path: Path
) -> None:
    _killed(run, *TRAIN)
    code, _, err = run(*TRAIN, "--l2", "0.5")
    assert code == 0
    assert "runs/train holds unfinished work (1 of 3 epochs done), which will be replaced" in err
    assert Result.load(tmp_path / "runs" / "train").runs[0].l2 == 0.5


def test_other_settings_cannot_be_resumed_and_the_sentence_says_which(
    run: Command, tmp_path: Path
) -> None:
    dataset = make_dataset(200, seed=1)
    np.savez("rows.npz", X=dataset.X, y=dataset.y)
    fit = [word.replace("digits", "rows.npz") for word in TRAIN]
    _killed(run, *fit)
    before = {p.name: p.read_bytes() for p in (tmp_path / "runs/train/checkpoints").iterdir()}
    code, _, err = run(*fit, "--l2", "0.5", "--scaling", "none", "--resume")
    assert code == 1
    assert "run 0's l2 was 0.0 and is 0.5; the scaling was unit and is none. Use the" in err
    assert "resuming" not in err
    np.savez("rows.npz", X=255 - dataset.X, y=dataset.y)
    code, _, err = run(*fit, "--resume")
    assert code == 1
    assert "the training data changed" in err
    assert {
        p.name: p.read_bytes() for p in (tmp_path / "runs/train/checkpoints").iterdir()
    } == before


def test_ctrl_c_keeps_a_result_and_checkpoints_and_both_survive_a_new_page(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onelayer.engines.native import NativeTrainer

    epoch, count = NativeTrainer.epoch, [0]

    def interrupted(self: NativeTrainer, *work: Any) -> None:
        epoch(self, *work)
        count[0] += 1
        if count[0] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(NativeTrainer, "epoch", interrupted)
    monkeypatch.setattr(checkpoints, "HOLD_SECONDS", 0.0)
    code, _, err = run(*TRAIN)
    assert code == 130
    assert "interrupted: the weights of 1 of 3 epochs are kept" in err
    _, _, typed = err.partition("resume with: ")
    assert run("report", "runs/train")[0] == 130
    assert Result.load(tmp_path / "runs" / "train").interrupted
    code, _, err = run(*shlex.split(typed)[1:])
    assert code == 0, err
    assert "1 of 3 epochs done" in err
    assert run(*TRAIN, "--out", "whole")[0] == 0
    assert _weights(tmp_path / "runs" / "train") == _weights(tmp_path / "whole")


def test_ctrl_c_while_the_page_is_drawn_leaves_the_run_saved(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("onelayer.report.page.write_report", _interrupt)
        code, _, err = run(*TRAIN, "--checkpoint-every", "0")
    assert code == 130
    _, _, typed = err.partition("the run is saved. To draw it: ")
    assert len(list((tmp_path / "runs" / "train" / "checkpoints").iterdir())) == 1
    assert run(*shlex.split(typed)[1:])[0] == 0
    assert (tmp_path / "runs" / "train" / "report.html").exists()


@pytest.mark.parametrize("words", [TRAIN, ("solve", "--data", "digits", "--l2", "1")])
def test_a_page_that_cannot_be_drawn_costs_nothing_but_the_page(
    words: tuple[str, ...], run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("onelayer.report.page.write_report", full)
        code, out, err = run(*words, "--out", "a run")
    assert code == 1
    assert len(out.splitlines()) > 2  # the figures
    said = "error: the page of a run could not be drawn (No space left on device). The run is saved"
    assert err.splitlines()[-1].startswith(said)
    assert run("evaluate", "a run")[0] == 0
    assert run(*shlex.split(err.rpartition("to draw its page: ")[2])[1:])[0] == 0
    assert (tmp_path / "a run" / "report.html").exists()


@pytest.mark.parametrize("words", [pytest.param(TRAIN, marks=pytest.mark.slow), PATH])
def test_a_run_that_finds_no_room_at_its_end_is_saved_elsewhere_or_its_best_model_is(
    words: tuple[str, ...], run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, (kept, full) = atomic._sync, (tmp_path / name for name in ("kept", "full"))

    def refuse(path: Path) -> None:
        """Nothing finds room on the run's disk, and only small files in `full`."""
        small = path.is_dir() or path.name == "best.safetensors"
        places = (tmp_path / "out",) if small else (tmp_path / "out", full)
        if any(path.resolve().is_relative_to(place) for place in places):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(path)

    monkeypatch.setattr(atomic, "_sync", refuse)
    for place, said in ((kept, "The run is saved in "), (full, "best model alone is saved: ")):
        place.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(place))
        code, _, err = run(*words, "--checkpoint-every", "0", "--out", "out")
        *_, line = err.splitlines()
        assert code == 1
        assert line.startswith("error: out could not be written: No space left on device")
        assert run("evaluate", line.rpartition(said)[2].rstrip("."), "--data", "digits")[0] == 0
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "out" / "none"))
    code, _, err = run(*words, "--checkpoint-every", "0", "--out", "out")
    assert err.endswith("Nor could the run be saved in the folder for temporary files.\n")


def test_a_file_that_comes_into_a_records_place_stays_and_the_run_goes_on_once_it_is_moved(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance, mine = Training.advance, tmp_path / "out" / "settings.json"

    def come(self: Training, run_epochs: int) -> None:
        advance(self, run_epochs)
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine")

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", come)
        code, _, err = run(*TRAIN, "--out", "out")
    assert code == 1
    assert "settings.json was not written by onelayer and would be replaced; move it away" in err
    assert err.endswith("The checkpoints are kept: --resume.\n")
    assert mine.read_text() == "mine"
    mine.unlink()
    monkeypatch.setattr(Training, "train_pass", None)  # nothing is trained again
    assert run(*TRAIN, "--out", "out", "--resume")[0] == 0
    assert not Result.load(tmp_path / "out").interrupted


def test_files_that_come_while_it_trains_neither_go_nor_cost_the_run(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        (tmp_path / "out" / "log.txt").write_text("a log")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CheckpointManager, "_write", full)
    (tmp_path / "out" / "checkpoints").mkdir(parents=True)
    code, _, err = run(*TRAIN, "--checkpoint-every", "0", "--out", "out")
    assert code == 0, err
    assert (tmp_path / "out" / "log.txt").read_text() == "a log"
    assert not Result.load(tmp_path / "out").interrupted


def test_a_killed_run_that_was_to_replace_a_finished_one_resumes_without_being_told_again(
    run: Command, tmp_path: Path
) -> None:
    assert run(*TRAIN, "--l2", "0.5")[0] == 0
    _killed(run, *TRAIN, "--overwrite")
    assert Result.load(tmp_path / "runs" / "train").runs[0].l2 == 0.5
    assert run(*TRAIN, "--resume")[0] == 0
    assert Result.load(tmp_path / "runs" / "train").runs[0].l2 == 0.0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_torchruns_restarts_go_on_without_being_told(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    _killed(run, *TRAIN)
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "localhost")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert "--resume keeps it" in run(*TRAIN, "--epochs", "4")[2]
    _killed(run, *TRAIN, "--overwrite")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert "resuming from runs/train/checkpoints" in run(*TRAIN)[2]


def test_reproduce_goes_on_as_well(run: Command, tmp_path: Path) -> None:
    words = ("reproduce", "--data", "digits", "--seeds", "1", "--only", "eta-0.1")
    _killed(run, *words, writes=30)
    code, _, err = run(*words, "--resume")
    assert code == 0
    assert "14 of 40 epochs done" in err
    assert run(*words, "--out", "whole")[0] == 0
    assert _weights(tmp_path / "runs" / "reproduce") == _weights(tmp_path / "whole")


def test_a_negative_time_between_checkpoints_is_refused(run: Command) -> None:
    code, _, err = run(*TRAIN, "--checkpoint-every", "-1")
    assert code == 2
    assert "a number of seconds, 0 or above, but -1.0 was given" in err


DISK = """
import resource, sys, warnings
from onelayer.training.checkpoint import Checkpoint
from onelayer.training.loop import train
from tests.kill.worker import RUNS
from tests.made_data import make_splits

# The disk takes 5000 bytes of a file: less than a checkpoint.
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    result = train(make_splits(), RUNS, checkpoint=Checkpoint(sys.argv[1], every=0))
print([str(w.message) for w in said if "checkpoint" in str(w.message)])
print(result.outcomes[0].status)
"""


def test_a_disk_that_takes_part_of_a_file_leaves_no_part_and_is_told_of_once(
    tmp_path: Path,
) -> None:
    words = [sys.executable, "-c", DISK, str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    warned, status = done.stdout.splitlines()
    assert warned.count("cannot write a checkpoint") == 1
    assert "File too large; training continues; the next checkpoint will be tried again." in warned
    assert status == "finished"
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


def test_sigkill_while_it_trains_leaves_a_folder_that_can_go_on(tmp_path: Path) -> None:
    """The process itself, not a stand-in: its lock and its half written files are no obstacle."""
    words = [sys.executable, "-m", "tests.kill.worker", "sweep", str(tmp_path / "run")]
    with subprocess.Popen(words) as process:
        while unfinished(tmp_path / "run") is None and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode in (0, -signal.SIGKILL)
    if process.returncode:
        assert (tmp_path / ".run.lock").exists()
    subprocess.run(words, check=True)
    assert os.listdir(tmp_path) == ["run"]
    assert not Result.load(tmp_path / "run").interrupted
