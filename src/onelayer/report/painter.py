"""A second process that bundles the page's scripts and paints PNGs while the first draws charts.

vl-convert holds the interpreter's lock while it works, so threads would take turns; the two halves
of a page take about the same time and share nothing but files. The painter is told the stem of an
SVG file a line, paints <stem>.png from <stem>.svg, and at the end of its input hands back the
scripts. It runs nothing but vl-convert on files that this process wrote.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

PNG_SCALE = 2.5
# The page's script needs one function of the bundle.
EXPOSE = "window.vegaEmbed = vegaEmbed;"
DISK_REFUSED = 3


class Painter:
    """The first process's end: tell it charts, then ask for the scripts.

    Raises:
        OSError: from `scripts`, when the disk refused a picture.
    """

    def __enter__(self) -> Self:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            encoding="utf-8",
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()

    def paint(self, stem: Path) -> None:
        """Paint <stem>.png from <stem>.svg, which is there already."""
        assert self._process.stdin is not None  # noqa: S101  # opened above
        try:
            self._process.stdin.write(f"{stem}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.scripts()

    def scripts(self) -> str:
        """Wait until all is painted; return Vega and its companions as one script."""
        printed, _ = self._process.communicate()
        if self._process.returncode == DISK_REFUSED:
            number, _, reason = printed.partition(" ")
            raise OSError(int(number), reason)
        if self._process.returncode != 0:
            raise OSError(0, f"the painting process ended with {self._process.returncode}")
        return printed


def paint_all(stems: Iterable[str]) -> str:
    """Bundle the scripts, then paint a picture for each line of the input.

    Args:
        stems: paths without their endings, one a line.

    Returns:
        JavaScript, fit to stand inside a script element.

    Raises:
        OSError: when the disk refuses a picture.
    """
    import vl_convert

    script = vl_convert.javascript_bundle(EXPOSE)
    for line in stems:
        # Setting names hold dots ("lambda-0.1"), so the ending is appended, not replaced.
        stem = line.removesuffix("\n")
        svg = Path(f"{stem}.svg").read_text(encoding="utf-8")
        Path(f"{stem}.png").write_bytes(vl_convert.svg_to_png(svg, scale=PNG_SCALE))
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def main() -> None:
    """Be the second process: stems on standard input, scripts on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process to answer
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    try:
        sys.stdout.write(paint_all(sys.stdin))
    except OSError as error:
        sys.stdout.write(f"{error.errno or 0} {error.strerror or error}")
        sys.exit(DISK_REFUSED)
