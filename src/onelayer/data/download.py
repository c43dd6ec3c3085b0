"""The official archive, downloaded by pooch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from onelayer.data.forms import BINARY, Form, unpack_form
from onelayer.data.layout import Layout
from onelayer.data.telling import downloading
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
