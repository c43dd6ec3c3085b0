"""`python -m onelayer` is the command `onelayer`."""

from __future__ import annotations

from onelayer.cli import main

main()
