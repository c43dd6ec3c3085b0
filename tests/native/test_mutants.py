"""The places that `make mutants` breaks are in the kernel."""

from pathlib import Path

from tests.native.mutants import MUTANTS

NATIVE = Path(__file__).parents[2] / "native"


def test_every_place_to_break_is_still_in_the_kernel() -> None:
    for mutant in MUTANTS:
        assert mutant.right in (NATIVE / mutant.file).read_text(encoding="utf-8"), mutant
