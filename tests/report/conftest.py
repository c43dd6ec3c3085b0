"""One page of the four settings, drawn once for all tests that only look at it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from onelayer.report.page import write_report
from onelayer.solver import Choice
from onelayer.solver import Path as LambdaPath
from onelayer.training.result import Result
from tests.report.made_paths import L2S, make_path
from tests.report.made_results import make_result, with_proofs

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Headless in a container: no sandbox of its own, and no call home.
BROWSER_OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="session")
def four_settings() -> Result:
    """4 settings × 8 seeds × 40 epochs, with proofs; one run of the first setting diverged."""
    return with_proofs(make_result(diverged=[3]))


@pytest.fixture(scope="session")
def report_folder(four_settings: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page and charts of `four_settings`."""
    folder = tmp_path_factory.mktemp("report")
    write_report(four_settings, folder)
    return folder


@pytest.fixture(scope="session")
def path_record() -> LambdaPath:
    """Nine λ's and λ = 0, one of them chosen by loss and the one-standard-error rule."""
    return make_path((*L2S, 0.0), choice=Choice("log_loss", "one-standard-error"))


@pytest.fixture(scope="session")
def path_folder(path_record: LambdaPath, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page and charts of `path_record`."""
    folder = tmp_path_factory.mktemp("path")
    write_report(path_record, folder)
    return folder


def find_browser() -> str | None:
    """The browser that ONELAYER_BROWSER names, or the first of the usual names on PATH."""
    named = os.environ.get("ONELAYER_BROWSER")
    return named or next((path for name in BROWSERS if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    path = find_browser()
    if path is None:
        pytest.skip("NO BROWSER: install chromium, or name one in ONELAYER_BROWSER")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(BROWSER_OPTIONS))
        yield browser
        browser.close()
