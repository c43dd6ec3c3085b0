"""Break the kernel in one place after the other and see the suite fail each time: `make mutants`.

The tree is copied, so the checkout is never touched. Each mutant is built for the machine's best
instruction set with few optimisations, and runs the native tests and the engines' trajectories.
A hang counts as noticed. The exit code is 1 if a mutant survives. With arguments only the files are
broken whose names begin so: `make mutants ARGS="kernel/sparse kernel/dual"`.
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
CHOSEN = "not torch and not every_instruction_set and not four_settings"
DESCENTS = (
    "coordinate_descent_ends_where_no_feature_can_lower_the_quadratic",
    "descent_in_columns_of_sparse_rows_ends_where_that_by_their_hessian_does",
    "rows_of_a_pair_lie_under_scores_of_features_as_they_are_stored",
    "the_search_of_a_pair_ends_where_no_weight_can_lower_the_cost",
    "the_gradient_of_what_a_step_of_a_pair_found_is_within_the_penalty",
    "sparse_rows_have_the_solution_that_the_same_rows_have_as_an_array",
)
TIMEOUT = 300  # seconds for one run of the suite
# The path hook of an editable install would find the checkout's package first.
RUN_TESTS = """
import sys
sys.meta_path = [f for f in sys.meta_path if "Redirecting" not in type(f).__name__]
sys.path[:0] = [{source!r}, {root!r}]
import pytest
from onelayer import _native
if not _native.__file__.startswith({source!r}):
    sys.exit(9)
options = ["-x", "-q", "-k", {chosen!r}, "-p", "no:cacheprovider", "--no-header"]
sys.exit(pytest.main([*options, *{tests!r}]))
"""


def main() -> None:
    """Check that the suite passes on the correct kernel and fails on each mutant."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("native", "src", "tests"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("*.so"))
        for part in ("CMakeLists.txt", "pyproject.toml"):
            shutil.copy(ROOT / part, copy)
        _configure(copy)
        outcome, output = _run_suite(copy)
        if outcome != "passed":
            sys.exit(f"{output}\nthe correct kernel must pass, but the suite {outcome}")
        chosen = [m for m in MUTANTS if m.file.startswith(tuple(sys.argv[1:]) or "")]
        survivors = [mutant for mutant in chosen if not _noticed(copy, mutant)]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants noticed")
    sys.exit(1 if survivors else 0)


def _configure(copy: Path) -> None:
    best = _native.instruction_set().replace("portable", "")
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
        sys.exit(f"{mutant.file} has no {mutant.right!r}; update tests/native/mutants.py")
    path.write_text(text.replace(mutant.right, mutant.wrong, 1), encoding="utf-8")
    outcome, _ = _run_suite(copy)
    path.write_text(text, encoding="utf-8")
    print(f"{outcome:14} {mutant.file}: {mutant.right!r} -> {mutant.wrong!r}", flush=True)
    return outcome in ("failed", "hung")


def _run_suite(copy: Path) -> tuple[str, str]:
    """Build and run the suite; return the outcome and the end of the output."""
    built = subprocess.run(
        ["cmake", "--build", copy / "build"], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        return "did not build", built.stdout[-2000:]
    (extension,) = (copy / "build").glob("_native*.so")
    shutil.copy(extension, copy / "src" / "onelayer")
    names = (
        "native",
        "engines/test_engines.py",
        "engines/test_sparse.py",
        "data/test_sparse.py",
        "solver/test_sparse.py",
        *(f"solver/test_proximal.py::test_{name}" for name in DESCENTS),
        "training/test_pinned.py",
    )
    tests = [str(copy / "tests" / name) for name in names]
    code = RUN_TESTS.format(chosen=CHOSEN, source=str(copy / "src"), root=str(copy), tests=tests)
    try:
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=copy,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "hung", ""
    # pytest exits with 1 if tests failed; a crash is negative. Anything else did not test at all.
    if run.returncode > 1:
        sys.exit(f"the suite could not be run: {(run.stdout + run.stderr)[-2000:]}")
    return "passed" if run.returncode == 0 else "failed", run.stdout[-2000:]


if __name__ == "__main__":
    main()
