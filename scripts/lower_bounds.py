"""Print the lowest versions that pyproject.toml admits as constraints of pip, for `make oldest`.

PyTorch is left out: its oldest builds for Linux are for GPUs. The tests' own version is taken. The
oldest typer has the click of its time: later ones deprecate what it imports.
"""

import re
import tomllib
from pathlib import Path

declared = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
requirements = {*declared["project"]["dependencies"], *declared["dependency-groups"]["test"]}
requirements.update(*declared["project"]["optional-dependencies"].values())
for requirement in sorted(requirements):
    name, bound = re.split(r"(?:\[.*\])?[>=]=", requirement)
    if name != "torch":
        print(f"{name}=={bound}")
print("click<8.3")
