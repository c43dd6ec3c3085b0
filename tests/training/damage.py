"""Ways in which a file of a run folder is damaged."""

from __future__ import annotations

from pathlib import Path

DAMAGE = ("missing", "truncated", "empty", "foreign")


def damage_file(path: Path, damage: str) -> None:
    """Remove the file, cut it in half, empty it, or put another file in its place."""
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {"truncated": whole[: len(whole) // 2], "empty": b"", "foreign": b"GIF89a"}[damage]
        )
