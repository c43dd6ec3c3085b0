"""What `make docs` does beyond MkDocs: links to code, mathematics, and pages that need no network.

Each page says its version. With SITE_URL, where the site will stand, it has a card for messengers,
and the types of the API lead to the references of NumPy and scikit-learn, whose lists of names are
fetched. A build without SITE_URL fetches nothing.

The pages are read in the repository too, where links lead to code and to files beside docs/. The
site does not hold those files, so there such a link becomes plain text, if its file exists.
LaTeX becomes MathML, which browsers draw without a script.
"""

from __future__ import annotations

import html
import logging
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.plugins import event_priority

log = logging.getLogger("mkdocs.hooks.onelayer")

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#\s]+)(?:#[^)\s]*)?\)")
FETCHED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
# What pymdownx.arithmatex leaves of `$…$`, with the marks beside it, and of a block marked math.
INLINE = re.compile(
    r'(\(?)<span class="arithmatex">\\\((.*?)\\\)</span>([.,:;)]*)', flags=re.DOTALL
)
BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', flags=re.DOTALL)
# Links that a browser does not follow by itself.
HARMLESS = re.compile(r"rel=[\"']?(?:canonical|prev|next)\b")


INVENTORIES = [
    "https://numpy.org/doc/stable/objects.inv",
    "https://scikit-learn.org/stable/objects.inv",
]


@event_priority(100)  # before mkdocstrings reads its inventories
def on_config(config: Any) -> None:
    """Tell the version; pages that mkdocs.yml does not name go to the end, so that none is lost."""
    if config.site_url:
        config.plugins["mkdocstrings"].config.handlers["python"]["inventories"] = INVENTORIES
    declared = Path(config.config_file_path).with_name("pyproject.toml")
    project = tomllib.loads(declared.read_text(encoding="utf-8"))["project"]
    config.copyright = f"onelayer {project['version']}"
    named = set(_pages(config.nav))
    docs = Path(config.docs_dir)
    pages = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    others = sorted(pages - named)
    if others:
        config.nav.append({"More": others})


def _pages(nav: Any) -> Iterator[str]:
    """The pages of a part of the navigation: a name, or a list or mapping of parts."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from _pages(part)


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Turn links to files outside docs/ into their words."""
    folder, docs = Path(page.file.abs_src_path).parent, Path(config.docs_dir)

    def words(link: re.Match[str]) -> str:
        file = (folder / link[2]).resolve()
        if file.is_relative_to(docs):
            return link[0]
        if not file.exists():
            log.warning("%s links to %s, which is not there.", page.file.src_path, link[2])
        return link[1]

    return LINK.sub(words, markdown)


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Turn LaTeX into MathML; a formula stays on one line with the marks beside it."""

    def mathml(formula: str, display: str) -> str:
        drawn = convert(html.unescape(formula).strip(), display=display)
        if "\\" in drawn or "&amp;" in drawn:
            log.warning("%s: LaTeX that is not understood: %s", page.file.src_path, formula)
        return drawn

    def inline(match: re.Match[str]) -> str:
        before, formula, after = match.groups()
        return f'<span class="formula">{before}{mathml(formula, "inline")}{after}</span>'

    def block(match: re.Match[str]) -> str:
        return f'<div class="formula">{mathml(match[1], "block")}</div>'

    return BLOCK.sub(block, INLINE.sub(inline, content))


def on_post_page(output: str, page: Any, config: Any, **_: Any) -> str:
    """Add the card; refuse a page that would fetch anything from elsewhere."""
    if config.site_url:
        card = {"title": page.title, "description": config.site_description, "type": "article"}
        card["image"] = f"{config.site_url}page-light.png"
        tags = (f'<meta property="og:{k}" content="{html.escape(v)}">' for k, v in card.items())
        output = output.replace("</head>", "".join(tags) + "</head>", 1)
    for fetched in FETCHED.findall(output):
        if not HARMLESS.search(fetched):
            log.warning("%s would fetch from the network: %s", page.file.src_path, fetched)
    return output
