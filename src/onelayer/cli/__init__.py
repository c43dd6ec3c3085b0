"""The command line: parse, call, print.

Exit codes: 0 done, 1 failed, 2 wrong usage, 128 + n ended by signal n (130 by Ctrl-C).
"""

from __future__ import annotations

from onelayer.cli import interrupt

TYPE_CHECKING = False  # typing takes milliseconds, in which Ctrl-C is a traceback
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; it ends the process with its exit code."""
    interrupt.listen()
    # Imported here, since a signal may come while the libraries are.
    from onelayer.cli import models, runs, solve, train  # noqa: F401  # which declare the commands
    from onelayer.cli.app import run

    run()


__all__ = ["interrupt", "main"]
