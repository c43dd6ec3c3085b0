"""Type checkers of users, strict, accept what the documents tell them to write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import onelayer
from tests.test_documents import SNIPPETS

CACHE = Path(__file__).parents[1] / ".mypy_cache" / "snippets"
HERE = str(Path(onelayer.__file__).parents[1])


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The README's snippets as files of a user's project, which has settings for both checkers."""
    for i, snippet in enumerate(SNIPPETS):
        (tmp_path / f"snippet_{i}.py").write_text(snippet, encoding="utf-8")
    settings = {"typeCheckingMode": "strict", "extraPaths": [HERE], "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n", encoding="utf-8")
    return tmp_path


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(onelayer.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("checker", ["mypy", "basedpyright"])
def test_strict_type_checkers_accept_the_snippets_of_the_readme(
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
