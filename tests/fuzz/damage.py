"""Damage of bytes, texts and JSON documents, drawn from a random number generator."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import Any

from onelayer.files.tensors import PLACE, ZEROS

# Numbers at which sizes, counts and offsets break.
NUMBERS = (0, 1, -1, 2, 127, 255, 256, 32767, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**40,
           2**53 + 1, 2**62, 2**63 - 1, 2**64 - 1, -(2**63))  # fmt: skip
WORDS = (
    "", "nan", "-inf", "1e999", "1e308", "0x10", "9" * 400, "-1", "0", "true", "null", "NA", "x\ny",
    "a\0b", "../../x", "/etc/passwd", "<b>", "\ufeff", "é", "\u2028", "%s%n", "1,5", '"', "'", "\\",
    "x" * 5000,
)  # fmt: skip

# A pickle that would call a function of the system.
PICKLE = b"cos\nsystem\n(S'echo ran'\ntR."


def chance(rng: Random, percent: int) -> bool:
    return rng.randrange(100) < percent


def in_bytes(raw: bytes, rng: Random, other: bytes = b"GIF89a") -> bytes:
    """Damage a few places: bits, numbers, lengths, ranges that are cut, doubled or exchanged."""
    kinds = (_flip, _flip, _number, _number, _fill, _cut, _drop, _double, _insert)
    changed = bytearray(raw)
    for _ in range(1 if chance(rng, 70) else rng.randint(2, 8)):
        if chance(rng, 3):
            changed = _splice(changed, rng, other)
        else:
            rng.choice(kinds)(changed, rng)
    return bytes(changed)


def _range(raw: bytearray, rng: Random, most: int = 64) -> slice:
    start = rng.randrange(len(raw) + 1)
    return slice(start, start + rng.randint(1, most))


def _flip(raw: bytearray, rng: Random) -> None:
    # Formats keep what is worth breaking at their ends.
    for _ in range(rng.randint(1, 4)):
        if raw:
            near = rng.choice((len(raw), min(len(raw), 64)))
            at = rng.randrange(near)
            at = len(raw) - 1 - at if chance(rng, 40) else at
            raw[at] ^= 1 << rng.randrange(8)


def _number(raw: bytearray, rng: Random) -> None:
    size = rng.choice((1, 2, 4, 8))
    if len(raw) >= size:
        value = rng.choice(NUMBERS) % 256**size
        at = rng.randrange(len(raw) - size + 1)
        if chance(rng, 50):
            at -= at % size
        raw[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _fill(raw: bytearray, rng: Random) -> None:
    place = _range(raw, rng)
    count = len(raw[place])
    raw[place] = rng.choice((bytes(count), b"\xff" * count, rng.randbytes(count)))


def _cut(raw: bytearray, rng: Random) -> None:
    del raw[rng.randrange(len(raw) + 1) :]


def _drop(raw: bytearray, rng: Random) -> None:
    del raw[_range(raw, rng)]


def _double(raw: bytearray, rng: Random) -> None:
    place = _range(raw, rng, 4096)
    raw[place.start : place.start] = raw[place]


def _insert(raw: bytearray, rng: Random) -> None:
    at = rng.randrange(len(raw) + 1)
    raw[at:at] = rng.choice((rng.randbytes(rng.randint(1, 64)), PICKLE, b"\0" * 512))


def _splice(raw: bytearray, rng: Random, other: bytes) -> bytearray:
    return bytearray(raw[: rng.randrange(len(raw) + 1)] + other[rng.randrange(len(other) + 1) :])


def in_text(text: str, rng: Random) -> bytes:
    """Exchange words and numbers of a text, repeat, drop and mix its lines, or damage its bytes."""
    for _ in range(rng.randint(1, 3)):
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        words = list(re.finditer(r"[\w.+-]+", text))
        kind = rng.randrange(6)
        if kind <= 2 and words:
            word = rng.choice(words)
            text = text[: word.start()] + a_word(rng) + text[word.end() :]
        elif kind == 3:
            lines[at : at + 1] = [lines[at]] * rng.choice((0, 2, 3))
            text = "\n".join(lines)
        elif kind == 4:
            place = rng.randrange(len(text) + 1)
            text = (
                text[:place]
                + rng.choice((",", ";", "\t", '"', "\r", "\n", "[", "{", "="))
                + text[place:]
            )
        else:
            lines[at] = lines[at][::-1]
            text = "\n".join(lines)
    raw = text.encode("utf-8", "surrogatepass")
    if chance(rng, 10):
        raw = text.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")), "replace")
    return in_bytes(raw, rng) if chance(rng, 25) else raw


def a_word(rng: Random) -> str:
    return rng.choice(WORDS) if chance(rng, 60) else str(rng.choice(NUMBERS) * rng.choice((1, 3)))


def a_value(rng: Random) -> Any:
    """A JSON value that is not what is expected there."""
    plain: tuple[Any, ...] = (
        None,
        True,
        False,
        0.5,
        -0.0,
        1e308,
        10**400,
        [],
        {},
        [[]],
        {"": None},
    )
    simple = rng.choice((*plain, rng.choice(NUMBERS), rng.choice(WORDS), float("nan")))
    if chance(rng, 80):
        return simple
    return [simple] * rng.choice((1, 3, 100)) if chance(rng, 50) else {rng.choice(WORDS): simple}


def in_value(document: Any, rng: Random) -> Any:
    """Exchange, remove, add or double one value somewhere within a document."""
    if isinstance(document, dict) and document and not chance(rng, 8):
        key, changed = rng.choice(list(document)), dict(document)
        kind = rng.randrange(10)
        if kind == 0:
            del changed[key]
        elif kind == 1:
            changed[rng.choice((*WORDS, key + "x"))] = changed[key]
        else:
            changed[key] = in_value(changed[key], rng)
        return changed
    if isinstance(document, list) and document and not chance(rng, 8):
        at, listed = rng.randrange(len(document)), list(document)
        kind = rng.randrange(8)
        if kind == 0:
            del listed[at]
        elif kind == 1:
            listed.insert(at, listed[at])
        else:
            listed[at] = in_value(listed[at], rng)
        return listed
    return a_value(rng)


def in_json(text: str, rng: Random, *, valid: bool = False) -> bytes:
    """Damage a JSON document: its values mostly; its depth and its text, unless it stays valid."""
    kind = 2 if valid else rng.randrange(20)
    if kind == 0:
        return in_text(text, rng)
    if kind == 1:
        deep = rng.choice(("[", '{"a":')) * rng.choice((1000, 100_000))
        return (text.replace("1", deep, 1) if chance(rng, 50) else deep).encode()
    document = json.loads(text)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        document = in_value(document, rng)
    return json.dumps(document, ensure_ascii=chance(rng, 50)).encode("utf-8", "surrogatepass")


def in_safetensors(raw: bytes, rng: Random, *, sealed: bool = False) -> bytes:
    """Damage the header, its length or the bytes; the sum of a sealed file is set right again."""
    if chance(rng, 25):
        return in_bytes(raw, rng)
    length = int.from_bytes(raw[:8], "little")
    header, content = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    metadata = header.get("__metadata__", {})
    texts = [name for name, text in metadata.items() if text[:1] in ("{", "[")]
    if sealed and texts and chance(rng, 70):
        name = rng.choice(texts)
        metadata[name] = in_json(metadata[name], rng).decode("utf-8", "replace")
    else:
        header = in_value(header, rng)
    if sealed and isinstance(header, dict) and isinstance(header.get("__metadata__"), dict):
        header["__metadata__"]["sha256"] = ZEROS
    head = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    if chance(rng, 10):
        content = in_bytes(content, rng)
    size = len(head) if not chance(rng, 5) else rng.choice(NUMBERS) % 2**64
    whole = size.to_bytes(8, "little") + head + content
    sum_at = whole.find(PLACE)
    if sealed and sum_at >= 0 and chance(rng, 90):
        sum_at += len(PLACE)
        whole = whole[:sum_at] + sha256(whole).hexdigest().encode() + whole[sum_at + 64 :]
    return whole


DESCRS = (
    "'|O'", "'<f4'", "'>f8'", "'|V8'", "'<U9'", "'<U999999999'", "'<M8[ns]'", "'<c16'", "'|b1'",
    "'|S0'", "[('a', '<f4')]", "[('a', '|O')]", "'<f2'", "'bfloat16'", "'x'", "3", "None", "'<i8'",
    "[('a', '<f4', (2, 2))]", "[]", "'<f16'", "'|u1'", "('<f4', (3,))",
)  # fmt: skip
SHAPES = (
    "()", "(0,)", "(0, 0)", "(12,)", "(-1, 3)", "(12, 3, 1)", "(1000000000000, 3)", "(3, 2**40)",
    "(4611686018427387904, 4)", "(12.0, 3)", "('12', 3)", "[12, 3]", "12", "(True, 3)", "None",
    "(12, 0)", "(1,) * 70", "((12,), 3)", "(9223372036854775808, 1)", "(36, 1)", "(2, 18)",
)  # fmt: skip


def in_npy(raw: bytes, rng: Random) -> bytes:
    """Damage the header (type, order, shape, version, length), or the bytes."""
    if chance(rng, 35):
        return in_bytes(raw, rng)
    length = int.from_bytes(raw[8:10], "little")
    descr, order, shape = re.fullmatch(
        r"\{'descr': (.*), 'fortran_order': (.*), 'shape': (.*), \}\s*",
        raw[10 : 10 + length].decode(),
    ).groups()  # type: ignore[union-attr]  # it is one that NumPy wrote
    content = raw[10 + length :]
    descr = rng.choice(DESCRS) if chance(rng, 50) else descr
    shape = rng.choice(SHAPES) if chance(rng, 50) else shape
    order = rng.choice(("True", "False", "1", "None")) if chance(rng, 30) else order
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    if chance(rng, 10):
        text = rng.choice((a_word(rng), "(" * 2000, "__import__('os').system('x')", "{}" + text))
    if chance(rng, 10):
        content = rng.choice((PICKLE, content[: len(content) // 2], content * 2, b""))
    head = text.encode("utf-8", "replace") + b" " * rng.randrange(64) + b"\n"
    version = rng.choice((1, 1, 1, 2, 3, 4, 0))
    size = len(head) if chance(rng, 92) else rng.choice(NUMBERS) % 65536
    packed = struct.pack("<H", size % 65536) if version < 2 else struct.pack("<I", size)
    return b"\x93NUMPY" + bytes([version, 0]) + packed + head + content


def in_zip(
    members: dict[str, bytes], rng: Random, inner: Callable[[bytes, Random], bytes]
) -> bytes:
    """Damage the members, their names and how they are packed, or the bytes of the archive."""
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    target, stream = rng.choice((None, *members)), io.BytesIO()
    with zipfile.ZipFile(stream, "w", rng.choice(methods)) as archive:
        for name, content in members.items():
            if name == target:
                content = inner(content, rng)
                name = (
                    rng.choice((a_word(rng), f"../{name}", name[:-4])) if chance(rng, 25) else name
                )
                if chance(rng, 8):
                    continue
            info = zipfile.ZipInfo(name.replace("\0", "") or "x")
            info.compress_type = archive.compression
            archive.writestr(info, content)
            if name == target and chance(rng, 5):
                archive.writestr(info.filename + "2.npy", content)
    raw = stream.getvalue()
    return in_bytes(raw, rng) if target is None or chance(rng, 20) else raw
