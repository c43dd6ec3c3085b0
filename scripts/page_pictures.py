"""Draw docs/page-light.png and docs/page-dark.png: the page of the four experiments, from its top.

`make docs` runs this when the page's code has changed. The run is made once and kept in runs/page.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from onelayer.cli import main as onelayer

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "runs" / "page"
WIDTH, HEIGHT = 1280, 1720
# A page of flat colours needs no more, and the file is a third of the size.
COLOURS = 128
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def draw() -> int:
    """Make the run where it is missing, draw its page anew, and take the two pictures."""
    named = os.environ.get("ONELAYER_BROWSER")
    browser = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("no browser: docs/page-light.png and docs/page-dark.png stay as they are")
        return 0
    made = (RUN / "report.html").is_file()
    command = ["report", str(RUN)] if made else ["reproduce", "--seeds", "8", "--out", str(RUN)]
    sys.argv = ["onelayer", *command]
    try:
        onelayer()
    except SystemExit as ended:
        if ended.code:
            raise
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=list(OPTIONS))
        for scheme in ("light", "dark"):
            page = chromium.new_page(
                viewport={"width": WIDTH, "height": HEIGHT},
                color_scheme="dark" if scheme == "dark" else "light",
            )
            page.goto((RUN / "report.html").as_uri())
            page.wait_for_function(f"() => document.documentElement.dataset.drawn === '{scheme}'")
            target = ROOT / "docs" / f"page-{scheme}.png"
            page.screenshot(path=target)
            with Image.open(target) as picture:
                picture.convert("RGB").quantize(COLOURS).save(target, optimize=True)
        chromium.close()
    return 0


if __name__ == "__main__":
    sys.exit(draw())
