"""The process that runs cases: `python -m tests.faults.worker SEED`, by the campaign.

It takes lines "kind number" and answers each with "begin", then "read" (done), "refused" (one line
of error) or a fault in words.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from random import Random

from tests.faults.commands import Case, FaultError
from tests.faults.kinds import KINDS, prepare


def blank_page(_: object, folder: Path) -> None:
    """Stands for the page of a run folder, which takes seconds to draw."""
    (folder / "report.html").write_text("a page", encoding="utf-8")


def warm() -> None:
    """Import what commands import, so that their processes need not."""
    import onelayer.cli
    import onelayer.report.page
    import onelayer.sklearn

    onelayer.report.page.write_report = blank_page  # type: ignore[assignment]


def answer(kind: str, number: int, seed: int, made: Path, place: Path) -> str:
    """Run a case in an empty folder, and say how it went."""
    folder = place / "case"
    folder.mkdir()
    try:
        return KINDS[kind](Case(folder, Random(f"{seed} {kind} {number}"), made))
    except FaultError as fault:
        return str(fault)
    except BaseException as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        return f"case failed: {type(error).__name__} in {at.name}:{at.lineno}: {error!r:.200}"


def main() -> None:
    """Run cases from stdin until it ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    seed = int(sys.argv[1])
    warm()
    with tempfile.TemporaryDirectory(prefix="onelayer-faults-") as made:
        prepare(Path(made))
        for line in sys.stdin:
            kind, _, number = line.strip().rpartition(" ")
            print("begin", file=replies)
            place = tempfile.mkdtemp(prefix="onelayer-faults-")
            told = answer(kind, int(number), seed, Path(made), Path(place))
            shutil.rmtree(place, ignore_errors=True)
            print(told.replace("\n", " ").replace(place, "…"), file=replies)


if __name__ == "__main__":
    main()
