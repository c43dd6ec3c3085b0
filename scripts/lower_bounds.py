"""Print the lowest versions that pyproject.toml admits as constraints of pip, for `make oldest`.

PyTorch is left out: the oldest build for Linux is one for GPUs, of gigabytes.
"""

import re
import tomllib
from pathlib import Path

declared = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
requirements = {*declared["project"]["dependencies"], *declared["dependency-groups"]["test"]}
requirements.update(*declared["project"]["optional-dependencies"].values())
for requirement in sorted(requirements):
    name, bound = re.split(r"(?:\[.*\])?>=", requirement)
    if name != "torch":
        print(f"{name}=={bound}")
