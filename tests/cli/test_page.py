"""docs/reference/command-line.md: every command runs as it is written, in order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import typer

from onelayer import load
from onelayer.cli.app import app
from tests.cli.conftest import Command

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"


def test_every_command_of_the_page_runs_and_every_command_is_on_the_page(run: Command) -> None:
    text = PAGE.read_text(encoding="utf-8")
    lines = [line for code in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
             for line in code.splitlines()]  # fmt: skip
    digits = load("digits").test
    for name in ("same", "new"):
        np.save(f"{name}.npy", digits.X)
    for name in ("labels", "new_labels"):
        np.save(f"{name}.npy", digits.y)
    np.save("acts.npy", np.stack([digits.X, digits.X[:, ::-1]], axis=1))  # two layers
    np.save("y.npy", digits.y)
    for line in lines:
        code, _, err = run(*shlex.split(line)[1:])
        assert code == 0, f"{line}: {err}"
    shown = {line.split()[1] for line in lines}
    assert shown == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
