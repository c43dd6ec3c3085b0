"""What is saved as a run folder and has a page: the result of training, a λ path and a suite.

Run folders and pages are the work of higher packages, which are imported by name when asked.
"""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from onelayer.errors import SaveError


class Saved:
    """Saving, loading, reporting and printing of a `Result`, a `Path` or a `Suite`."""

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped early; such a run is replaced without `overwrite`."""
        raise NotImplementedError

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Save the records, all or none, and then report.html, as a run folder.

        Args:
            folder: only files that onelayer wrote are replaced there. Checkpoints are removed,
                unless training was interrupted: then they are what it resumes from.
            overwrite: whether to replace a finished run.

        Raises:
            SaveError: when a finished run or files of others are in the way, or when it cannot be
                written; what there was stays then. When only the page cannot be drawn, the records
                are saved.

        Example:
            >>> import tempfile
            >>> from onelayer import Result, Run, load, train
            >>> result = train(load("digits"), [Run(learning_rate=0.1, epochs=1)])
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     result.save(f"{folder}/first")
            ...     bool((Result.load(f"{folder}/first").W == result.W).all())
            True
        """
        _run_folder().save_records(self, folder, overwrite=overwrite)
        _run_folder().draw_page(self, folder)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Load what was saved in a run folder, weights bit for bit.

        Raises:
            SaveError: when a file is missing, damaged, or of another kind or format.
        """
        loaded: Self = _run_folder().load_records(cls, folder)
        return loaded

    def report(self, path: Path | str | None = None) -> Path:
        """Write the page alone, one HTML file that needs no network, and return its path.

        Args:
            path: of the page. None takes a new temporary folder, where the charts are written as
                PNG and SVG as well.

        Raises:
            SaveError: when it cannot be written, and for a folder, whose files it could replace.
        """
        if path is not None and Path(path).is_dir():
            raise SaveError(f"{path} is a folder; name a file for the page, such as report.html.")
        place = Path(tempfile.mkdtemp(prefix="onelayer-") if path is None else path)
        page: Path = import_module("onelayer.report.page").write_report(self, place)
        return page

    def __repr__(self) -> str:
        text: str = import_module("onelayer.report.notebook").record_text(self)
        return text

    def _repr_html_(self) -> str:
        html: str = import_module("onelayer.report.notebook").record_html(self)
        return html


def _run_folder() -> Any:
    return import_module("onelayer.training.run_folder")
