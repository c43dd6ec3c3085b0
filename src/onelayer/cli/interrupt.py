"""Ctrl-C and other signals end a command with one line and 128 + n, at whatever moment they come.

While a command works, a signal is Python's KeyboardInterrupt, so that it can save what is to be
resumed. Before that, while modules are imported and options are read, the process ends at once:
libraries turn the exception into errors of their own. After that, what is done stays done.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from contextlib import contextmanager

TYPE_CHECKING = False  # typing takes milliseconds, in which Ctrl-C is a traceback
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

ENDING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]

# Until a signal that was lost in a callback is given again.
AGAIN_SECONDS = 0.05


class _Signals:
    """The first signal that came, and what the next one does."""

    received = 0
    own: tuple[int, ...] = ()  # that are answered here
    answer = "leave"  # "raise" while a command works, "ignore" after it

    def handle(self, number: int, _: Any) -> None:
        if self.answer == "ignore":
            return
        self.received = self.received or number
        if self.answer == "raise":
            raise KeyboardInterrupt
        end("interrupted.")

    def lost(self, unraisable: Any) -> None:
        """Give a signal again that came in a callback, whose errors Python prints and forgets."""
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            sys.__unraisablehook__(unraisable)
        elif self.received:
            again = threading.Timer(AGAIN_SECONDS, _thread.interrupt_main, (self.received,))
            again.daemon = True
            again.start()


_SIGNALS = _Signals()


def listen() -> None:
    """Answer signals from now on, except those that whoever started the process has ignored."""
    _SIGNALS.received, _SIGNALS.answer = 0, "leave"
    launched = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()
    if launched or threading.current_thread() is not threading.main_thread():
        return  # torchrun's processes end together: engines/torch/distributed
    ignored = {s for s in ENDING if signal.getsignal(s) is signal.SIG_IGN} - {*_SIGNALS.own}
    _SIGNALS.own = tuple(s for s in ENDING if s not in ignored)
    for number in _SIGNALS.own:
        signal.signal(number, _SIGNALS.handle)
    sys.unraisablehook = _SIGNALS.lost


def over() -> None:
    """Ignore signals to the process's end, where Python would give them back to the system."""
    for number in _SIGNALS.own:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def working() -> Iterator[None]:
    """Raise KeyboardInterrupt for signals while the block runs, and ignore them after it."""
    before, _SIGNALS.answer = _SIGNALS.answer, "raise"
    try:
        yield
    finally:
        _SIGNALS.answer = before if before == "raise" else "ignore"
        # Python would end by SIGINT where the exception has passed through text that is run, as of
        # dataclasses, until other text is.
        exec("")  # noqa: S102


def came() -> bool:
    """Whether a signal has come, whatever became of its exception."""
    return _SIGNALS.received > 0


def exit_code() -> int:
    """What shells expect of a command that a signal has ended: 130 for Ctrl-C."""
    return 128 + (_SIGNALS.received or signal.SIGINT)


def show_cursor() -> None:
    """Give a terminal its cursor back, which bars hide."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")


def end(line: str) -> NoReturn:
    """End the process at once, with a line on standard error."""
    try:
        show_cursor()
        print(line, file=sys.stderr, flush=True)
    except (OSError, RuntimeError, ValueError):
        pass  # nobody is there to read it, or it came while another line was written
    os._exit(exit_code())
