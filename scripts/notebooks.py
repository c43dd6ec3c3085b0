"""Write each tutorial page as a notebook: its Python blocks are cells, everything else is text.

    python scripts/notebooks.py [FOLDER]     default build/notebooks

The page is the only source; tests/test_documents.py runs what this makes of it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "docs" / "tutorial"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:)[^)]*\)")  # to another page
PYTHON = re.compile(r"^```python\n(.*?)^```\n", flags=re.DOTALL | re.MULTILINE)


def notebook(page: str) -> dict[str, Any]:
    """The notebook of a page of Markdown, in Jupyter's format 4.5."""
    cells = list[dict[str, Any]]()
    for i, text in enumerate(PYTHON.split(page)):
        if not text.strip():
            continue
        if i % 2:
            of_kind: dict[str, Any] = {"cell_type": "code", "execution_count": None, "outputs": []}
        else:
            of_kind, text = {"cell_type": "markdown"}, LINK.sub(r"\1", text)
        cells.append({"id": f"cell-{i}", "metadata": {}, "source": text.strip()} | of_kind)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def write_notebooks(folder: Path) -> None:
    """Write the notebook of every tutorial into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for page in TUTORIALS.glob("*.md"):
        made = notebook(page.read_text(encoding="utf-8"))
        text = json.dumps(made, ensure_ascii=False, indent=1) + "\n"
        (folder / f"{page.stem}.ipynb").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_notebooks(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "notebooks")
