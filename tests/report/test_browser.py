"""The page in a headless Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from onelayer import solve, split
from onelayer.report.page import write_report
from onelayer.training.run import Run
from tests.report.made_results import make_result, make_runs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DRAWN = "() => (document.documentElement.dataset.drawn || 'no') !== 'no'"
SMALL_TEXT = """() => [...document.querySelectorAll('body *')].filter(e =>
    [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())
    && !['SCRIPT', 'STYLE'].includes(e.tagName)
    && parseFloat(getComputedStyle(e).fontSize) < 12).map(e => e.outerHTML.slice(0, 120))"""


class Watched:
    """A page that notes what should not happen on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, folder: Path) -> Page:
        self.page.goto((folder / "report.html").as_uri())
        self.page.wait_for_function(DRAWN, timeout=60_000)
        return self.page


@pytest.fixture(scope="module")
def watched(browser: Browser, report_folder: Path) -> Iterator[Watched]:
    """The page of the four settings, opened once on a desk."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    watched = Watched(page)
    watched.open(report_folder)
    yield watched
    page.close()


def drawing(page: Page, name: str) -> str:
    return page.locator(f'[data-chart="{name}"] svg').inner_html()


def lines(page: Page, name: str) -> int:
    return page.locator(f'[data-chart="{name}"] svg .mark-line path').count()


def pixels(page: Page) -> list[str]:
    pictures: list[str] = page.evaluate(
        "() => [...document.querySelectorAll('[data-grid] canvas')].map(c => c.toDataURL())"
    )
    return pictures


def test_every_chart_is_drawn(watched: Watched) -> None:
    boxes = watched.page.locator("[data-chart]")
    assert boxes.count() == 24
    for i in range(boxes.count()):
        box = boxes.nth(i)
        assert box.locator("svg path").count() > 3
        size = box.locator("svg").bounding_box()
        assert size is not None
        assert size["width"] > 200


def test_slider_moves_the_pictures(watched: Watched) -> None:
    player = watched.page.locator("[data-grid]")
    last = pixels(watched.page)
    player.locator("input").evaluate(
        "e => { e.value = 0; e.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    first = pixels(watched.page)
    assert len(first) == 40  # four settings, ten classes
    assert all(a != b for a, b in zip(first, last, strict=True))
    assert len(set(first)) == 40
    assert player.locator(".step").inner_text() == "epoch 0"
    player.locator("input").press("ArrowRight")
    assert player.locator(".step").inner_text() == "epoch 1"


def test_play_runs_through_the_epochs(watched: Watched) -> None:
    player = watched.page.locator("[data-grid]")
    player.locator("input").press("End")
    player.locator(".play").click()
    assert player.locator(".step").inner_text() == "epoch 0"
    watched.page.wait_for_function("() => document.querySelector('[data-grid] input').value > 1")
    player.locator(".play").click()
    assert player.locator(".play").inner_text() == "▶"


def test_legend_hides_a_curve(watched: Watched) -> None:
    page, name = watched.page, "loss-lambda-0-eta-0.01"
    before = lines(page, name)
    button = page.locator(f'.legend[data-for~="{name}"] button', has_text="validation")
    button.press("Enter")
    page.wait_for_function(
        "([n, k]) => document.querySelectorAll("
        "`[data-chart='${n}'] svg .mark-line path`).length < k",
        arg=[name, before],
    )
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    page.wait_for_function(
        "([n, k]) => document.querySelectorAll("
        "`[data-chart='${n}'] svg .mark-line path`).length === k",
        arg=[name, before],
    )


def test_the_legend_of_a_section_hides_a_curve_in_all_of_its_charts(watched: Watched) -> None:
    page, names = watched.page, [f"{m}-lambda-1-eta-0.01" for m in ("loss", "cost", "accuracy")]
    before = [lines(page, name) for name in names]
    legend = page.locator(f'.legend[data-for="{" ".join(names)}"]')
    legend.locator("button", has_text="training").click()
    for name, count in zip(names, before, strict=True):
        page.wait_for_function(
            "([n, k]) => document.querySelectorAll("
            "`[data-chart='${n}'] svg .mark-line path`).length < k",
            arg=[name, count],
        )
    legend.locator("button", has_text="training").click()


def test_charts_in_a_fold_are_drawn_when_it_opens(browser: Browser, tmp_path: Path) -> None:
    settings = [(rate, 0.0) for rate in (0.01, 0.02, 0.03, 0.04, 0.05, 0.1)]
    write_report(make_result(make_runs(settings, seeds=1, epochs=2), snapshots=()), tmp_path)
    watched = Watched(browser.new_page(viewport={"width": 1280, "height": 900}))
    page = watched.open(tmp_path)
    box = page.locator('[data-chart="loss-lambda-0-eta-0.03"]')
    assert box.locator("svg").count() == 0
    page.locator("#setting-lambda-0-eta-0\\.03 > summary").click()
    box.locator("svg .mark-line path").first.wait_for(state="visible")
    size = box.locator("svg").bounding_box()
    assert size is not None
    assert size["width"] > 200
    # A link from the contents opens the fold that it leads to.
    page.locator('nav a[href="#setting-lambda-0-eta-0.05"]').click()
    page.locator('[data-chart="loss-lambda-0-eta-0.05"] svg').wait_for(state="visible")
    assert watched.complaints == []
    page.close()


def test_charts_in_a_row_share_their_baseline(watched: Watched) -> None:
    rows: list[list[float]] = watched.page.evaluate(
        "() => [...document.querySelectorAll('.charts')].filter(r => r.children.length > 1)"
        ".map(r => [...r.querySelectorAll('.role-axis-domain line, .mark-rule.role-axis-domain')]"
        ".map(e => e.getBoundingClientRect()).filter(b => b.width > 50)"
        ".map(b => [Math.round(b.bottom), b])).map(r => r.map(x => x[0]))"
    )
    assert any(rows)
    for bottoms in rows:
        pairs = pairwise(bottoms)
        assert all(abs(a - b) <= 1 or b - a > 150 for a, b in pairs), bottoms


def test_a_single_run_can_be_hidden(watched: Watched) -> None:
    page, name = watched.page, "rates-training"
    before = lines(page, name)
    legend = page.locator(f'.legend[data-for~="{name}"]')
    legend.locator("summary").click()
    legend.get_by_role("button", name="seed 5").click()
    page.wait_for_function(
        "([n, k]) => document.querySelectorAll("
        "`[data-chart='${n}'] svg .mark-line path`).length === k",
        arg=[name, before - 2],
    )


def test_pointing_reads_values(watched: Watched) -> None:
    page, name = watched.page, "loss-lambda-0.1-eta-0.01"
    box = page.locator(f'[data-chart="{name}"]')
    box.scroll_into_view_if_needed()
    size = box.bounding_box()
    assert size is not None
    for step in (0.5, 0.52, 0.54):
        page.mouse.move(size["x"] + size["width"] * step, size["y"] + size["height"] * 0.4)
    tip = page.locator("#vg-tooltip-element")
    tip.wait_for(state="visible")
    text = tip.inner_text()
    assert "epoch" in text
    assert "validation" in text
    assert "undefined" not in text
    assert re.search(r"validation\s+\d\.\d+ \(\d\.\d+ to \d\.\d+\)", text)
    page.mouse.move(0, 0)


def test_theme_is_toggled_and_remembered(browser: Browser, report_folder: Path) -> None:
    context = browser.new_context(color_scheme="light", viewport={"width": 900, "height": 700})
    page = Watched(context.new_page()).open(report_folder)
    ground = "() => getComputedStyle(document.body).backgroundColor"
    name = "loss-lambda-0-eta-0.01"
    light, curves = page.evaluate(ground), drawing(page, name)
    page.locator("#theme").press("Enter")
    page.wait_for_function("() => document.documentElement.dataset.drawn === 'dark'")
    assert page.evaluate(ground) != light
    assert drawing(page, name) != curves
    assert page.locator("#theme").get_attribute("aria-pressed") == "true"
    page.reload()
    page.wait_for_function("() => document.documentElement.dataset.drawn === 'dark'")
    context.close()


def test_dark_is_taken_from_the_system(browser: Browser, report_folder: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    watched = Watched(page)
    watched.open(report_folder)
    assert page.evaluate("() => document.documentElement.dataset.drawn") == "dark"
    red, *_ = page.evaluate(
        "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert red < 60
    assert watched.complaints == []
    page.close()


def test_a_wide_table_of_a_notebook_scrolls_in_its_box(browser: Browser) -> None:
    data = split(np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 3)
    found = solve(data, l2=0.01).inference(data)
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.set_content(found._repr_html_())
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    rows = page.locator("tbody tr").all()
    assert all(row.bounding_box()["height"] < 30 for row in rows)  # type: ignore[index]
    page.close()


def test_a_phone_scrolls_down_only(browser: Browser, report_folder: Path) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 740}, has_touch=True)
    watched = Watched(page)
    watched.open(report_folder)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    for box in page.locator("[data-chart] svg").all():
        size = box.bounding_box()
        assert size is not None
        assert size["x"] + size["width"] <= 360
    assert page.evaluate(SMALL_TEXT) == []
    page.close()


def test_no_text_is_small(watched: Watched) -> None:
    assert watched.page.evaluate(SMALL_TEXT) == []
    sizes: list[float] = watched.page.evaluate(
        "() => [...document.querySelectorAll('[data-chart] svg text')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert len(sizes) > 100
    assert min(sizes) >= 12


def test_pictures_have_words(watched: Watched) -> None:
    bare: list[str] = watched.page.evaluate(
        "() => [...document.querySelectorAll('img:not([alt]), canvas, [role=img]')]"
        ".filter(e => e.tagName === 'IMG' || !e.getAttribute('aria-label'))"
        ".filter(e => !e.closest('[aria-hidden=true]')).map(e => e.outerHTML.slice(0, 99))"
    )
    assert bare == []


def test_nothing_leaves_the_page_and_nothing_complains(watched: Watched) -> None:
    outside = [url for url in watched.requests if not url.startswith(("data:", "blob:"))]
    assert len(outside) == 1
    assert outside[0].startswith("file:")
    assert watched.complaints == []


def test_odd_pages_draw_without_complaint(browser: Browser, tmp_path: Path) -> None:
    hostile = "</script><script>window.caught = 1</script><b onmouseover='window.caught = 1'>"
    odd = {
        "hostile": make_result(
            [Run(0.1, epochs=2, name=hostile)], classes=(hostile, "b"), features=3072
        ),
        "bare": make_result([Run(0.1, epochs=1)], image_shape=None, features=4),
        "many": make_result(
            make_runs(((0.1, 0.0), (0.2, 0.0)), seeds=1, epochs=2),
            classes=tuple(f"c{k}" for k in range(30)),
        ),
    }
    for name, result in odd.items():
        folder = tmp_path / name
        folder.mkdir()
        write_report(result, folder)
        watched = Watched(browser.new_page())
        page = watched.open(folder)
        assert page.evaluate("() => window.caught") is None
        assert watched.complaints == [], name
        page.close()
