"""Type checkers of users, strict, accept what the documents tell them to write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import onelayer
from tests.test_documents import PAGES, SNIPPETS, script

CACHE = Path(__file__).parents[1] / ".mypy_cache" / "snippets"
HERE = str(Path(onelayer.__file__).parents[1])

MYPY = """
[mypy]
strict = true
[mypy-pages.*]
disallow_untyped_defs = false
disallow_untyped_calls = false
[mypy-sklearn.*,scipy.*,pandas.*,pyarrow.*]
ignore_missing_imports = true
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A user's project of the README's snippets, and of each page's, with both checkers' settings.

    In pages functions of the user's own have no types, and neither do some libraries: the checkers
    are strict there about onelayer's alone.
    """
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "__init__.py").touch()
    codes = {f"pages/{page.stem.replace('-', '_')}": script(page) for page in PAGES}
    codes |= {f"readme_{i}": snippet for i, snippet in enumerate(SNIPPETS)}
    for name, code in codes.items():
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    settings: dict[str, object] = {"extraPaths": [HERE], "pythonVersion": "3.11"}
    settings |= {"typeCheckingMode": "standard", "strict": ["readme_*.py"]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    (tmp_path / "mypy.ini").write_text(MYPY, encoding="utf-8")
    return tmp_path


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(onelayer.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("checker", ["mypy", "basedpyright"])
def test_strict_type_checkers_accept_the_snippets_of_the_readme_and_the_pages(
    checker: str, programs: Path
) -> None:
    words = {
        "mypy": ["mypy", "--cache-dir", str(CACHE), "."],
        "basedpyright": ["basedpyright", "--pythonpath", sys.executable],
    }[checker]
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=programs, env=os.environ | {"MYPYPATH": HERE},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
