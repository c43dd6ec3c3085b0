"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1) -> str:
    """A Markdown table; columns from `numbers_from` on are set flush right.

    Example:
        >>> print(table(["who", "s"], [["a", "1"]]))
        | who | s |
        |---|---:|
        | a | 1 |
    """
    rules = ["---" if i < numbers_from else "---:" for i in range(len(head))]
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(rules)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
