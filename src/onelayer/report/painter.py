"""Charts are drawn by other processes: one that dies on a chart takes nothing else with it.

Two of them work while the first process makes the page, since vl-convert holds the interpreter's
lock: one draws Vega-Lite as SVG, the other bundles the page's scripts and paints PNGs. They run
this file alone, nothing but vl-convert on what the first process sends: a JSON list on each line of
their input, of an action, a path without ending, and a specification. The bundle, which takes a
second, is the same for every page and is kept in the user's cache, its SHA-256 in its name.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

PNG_SCALE = 2.5

# The exit code of a process that prints its reason.
FAILED = 3


class DrawingError(Exception):
    """A process that draws has failed, or was killed."""


class Drawer:
    """A process that draws."""

    def __init__(self) -> None:
        # Modules are found where this process finds them, and never in the current folder.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            encoding="utf-8",
        )

    def send(self, action: str, stem: Path | str = "", spec: Any = None) -> None:
        """Tell it what to do next."""
        try:
            print(json.dumps([action, str(stem), spec]), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            self.finish()

    def answer(self) -> None:
        """Wait until it has drawn an SVG."""
        assert self.process.stdout is not None  # noqa: S101
        if (line := self.process.stdout.readline()) != "\n":
            self.finish(line)

    def finish(self, printed: str = "") -> str:
        """Wait for its end; return what it printed, or raise what it failed of."""
        printed += self.process.communicate()[0]
        code = self.process.returncode
        if code == FAILED:
            number, _, reason = printed.strip().partition(" ")
            raise OSError(int(number), reason) if int(number) else DrawingError(reason)
        if code:
            how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
            raise DrawingError(f"the process that draws charts {how}")
        return printed

    def kill(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


class Painter:
    """The first process's end: tell it charts, then ask for the scripts; OSError, DrawingError."""

    def __enter__(self) -> Self:
        self._second = Drawer()
        self._scripts = kept_scripts()
        if self._scripts is None:
            self._second.send("bundle")
        self._first: Drawer | None = None
        return self

    def __exit__(self, *_: object) -> None:
        for drawer in filter(None, (self._first, self._second)):
            drawer.kill()

    def start(self) -> None:
        """Start what draws charts, which takes a moment."""
        self._first = Drawer()

    def draw(self, stem: Path, spec: Any) -> None:
        """Draw <stem>.svg, and have <stem>.png painted."""
        if self._first is None:
            self.start()
        assert self._first is not None  # noqa: S101
        self._first.send("svg", stem, spec)
        self._first.answer()
        self.paint(stem)

    def paint(self, stem: Path) -> None:
        """Paint <stem>.png from <stem>.svg, which is there already."""
        self._second.send("png", stem)

    def scripts(self) -> str:
        """Wait until all is painted; return Vega and its companions as one script."""
        made = self._second.finish()
        if self._scripts is None:
            self._scripts = made
            keep_scripts(made)
        return self._scripts


def _scripts_file(checksum: str) -> Path:
    from importlib.metadata import version

    from onelayer.data.datasets.cache import cache_folder

    return cache_folder("scripts") / f"vega-{version('vl-convert-python')}-{checksum}.js"


def kept_scripts() -> str | None:
    """The scripts that an earlier page of this version of vl-convert had; None where none are."""
    form = _scripts_file("*")
    with suppress(OSError):
        for file in form.parent.glob(form.name):
            content = file.read_bytes()
            if file == _scripts_file(sha256(content).hexdigest()):
                return content.decode()
    return None


def keep_scripts(scripts: str) -> None:
    """Keep the scripts for the next page, if the cache can be written to."""
    from onelayer.errors import SaveError
    from onelayer.files.atomic import staged_file

    content = scripts.encode()
    file = _scripts_file(sha256(content).hexdigest())
    with suppress(OSError, SaveError), staged_file(file) as staging:
        staging.write_bytes(content)


def work(lines: Iterable[str]) -> str:
    """Do what each line says; return the scripts if they were asked for."""
    import vl_convert

    script = ""
    for line in lines:
        action, stem, spec = json.loads(line)
        # Setting names hold dots ("lambda-0.1"), so the ending is appended, not replaced.
        svg = Path(f"{stem}.svg")
        if action == "bundle":
            # The page's script needs one function of the bundle.
            script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
        elif action == "svg":
            svg.write_text(vl_convert.vegalite_to_svg(spec), encoding="utf-8")
            print(flush=True)
        else:
            drawing = svg.read_text(encoding="utf-8")
            Path(f"{stem}.png").write_bytes(vl_convert.svg_to_png(drawing, scale=PNG_SCALE))
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def main() -> None:
    """Be a process that draws: lines on standard input, scripts on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process to answer
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    code = 0
    try:
        said = work(sys.stdin)
    except BaseException as error:  # a panic of the library is no `Exception`
        number = (error.errno or 0) if isinstance(error, OSError) else 0
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        said, code = f"{number} {' '.join(reason.split())}", FAILED
    try:
        sys.stdout.write(said)
        sys.stdout.flush()
    except OSError:  # the first process is gone
        code = FAILED
    os._exit(code)  # not by way of the library, whose threads may still be at work


if __name__ == "__main__":
    main()
