"""The official archive, downloaded by pooch."""

from __future__ import annotations

import logging
from pathlib import Path

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
    archive = _download(work, layout, progress=progress)
    unpack_form(archive, BINARY, work, layout)
    return BINARY


def _download(work: Path, layout: Layout, *, progress: bool) -> Path:
    import pooch
    import requests

    # pooch would print lines of its own between ours.
    pooch.get_logger().setLevel(logging.ERROR)
    archive = pooch.create(
        path=work,
        base_url="",
        registry={BINARY.archive: f"sha256:{layout.archive_sha256}"},
        urls={BINARY.archive: layout.archive_url},
        retry_if_failed=layout.retries,
    )
    label = "downloading CIFAR-10"
    with downloading(label, layout.most_archive_bytes, show=progress) as bar:
        loader = pooch.HTTPDownloader(
            progressbar=bar, timeout=(layout.connect_seconds, _READ_SECONDS)
        )
        try:
            return Path(archive.fetch(BINARY.archive, downloader=loader))
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
