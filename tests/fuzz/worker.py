"""The process that reads damaged files: `python -m tests.fuzz.worker`, by the campaign.

It takes lines "format number" and answers each with "begin", then "read", "refused" or a fault in
words. Whatever readers print goes to a file.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from onelayer.errors import OnelayerError

MEMORY_BYTES, CPU_SECONDS = 2 << 30, 10.0
# What runs code that a file names: no reader has a reason to do either.
RUNS_CODE = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class")

ran: list[str] = []


def watch(event: str, arguments: object) -> None:
    if event in RUNS_CODE:
        ran.append(f"{event} {arguments!r}"[:200])


@contextmanager
def own_memory() -> Iterator[None]:
    """Limit a case by what the process has, of which allocators keep some for earlier cases."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def answer(format_name: str, number: int, seed: int, place: Path) -> str:
    """Write the damaged file of a case, read it, and say how that went."""
    from tests.fuzz.formats import FORMATS

    form, rng = FORMATS[format_name], Random(f"{seed} {format_name} {number}")
    folder = place / "inside"
    folder.mkdir()
    form.write(folder, rng)
    ran.clear()
    sys.stderr.flush()
    printed, started = os.fstat(2).st_size, time.process_time()
    try:
        with own_memory():
            form.read(folder, rng)
        told = "read"
    except OnelayerError as error:
        told = "refused" if "\n" not in str(error) else f"several lines: {str(error)!r:.300}"
    except BaseException as error:  # what a reader should never let out
        where = [f for f in traceback.extract_tb(error.__traceback__) if "/onelayer/" in f.filename]
        at = f"{where[-1].filename.partition('/onelayer/')[2]}:{where[-1].lineno}" if where else "?"
        told = f"{type(error).__name__} in {at}: {str(error)!r:.200}"
    if time.process_time() - started > CPU_SECONDS:
        told = f"slow: {time.process_time() - started:.0f} s of the processor, {told}"
    if ran:
        told = f"ran code: {ran[0]}"
    if (left := sorted(path.name for path in place.iterdir())) != ["inside"]:
        told = f"wrote outside of its folder: {left}"
    sys.stderr.flush()
    if os.fstat(2).st_size > printed and told == "read":
        with open("/proc/self/fd/2", "rb") as stream:
            stream.seek(printed)
            text = stream.read().decode("utf-8", "replace")
        told = f"printed: {text.splitlines()[0]:.200}" if text.strip() else told
    return told


def main() -> None:
    """Read cases from stdin until it ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    own = os.fdopen(os.dup(2), "w", encoding="utf-8")
    sys.excepthook = lambda *error: traceback.print_exception(*error, file=own)
    log = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the process
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    from tests.fuzz import formats

    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *_, **__: formats.one_line(str(message))

    seed = int(sys.argv[1])
    formats.warm()
    sys.addaudithook(watch)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        format_name, _, number = line.strip().rpartition(" ")
        print("begin", file=replies)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            told = answer(format_name, int(number), seed, Path(place))
        print(told.replace("\n", " "), file=replies)
        if os.fstat(2).st_size > 1 << 20:
            os.ftruncate(2, 0)


if __name__ == "__main__":
    main()
