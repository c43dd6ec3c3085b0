"""The kinds of fault: what happens to a command, and what must be true after it."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from tests.data.formats.file_writers import Array, lists, write_arrow, write_safetensors
from tests.faults.commands import (
    Case,
    FaultError,
    Said,
    records_of,
    require_tidy,
    require_unchanged,
    run,
    snapshot,
)
from tests.made_data import make_dataset

TRAIN: tuple[str, ...] = (
    "train",
    "--data",
    "rows.npz",
    "--lr",
    "0.1",
    "--epochs",
    "3",
    "--batch-size",
    "10",
)
SWEEP: tuple[str, ...] = (
    "train",
    "--data",
    "rows.npz",
    "--lr",
    "0.1,0.01",
    "--epochs",
    "3",
    "--batch-size",
    "10",
)
SOLVE: tuple[str, ...] = ("solve", "--data", "rows.npz", "--l2", "1,0.1", "--tol", "0.01")

# Commands that write, by what they write to; {made} is a run folder.
WRITERS: dict[str, tuple[tuple[str, ...], bool]] = {
    "train": ((*TRAIN, "--checkpoint-every", "0", "--out", "out"), True),
    "sweep": ((*SWEEP, "--scaling", "none,standardize", "--out", "out"), True),
    "solve": ((*SOLVE, "--out", "out"), True),
    "csv": (("predict", "{made}/run", "rows.npz", "out.csv"), False),
    "parquet": (("predict", "{made}/run", "rows.npz", "out.parquet"), False),
    "npy": (("predict", "{made}/run", "rows.npz", "out.npy"), False),
    "model": (("export", "{made}/run", "out.safetensors"), False),
    "onnx": (("export", "{made}/run", "out.onnx"), False),
}


def _writer(case: Case) -> tuple[tuple[str, ...], Path, bool]:
    """A command that writes, where to, and whether that is a run folder."""
    name = case.rng.choice(list(WRITERS))
    words, is_run = WRITERS[name]
    words = tuple(word.replace("{made}", str(case.made)) for word in words)
    return words, case.folder / words[-1], is_run


def _rows(case: Case) -> None:
    shutil.copy(case.made / "rows.npz", case.folder)


def _earlier(case: Case, out: Path, is_run: bool) -> dict[str, bytes]:
    """An earlier output in its place, and its content."""
    if is_run:
        shutil.copytree(case.made / "run", out)
        return records_of(out)
    out.write_bytes(b"earlier")
    return {"": b"earlier"}


def _content(out: Path, is_run: bool) -> dict[str, bytes]:
    return records_of(out) if is_run else {"": out.read_bytes()}


def _require_whole(case: Case, out: Path, is_run: bool, before: dict[str, bytes]) -> None:
    """The output is the earlier one, or a new one that can be read."""
    if not out.exists():
        if before:
            raise FaultError(f"lost: {out.name}")
        return
    if before and _content(out, is_run) == before:
        return
    if is_run and not (out / "settings.json").exists() and (out / "checkpoints").is_dir():
        return
    said = case.run("evaluate", str(out), "--data", "rows.npz") if is_run else None
    if said is not None and said.code:
        raise FaultError(f"half written: {said.err.strip()[-300:]}")
    if not is_run and out.stat().st_size == 0:
        raise FaultError(f"half written: {out.name} is empty")


# Disks

LIBRARY = "ONELAYER_FAULTS_LIBRARY"

# What failed where this is said: the page, after the run was saved whole.
ONLY_PAGE = "The run is saved; to draw its page"


def disks(case: Case) -> str:
    """The disk is full, a file too large, or a write fails after some bytes."""
    _rows(case)
    words, out, is_run = _writer(case)
    before: dict[str, bytes] = {}
    way = case.rng.choice(["bytes", "bytes", "size", "disk"])
    mine = case.mine("notes.txt")
    if way == "disk" and os.geteuid() == 0:
        with _small_disk(case.folder / "disk", case.rng.choice([8, 16, 32, 64, 200])) as disk:
            place = disk / out.name
            said = case.run(*words[:-1], str(place))
            ended = said.end()
            if is_run and ended == "refused" and ONLY_PAGE not in said.err:
                _require_kept(case, said.err)
            _require_whole(case, place, is_run, {})
            require_tidy(disk)
            require_unchanged(mine, snapshot(case.folder))
        return ended
    if case.rng.random() < 0.6:
        before = _earlier(case, out, is_run)
        words += ("--overwrite",) * is_run
    library = os.environ.get(LIBRARY)
    amount = int(10 ** case.rng.uniform(0, 5.3)) - 1

    def fail_after() -> None:
        if library and way == "bytes":
            reason = errno.ENOSPC if amount % 2 else errno.EIO
            ctypes.CDLL(library).fail_after(ctypes.c_long(amount), reason)
        else:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            most = max(amount, 4096)  # what it says is a file as well
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    said = case.run(*words, before=fail_after)
    ended, only_page = said.end(), ONLY_PAGE in said.err
    if ended == "refused" and not only_page and before and _content(out, is_run) != before:
        raise FaultError(f"lost: the earlier {out.name}, though the command failed")
    _require_whole(case, out, is_run, before)
    require_unchanged(mine, snapshot(case.folder))
    require_tidy(case.folder)
    return ended


def _require_kept(case: Case, said: str) -> None:
    """What was trained and found no room is where the error says, or goes on from checkpoints."""
    kept = re.search(
        r"(?:The run is saved in|model alone is saved:) (\S+?)\.?$", said, re.MULTILINE
    )
    if kept is None and "checkpoints are kept: --resume" not in said:
        raise FaultError(f"lost: a run that found no room: {said[-300:]!r}")
    if kept and case.run("evaluate", kept[1], "--data", "rows.npz").code:
        raise FaultError(f"lost: {kept[1]} cannot be read")


@contextmanager
def _small_disk(place: Path, kilobytes: int) -> Iterator[Path]:
    place.mkdir()
    size = f"size={kilobytes}k"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", place], check=False)
    try:
        yield place
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", place], check=True)


# Kills

WHOLE: dict[str, dict[str, bytes]] = {}
BITS = ("weights.safetensors", "history.parquet")


def kills(case: Case) -> str:
    """Training is killed once or more, resumed, and has the bits of an undisturbed one."""
    _rows(case)
    kind = case.rng.choice(["train", "sweep", "longer"])
    words = SWEEP if kind == "sweep" else TRAIN
    words = (*words, "--momentum", "0.9", "--checkpoint-every", "0", "--out", "out")
    mine = case.mine("notes.txt")
    if kind not in WHOLE:
        whole = case.run(*words[:-1], "whole")
        assert whole.code == 0, whole.err
        WHOLE[kind] = {name: (case.folder / "whole" / name).read_bytes() for name in BITS}
        shutil.rmtree(case.folder / "whole")
    few = tuple("2" if word == "3" else word for word in words)
    if kind == "longer":
        said = case.run(*few, kill_after=case.rng.uniform(0.0, 0.5))
    for _ in range(case.rng.randrange(1, 4)):
        said = case.run(*words, "--resume", kill_after=case.rng.uniform(0.0, 0.6))
    said = case.run(*words, "--resume")
    if said.code:
        said.end()
        raise FaultError(f"does not resume: {said.err[-300:]}")
    if "Traceback" in said.err:
        said.end()
    for name, content in WHOLE[kind].items():
        if (case.folder / "out" / name).read_bytes() != content:
            raise FaultError(f"other bits: {name} of {kind}")
    require_unchanged(mine, snapshot(case.folder))
    require_tidy(case.folder)
    return "read"


# Files that become shorter

# Formats whose rows are mapped, and what writes them.
ROWS: dict[str, Callable[[Path, Array, Array], object]] = {
    ".npz": lambda path, X, y: np.savez(path.with_suffix(".npz"), X=X, y=y),
    ".arrow": lambda path, X, y: write_arrow(path, lists(X, y)),
    ".safetensors": write_safetensors,
}
LARGE = (*("--batch-size", "100"), *("--checkpoint-every", "0.02"), "--out", "out")
READERS: dict[str, tuple[str, ...]] = {
    "train": ("train", "--data", "{rows}", "--lr", "0.1", "--epochs", "9", *LARGE),
    "solve": ("solve", "--data", "{rows}", "--l2", "1,0.1,0.01", *LARGE[2:]),
    "evaluate": ("evaluate", "{made}/model.safetensors", "--data", "{rows}"),
    "predict": ("predict", "{made}/model.safetensors", "{rows}", "out.csv"),
}


def shorter(case: Case) -> str:
    """Somebody truncates the rows while a command reads them; whole again, they are read again."""
    name, suffix = case.rng.choice(list(READERS)), case.rng.choice(list(ROWS))
    _write_rows(case.folder, suffix)
    rows, mine = case.folder / f"train{suffix}", case.mine("notes.txt")
    words = [word.format(rows=rows.name, made=case.made) for word in READERS[name]]
    trains = name in ("train", "solve")
    if trains:
        words += ["--validation", f"validation{suffix}", "--test", f"test{suffix}"]
    content, out = rows.read_bytes(), case.folder / "out"
    if trains and name + suffix not in WHOLE:
        whole = case.run(*words)
        assert whole.code == 0, whole.err
        WHOLE[name + suffix] = {one: (out / one).read_bytes() for one in BITS[:1]}
        shutil.rmtree(out)
    size, moment = case.rng.randrange(len(content)), 10 ** case.rng.uniform(-3.5, -1.0)
    is_early = case.rng.random() < 0.2

    def truncate_mapped() -> None:
        while not is_early and rows.name not in Path("/proc/self/maps").read_text():
            time.sleep(0.002)
        time.sleep(moment)
        os.truncate(rows, size)

    def truncate_later() -> None:
        threading.Thread(target=truncate_mapped, daemon=True).start()

    said = case.run(*words, before=truncate_later)
    # A line that notes columns may stand before it.
    is_told = said.err.count("error: ") == 1 and "became shorter" in said.errors[-1]
    if said.code == -signal.SIGBUS and not is_told:
        raise FaultError(f"SIGBUS without its line: {said.err[-300:]!r}")
    ended = "refused" if is_told else said.end()
    rows.write_bytes(content)
    said = case.run(*words, *["--resume"] * trains)
    if said.end() == "refused":
        raise FaultError(f"does not go on: {said.err[-300:]}")
    for one in WHOLE[name + suffix] if trains else ():
        if (out / one).read_bytes() != WHOLE[name + suffix][one]:
            raise FaultError(f"other bits: {one} of {name}")
    require_unchanged(mine, snapshot(case.folder))
    require_tidy(case.folder)
    return ended


def _write_rows(folder: Path, suffix: str) -> None:
    """Rows for training, validation and test, of which many pages are mapped where they are."""
    for seed, name in enumerate(("train", "validation", "test"), start=1):
        rows = make_dataset(60 if seed > 1 else 20_000, seed)
        ROWS[suffix](folder / name, rows.X, rows.y)


# Links


def links(case: Case) -> str:
    """The output, what is in it, or what is read is a link."""
    _rows(case)
    words, out, is_run = _writer(case)
    other = case.folder / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    way = case.rng.choice(
        ["folder", "dangling", "loop", "file", "parent", "inside", "data", "hard", "checkpoints"]
    )
    before: dict[str, bytes] = {}
    if way == "folder":
        out.symlink_to(other, target_is_directory=True)
    elif way == "dangling":
        out.symlink_to(case.folder / "nowhere" / "at all")
    elif way == "loop":
        out.symlink_to(out.name)
    elif way == "file":
        out.symlink_to(other / "mine.txt")
    elif way == "parent":
        (case.folder / "linked").symlink_to(other, target_is_directory=True)
        out = case.folder / "linked" / out.name
        words = (*words[:-1], f"linked/{out.name}")
    elif way == "inside" and is_run:
        before = _earlier(case, out, is_run)
        words += ("--overwrite",)
        (out / "report.html").unlink(missing_ok=True)
        (out / "report.html").symlink_to(other / "mine.txt")
    elif way == "checkpoints" and is_run:
        out.mkdir()
        (out / "checkpoints").symlink_to(other, target_is_directory=True)
    elif way == "hard" and not is_run:
        os.link(other / "mine.txt", out)
    else:
        shutil.move(case.folder / "rows.npz", other / "rows.npz")
        (case.folder / "rows.npz").symlink_to(other / "rows.npz")
    mine = snapshot(other)
    if way == "file" and not is_run:
        del mine[other / "mine.txt"]  # the file that the link names is the one to write
    ended = case.run(*words).end()
    require_unchanged(mine, snapshot(other))
    if not out.is_symlink():
        _require_whole(case, out, is_run, before)
    left = [path.name for path in case.folder.glob(".*")]
    if left:
        raise FaultError(f"left behind: {left}")
    return ended


# What is no file


def devices(case: Case) -> str:
    """A device, a pipe, a socket or a folder stands where a file is read or written."""
    _rows(case)
    place = case.folder / "place"
    way = case.rng.choice(["null", "zero", "full", "pipe", "socket", "folder", "process"])
    numbers = {"null": (1, 3), "zero": (1, 5), "full": (1, 7)}
    if way in numbers:
        try:
            os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(*numbers[way]))
        except PermissionError:
            os.mkfifo(place)
    elif way == "pipe":
        os.mkfifo(place)
    elif way == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            here = os.getcwd()
            os.chdir(case.folder)
            listening.bind("place")
            os.chdir(here)
    elif way == "folder":
        place.mkdir()
    else:
        place = Path("/proc/self/mem")
    model, rows = str(case.made / "model.safetensors"), "rows.npz"
    name = case.rng.choice(["data", "labels", "model", "out", "predictions", "export", "config"])
    reading = f"{place}"
    link = case.folder / f"link{case.rng.choice(['.npz', '.csv', '.npy', '.parquet', '.png', ''])}"
    if case.rng.random() < 0.5 and way != "process":
        link.symlink_to(place)
        reading = str(link)
    words: tuple[str, ...] = {
        "data": ("evaluate", model, "--data", reading),
        "labels": ("evaluate", model, "--data", rows, "--labels", reading),
        "model": ("evaluate", reading, "--data", rows),
        "out": (*TRAIN, "--out", reading),
        "predictions": ("predict", model, rows, reading),
        "export": ("export", model, reading),
        "config": (*TRAIN, "--config", reading),
    }[name]
    if way == "process" and name in ("out", "predictions", "export"):
        words = ("evaluate", model, "--data", reading)
    before = snapshot(case.folder)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (15, 15))

    # What is written into a pipe has a reader, as any tool's output: without one, it waits.
    reader = os.open(place, os.O_RDONLY | os.O_NONBLOCK) if place.is_fifo() else None
    try:
        ended = case.run(*words, before=limit).end()
    finally:
        if reader is not None:
            os.close(reader)
    require_unchanged(
        {path: what for path, what in before.items() if path != link}, snapshot(case.folder)
    )
    return ended


# Names

NAMES = (
    "-", "--out", "-x", "a b", "a\nb", "a\tb", "[red]", "{out}", "ü", "名前", "a:b", "a,b", "*",
    "?", "a'b", 'a"b', "$HOME", "~", "a;b", "a&b", "x" * 200, "x" * 255, "ü" * 127, "\udce4", ".",
    "..", " ", "a/../b", "a//b", "con", "a\\b",
    "%s", "a\x1bb", "\u202eb", "\N{ZERO WIDTH SPACE}", "a\rb",
)  # fmt: skip


def names(case: Case) -> str:
    """Files, folders, settings and classes with names that nobody expects."""
    name = case.rng.choice(NAMES) + case.rng.choice(["", "", case.rng.choice(NAMES)])
    suffix = case.rng.choice([".npz", ".csv", ".npy", ".parquet", ""])
    _rows(case)
    mine = case.mine("notes.txt")
    model, typed = str(case.made / "model.safetensors"), name + suffix
    way = case.rng.choice(["data", "out", "predictions", "setting", "model", "option", "export"])
    if way == "data":
        with suppress(OSError):
            shutil.copy(case.made / "rows.npz", case.folder / typed)
    words: tuple[str, ...] = {
        "data": ("evaluate", model, "--data", typed),
        "out": (*TRAIN, "--out", name),
        "predictions": ("predict", model, "rows.npz", typed),
        "setting": ("evaluate", f"{case.made / 'run'}:{name}"),
        "model": ("inspect", typed),
        "option": (*TRAIN, case.rng.choice(["--lr", "--loss", "--labels", "--scaling"]), name),
        "export": ("export", model, typed),
    }[way]
    words = tuple(word.replace("\0", "") for word in words)
    said = case.run(*words)
    usage = said.code == 2 and "Usage" in said.err  # of the parser of options, several lines
    ended = "refused" if usage and "Traceback" not in said.err else said.end()
    require_unchanged(mine, snapshot(case.folder))
    return ended


# Environments

ENVIRONMENTS: tuple[dict[str, str], ...] = (
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "utf-16"},
    {"TERM": "dumb"}, {"COLUMNS": "0"}, {"COLUMNS": "3"}, {"COLUMNS": "x"}, {"LINES": "-1"},
    {"HOME": "/nonexistent"}, {"HOME": ""}, {"XDG_CACHE_HOME": "/dev/null/cache"},
    {"TMPDIR": "/nonexistent"}, {"OMP_NUM_THREADS": "x"}, {"ONELAYER_THREADS": "x"},
    {"ONELAYER_THREADS": "-1"}, {"ONELAYER_DEVICE": "x"}, {"FORCE_COLOR": "1"}, {"NO_COLOR": "1"},
    {"PYTHONWARNINGS": "error"}, {"PYTHONDONTWRITEBYTECODE": "1"}, {"PYTHONHASHSEED": "7"},
    {"TORCHELASTIC_RESTART_COUNT": "x"}, {"WORLD_SIZE": "x"}, {"RANK": "7"}, {"TZ": "x/y"},
)  # fmt: skip

STREAMS = ("plain", "plain", "closed stdin", "closed stdout", "closed stderr", "full", "no reader")


def environments(case: Case) -> str:
    """Variables, streams and limits of the process as other machines have them."""
    _rows(case)
    words, *_ = _writer(case)
    words = case.rng.choice([words, ("evaluate", str(case.made / "run"), "--data", "rows.npz")])
    variables = {**os.environ, **case.rng.choice(ENVIRONMENTS)}
    streams, limits = case.rng.choice(STREAMS), case.rng.random()
    mine = case.mine("notes.txt")

    def before() -> None:
        os.setsid()
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            if streams == f"closed {name}":
                os.close(number)
        if limits < 0.1:
            resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
        if 0.1 < limits < 0.2:
            os.umask(0o777 if case.rng.random() < 0.5 else 0o077)

    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full" if streams == "full" else os.devnull, "w") as nowhere:
        if streams in ("full", "no reader"):
            out_stream: int = writer if streams == "no reader" else nowhere.fileno()
        else:
            out_stream = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-m", "onelayer", *words], cwd=case.folder, env=variables,
            stdin=subprocess.DEVNULL, stdout=out_stream, stderr=subprocess.PIPE, preexec_fn=before,
        )  # fmt: skip
        os.close(writer)
        try:
            _, err = process.communicate(timeout=60.0)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise FaultError(f"hangs: {words}, {streams}") from None
    require_unchanged(mine, snapshot(case.folder))
    said = Said(words, process.returncode, "", (err or b"").decode("utf-8", "replace"))
    if streams in ("no reader", "full", "closed stdout", "closed stderr"):
        if "Traceback" in said.err:
            said.end()
        return "refused" if said.code else "read"
    return said.end()


# Bits


def bits(case: Case) -> str:
    """A bit of what onelayer wrote is flipped: refused, or nothing that is read has changed."""
    _rows(case)
    kind = case.rng.choice(["model", "run", "run", "path", "checkpoint"])
    name = {"model": "model.safetensors", "checkpoint": "killed"}.get(kind, kind)
    source, copy = case.made / name, case.folder / name
    (shutil.copy if kind == "model" else shutil.copytree)(source, copy)
    if kind == "model":
        damaged = copy
    elif kind == "checkpoint":
        damaged = max((copy / "checkpoints").iterdir())
    else:
        names = ("settings.json", "weights.safetensors", "manifest.json")
        damaged = copy / case.rng.choice(names)
    content = bytearray(damaged.read_bytes())
    place = case.rng.randrange(len(content))
    content[place] ^= 1 << case.rng.randrange(8)
    damaged.write_bytes(content)
    if kind == "checkpoint":
        words = (*TRAIN, "--momentum", "0.9", "--out", name, "--resume")
        said = case.run(*words)
        if said.end() == "read" and "cannot read" not in said.err:
            raise FaultError(f"accepted: byte {place} of {damaged.name}")
        return "refused" if said.code else "read"
    whole, said = (
        case.run("evaluate", str(one), "--data", "rows.npz", "--json") for one in (source, copy)
    )
    ended = said.end()
    report = case.run("report", str(copy)) if kind != "model" else said
    if "read" in (ended, report.end()):
        raise FaultError(f"accepted: byte {place} of {damaged.name}, {whole.out == said.out}")
    return "refused"


# Others' files


def others(case: Case) -> str:
    """The user's own files lie in the output's place, in it, or beside it."""
    _rows(case)
    words, out, is_run = _writer(case)
    if is_run:
        if case.rng.random() < 0.7:
            _earlier(case, out, is_run)
            words += ("--overwrite",) * case.rng.randrange(2)
        inside = case.rng.choice(
            ["notes.txt", "charts/mine.png", "checkpoints/mine.txt", ".keep", "sub/settings.json",
             "weights.csv", "report.html.bak", "checkpoints/runs-000009.safetensors.bak"]
        )  # fmt: skip
        (out / inside).parent.mkdir(parents=True, exist_ok=True)
        (out / inside).write_text("mine")
        mine = {out / inside: ((out / inside).lstat().st_mode, b"mine")}
    else:
        mine = case.mine(f"{out.name}.txt", f".{out.name}.keep", f"{out.stem}/x")
    mine |= case.mine("beside.txt", f".keep-{out.name}") if case.rng.random() < 0.5 else {}
    mine = {path: what for path, what in mine.items() if out not in path.parents or b"mine" in what}
    ended = case.run(*words).end()
    require_unchanged(mine, snapshot(case.folder))
    return ended


KINDS: dict[str, Callable[[Case], str]] = {
    one.__name__: one
    for one in (disks, kills, shorter, links, devices, names, environments, bits, others)
}


def prepare(made: Path) -> None:
    """What all cases share: rows, a run, a λ path, a model, and a training that was killed."""
    rows = make_dataset(60, seed=1)
    np.savez(made / "rows.npz", X=rows.X, y=rows.y)
    words: tuple[str, ...]
    for words in (
        (*SWEEP, "--out", "run"),
        (*SOLVE, "--out", "path"),
        ("export", "run", "model.safetensors"),
    ):
        said = run(words, made)
        assert said.code == 0, (words, said.err)

    def stop_before_saving() -> None:
        from onelayer.training import loop

        def stop(*_: object, **__: object) -> None:
            os._exit(9)

        loop._result = stop  # type: ignore[assignment]

    killed = (*TRAIN, "--momentum", "0.9", "--checkpoint-every", "0", "--out", "killed")
    run(killed, made, before=stop_before_saving)
