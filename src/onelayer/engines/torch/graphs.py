"""Many steps as one CUDA graph, so that small steps are not bound by their kernels' launches."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch


class Graphs:
    """Graphs by what they hold: captured when work of a shape is met, replayed from then on."""

    def __init__(self, device: Any) -> None:
        self._captures = device.type == "cuda"
        self._device = device
        self._graphs: dict[object, Any] = {}

    def run(self, key: object, work: Callable[[], None], state: list[Any]) -> None:
        """Do the work, from its graph where there can be one.

        Args:
            key: tells work of one shape, on the same tensors, from work of another.
            work: reads and writes the same tensors at every call, and asks nothing of the host.
            state: tensors that it changes and that its next call depends on.
        """
        if not self._captures:
            work()
            return
        if key not in self._graphs:
            self._graphs[key] = self._capture(work, state)
        graph = self._graphs[key]
        if graph is None:
            work()
        else:
            graph.replay()

    def forget(self) -> None:
        """Forget all graphs, because tensors that they are of have been replaced."""
        self._graphs.clear()

    def _capture(self, work: Callable[[], None], state: list[Any]) -> Any | None:
        """The work's graph; None where PyTorch cannot make it, which costs speed alone."""
        before = [tensor.clone() for tensor in state]
        side = torch.cuda.Stream(self._device)
        side.wait_stream(torch.cuda.current_stream(self._device))
        # Libraries allocate at their first call, which a capture does not allow.
        with torch.cuda.stream(side):
            work()
        torch.cuda.current_stream(self._device).wait_stream(side)
        for tensor, old in zip(state, before, strict=True):
            tensor.copy_(old)
        graph = torch.cuda.CUDAGraph()
        try:
            # Another thread may be copying rows meanwhile: that is no part of the capture.
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                work()
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            warnings.warn(
                f"the steps could not be captured as a CUDA graph ({reason}); each is launched by "
                "itself, which is slower where batches are small.",
                stacklevel=2,
            )
            return None
        return graph
