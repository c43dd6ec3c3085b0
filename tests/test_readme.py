"""Every sentence in the README is true when run: its Python, and its commands' names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = sorted(set(re.findall(r"^    onelayer ([a-z-]+(?: list| fetch)?)", README, flags=re.M)))


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_python_of_the_readme_runs_and_prints_what_its_comments_say(
    snippet: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", snippet],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for said in re.findall(r"^print\(.*\)  # (cost .*)$", snippet, flags=re.M):
        assert said in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_readme_exist(command: str) -> None:
    words = [sys.executable, "-m", "onelayer", *command.split(), "--help"]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
