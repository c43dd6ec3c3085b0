"""Ways in which files are damaged: whole files, JSON documents and sealed files, by seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from onelayer.files.manifest import MANIFEST_FILE, FileSum, read_manifest
from onelayer.files.tensors import PLACE, ZEROS

DAMAGE = ("missing", "truncated", "empty", "foreign")

# What a value of a document becomes; "remove" takes it out.
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 7, 1.5, -2.5, 10**30, 10**400, float("inf"), float("nan"), "", "x",
    "two\nlines", "\ud800", [], {}, [1, 2, 3], {"0": 1}, [None], "remove",
)  # fmt: skip


def damage_file(path: Path, damage: str) -> None:
    """Remove the file, cut it in half, empty it, or put another file in its place."""
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {"truncated": whole[: len(whole) // 2], "empty": b"", "foreign": b"GIF89a"}[damage]
        )


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Each container of a document, with the name or number of one of its values."""
    inside = document.items() if isinstance(document, dict) else enumerate(document)
    for name, value in inside:
        yield document, name
        if isinstance(value, (dict, list)):
            yield from _places(value)


def damage_json(text: str, rng: np.random.Generator) -> str:
    """The document with one value replaced, added or removed; or nested too deeply, or cut."""
    if rng.random() < 0.05:
        return str(rng.choice(["[" * 100_000, text[: rng.integers(len(text))], "[]", "null"]))
    document = json.loads(text)
    places = list(_places(document))
    container, name = places[rng.integers(len(places))]
    value = VALUES[rng.integers(len(VALUES))]
    if value == "remove":
        del container[name]
    elif isinstance(container, list) and rng.random() < 0.2:
        container.append(value)
    else:
        container[name] = value
    return json.dumps(document)


def damage_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with flipped bits, cut, or with bytes put in."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        # Half of the damage falls on what stands first: lengths and headers.
        where = int(rng.integers(len(content) if rng.random() < 0.5 else min(200, len(content))))
        how = rng.random()
        if how < 0.8:
            changed[where % len(changed)] ^= 1 << int(rng.integers(8))
        elif how < 0.9:
            del changed[where:]
            changed.append(0)
        else:
            changed[where:where] = bytes(rng.integers(0, 256, 9, np.uint8))
    return bytes(changed)


def reseal(folder: Path) -> None:
    """Give a run folder a manifest of the files that it has now, as a careful forger does."""
    manifest = read_manifest(folder)
    assert manifest is not None
    sums = {name: FileSum.of((folder / name).read_bytes()) for name in manifest.files}
    (folder / MANIFEST_FILE).write_bytes(replace(manifest, files=sums).encode())


def seal(content: bytes) -> bytes:
    """The content of a sealed file with the sum that it has now, as a careful forger leaves it."""
    place = content.find(PLACE) + len(PLACE)
    if place < len(PLACE):
        return content
    zeroed = content[:place] + ZEROS.encode() + content[place + len(ZEROS) :]
    return content[:place] + sha256(zeroed).hexdigest().encode() + content[place + len(ZEROS) :]


def damage_sealed(content: bytes, rng: np.random.Generator) -> bytes:
    """A sealed file with damage of its bytes, its header or a document in its header."""
    how = rng.random()
    if how < 0.3:
        return damage_bytes(content, rng)
    if how < 0.5:
        return seal(damage_bytes(content, rng))
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    texts = header["__metadata__"]
    documents = [name for name, text in texts.items() if text.startswith(("{", "["))]
    if how < 0.9 and documents:
        name = documents[rng.integers(len(documents))]
        texts[name] = damage_json(texts[name], rng)
        text = json.dumps(header, separators=(",", ":"))
    else:
        text = damage_json(json.dumps(header), rng)
    encoded = text.encode("utf-8", "surrogatepass")
    return seal(len(encoded).to_bytes(8, "little") + encoded + content[8 + length :])
