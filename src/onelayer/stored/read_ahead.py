"""Reading ahead: a thread fills one buffer while the one before is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

Task = TypeVar("Task")
Buffer = TypeVar("Buffer")


def read_ahead(
    tasks: Iterator[Task],
    load: Callable[[Task, Buffer, Buffer | None], None],
    buffers: Sequence[Buffer],
) -> Iterator[tuple[Task, Buffer]]:
    """Do the tasks in order in a thread, as far ahead as there are buffers.

    The thread ends with the iterator: when tasks are at their end, when a task fails, and when the
    loop over them is left, by an error or Ctrl-C for instance.

    Args:
        tasks: what is to be read; taken in the thread.
        load: fills a buffer by a task, in the thread; its third argument is the buffer of the task
            before, which is not yet overwritten, None for the first.
        buffers: two or more; they are filled in turn.

    Yields:
        Each task with its buffer, which is overwritten after the next one is asked for.

    Raises:
        BaseException: whatever tasks or load raise.

    Example:
        >>> def load(task, buffer, before):
        ...     buffer[0] = task
        >>> [buffer[0] for _, buffer in read_ahead(iter("abc"), load, [[0], [0]])]
        ['a', 'b', 'c']
    """
    turns = _Turns(tasks, load, buffers)
    thread = threading.Thread(target=turns.run, name="onelayer-read-ahead", daemon=True)
    try:
        thread.start()
        while (filled := turns.filled.get()) is not None:
            if isinstance(filled, BaseException):
                raise filled
            yield filled
            turns.free.put(True)
    finally:
        turns.free.put(False)
        if thread.ident is not None:
            thread.join()


class _Turns(Generic[Task, Buffer]):
    """The thread's side: it waits for a free buffer, fills it, and hands it over."""

    def __init__(
        self,
        tasks: Iterator[Task],
        load: Callable[[Task, Buffer, Buffer | None], None],
        buffers: Sequence[Buffer],
    ) -> None:
        self._tasks, self._load, self._buffers = tasks, load, buffers
        # True for each buffer that may be overwritten; False to end.
        self.free: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.filled: queue.SimpleQueue[tuple[Task, Buffer] | BaseException | None]
        self.filled = queue.SimpleQueue()
        for _ in buffers:
            self.free.put(True)

    def run(self) -> None:
        try:
            for turn, task in enumerate(self._tasks):
                if not self.free.get():
                    return
                buffer = self._buffers[turn % len(self._buffers)]
                before = self._buffers[(turn - 1) % len(self._buffers)] if turn else None
                self._load(task, buffer, before)
                self.filled.put((task, buffer))
            self.filled.put(None)
        except BaseException as error:
            self.filled.put(error)
