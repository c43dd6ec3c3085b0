"""Break the kernel in one place after the other and see the suite fail each time: `make mutants`.

The tree is copied, so the checkout is never touched. Each mutant is built for the machine's best
instruction set, without the optimiser's slower passes, and runs the native tests and the engines'
trajectories. A hang counts as noticed. Exit code 1 when a mutant survives.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from onelayer import _native
from tests.native.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
LONGEST_RUN = 300  # seconds
# An editable install would answer for the package before the path does.
RUN_TESTS = """
import sys
sys.meta_path = [f for f in sys.meta_path if "Redirecting" not in type(f).__name__]
sys.path[:0] = [{source!r}, {root!r}]
import pytest
from onelayer import _native
if not _native.__file__.startswith({source!r}):
    sys.exit(9)
options = ["-x", "-q", "-k", "not torch", "-p", "no:cacheprovider", "--no-header"]
sys.exit(pytest.main([*options, *{tests!r}]))
"""


def main() -> None:
    """Check that the suite passes unbroken, then that it fails for each mutant."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place)
        for part in ("native", "src", "tests"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("*.so"))
        for part in ("CMakeLists.txt", "pyproject.toml"):
            shutil.copy(ROOT / part, copy)
        _configure(copy)
        word, said = _judge(copy)
        if word != "passed":
            sys.exit(f"{said}\nthe unbroken kernel should pass, but the suite {word}.")
        survivors = [mutant for mutant in MUTANTS if not _noticed(copy, mutant)]
    print(f"{len(MUTANTS) - len(survivors)} of {len(MUTANTS)} mutants noticed")
    sys.exit(1 if survivors else 0)


def _configure(copy: Path) -> None:
    best = _native.instruction_set().replace("baseline", "")
    nanobind = subprocess.check_output(
        [sys.executable, "-m", "nanobind", "--cmake_dir"], text=True
    ).strip()
    command = ["cmake", "-S", str(copy), "-B", str(copy / "build"), "-G", "Ninja"]
    command += ["-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1", f"-Dnanobind_DIR={nanobind}"]
    command += [f"-DPython_EXECUTABLE={sys.executable}", f"-DONELAYER_SETS={best}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _noticed(copy: Path, mutant: Mutant) -> bool:
    path = copy / "native" / mutant.file
    text = path.read_text(encoding="utf-8")
    if mutant.right not in text:
        sys.exit(f"{mutant.file} no longer holds {mutant.right!r}; mend tests/native/mutants.py.")
    path.write_text(text.replace(mutant.right, mutant.wrong, 1), encoding="utf-8")
    word, _ = _judge(copy)
    path.write_text(text, encoding="utf-8")
    print(f"{word:14} {mutant.file}: {mutant.right!r} -> {mutant.wrong!r}", flush=True)
    return word in ("failed", "hung")


def _judge(copy: Path) -> tuple[str, str]:
    """Build, run the suite, and say what came of it: in a word, and the end of what was printed."""
    built = subprocess.run(
        ["cmake", "--build", copy / "build"], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        return "did not build", built.stdout[-2000:]
    (extension,) = (copy / "build").glob("_native*.so")
    shutil.copy(extension, copy / "src" / "onelayer")
    tests = [str(copy / "tests" / "native"), str(copy / "tests" / "test_engines.py")]
    code = RUN_TESTS.format(source=str(copy / "src"), root=str(copy), tests=tests)
    try:
        ran = subprocess.run(
            [sys.executable, "-c", code],
            cwd=copy,
            capture_output=True,
            text=True,
            timeout=LONGEST_RUN,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "hung", ""
    # pytest's own code for tests that failed is 1; a crash ends below 0. All else never tested.
    if ran.returncode > 1:
        sys.exit(f"the suite could not be run: {(ran.stdout + ran.stderr)[-2000:]}")
    return "passed" if ran.returncode == 0 else "failed", ran.stdout[-2000:]


if __name__ == "__main__":
    main()
