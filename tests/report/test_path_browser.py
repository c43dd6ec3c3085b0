"""The page of a λ path in a headless Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.report.test_browser import SMALL_TEXT, Watched, lines, pixels

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def watched(browser: Browser, path_folder: Path) -> Iterator[Watched]:
    """The page, opened once on a desk."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    watched = Watched(page)
    watched.open(path_folder)
    yield watched
    page.close()


def test_every_chart_is_drawn(watched: Watched) -> None:
    boxes = watched.page.locator("[data-chart]")
    assert boxes.count() == 5
    for box in boxes.all():
        assert box.locator("svg .mark-symbol path").count() >= 9
        assert "chosen" in (box.locator("svg").text_content() or "")


def test_the_table_fits_a_desk(watched: Watched) -> None:
    widths = watched.page.locator("#table .scroll").evaluate("e => [e.scrollWidth, e.clientWidth]")
    assert widths[0] <= widths[1]


def test_slider_goes_along_the_path(watched: Watched) -> None:
    player = watched.page.locator("[data-grid]")
    assert player.locator(".reading").inner_text().startswith("chosen")
    before = pixels(watched.page)
    player.locator("input").press("Home")
    assert player.locator(".step").inner_text() == "λ = 0"
    assert pixels(watched.page) != before
    player.locator("input").press("End")
    assert player.locator(".step").inner_text() == "λ = 1"


def test_legend_hides_a_curve(watched: Watched) -> None:
    page, name = watched.page, "path-loss"
    before = lines(page, name)
    button = page.locator(f'.legend[data-for~="{name}"] button', has_text="training")
    button.press("Enter")
    page.wait_for_function(
        "([n, k]) => document.querySelectorAll("
        "`[data-chart='${n}'] svg .mark-line path`).length < k",
        arg=[name, before],
    )
    button.click()


def test_pointing_reads_values(watched: Watched) -> None:
    box = watched.page.locator('[data-chart="path-accuracy"]')
    box.scroll_into_view_if_needed()
    size = box.bounding_box()
    assert size is not None
    for step in (0.5, 0.52, 0.54):
        watched.page.mouse.move(size["x"] + size["width"] * step, size["y"] + 150)
    tip = watched.page.locator("#vg-tooltip-element")
    tip.wait_for(state="visible")
    assert re.search(r"λ\s+0\.\d+\s+training\s+[\d.]+ ± [\d.]+", tip.inner_text())
    watched.page.mouse.move(0, 0)


def test_nothing_leaves_the_page_and_nothing_complains(watched: Watched) -> None:
    outside = [url for url in watched.requests if not url.startswith(("data:", "blob:"))]
    assert len(outside) == 1
    assert watched.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_down_only(browser: Browser, path_folder: Path, scheme: str) -> None:
    page = browser.new_page(
        viewport={"width": 360, "height": 740},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    watched = Watched(page)
    watched.open(path_folder)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    for box in page.locator("[data-chart] svg").all():
        size = box.bounding_box()
        assert size is not None
        assert size["x"] + size["width"] <= 360
    assert page.evaluate(SMALL_TEXT) == []
    assert watched.complaints == []
    page.close()
