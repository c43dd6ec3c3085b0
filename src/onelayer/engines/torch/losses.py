"""Losses of rows and their derivatives in the scores, for all runs at once.

    softmax     −Σ t log p            ∂/∂s = p − t            t = (1 − ε) onehot(y) + ε/K
    K-sigmoid   (1/K) Σ [log(1 + eˢ) − t s]                   (σ(s) − t) / K

Shape letters: n rows, R runs, K classes; scores S (n, R, K).
"""

from __future__ import annotations

from typing import Any

import torch

from onelayer.engines.descent import Method
from onelayer.engines.torch.machine import on_device


class Losses:
    """What each of R runs lowers, on the device."""

    def __init__(self, method: Method, classes: int, dtype: Any, device: Any) -> None:
        self._K = classes
        self._smoothing = on_device(method.smoothing, device, dtype)
        self._smooths = bool(method.smoothing.any())
        self._sigmoid = on_device(method.sigmoid, device)
        self._any_sigmoid = bool(method.sigmoid.any())

    def write_targets(self, out: Any, y: Any, factors: Any) -> None:
        """Write −c t, the targets times a factor of each row and run, that a residual starts from.

        Args:
            out: where, shape (n, R, K).
            y: class index of each row, shape (n,).
            factors: c, shape (n, R).
        """
        out.copy_((factors * (self._smoothing / -self._K))[:, :, None].expand_as(out))
        own = (factors * (self._smoothing - 1.0))[:, :, None]
        out.scatter_add_(2, y[:, None, None].expand_as(own), own)

    def residual(self, S: Any, targets: Any, factors: Any) -> Any:
        """C ∂(a row's loss)/∂s, shape (n, R, K).

        Args:
            S: scores, shape (n, R, K).
            targets: −c t, as `write_targets` writes them.
            factors: c, shape (n, R).
        """
        logs = torch.log_softmax(S, 2)
        # Back through log-softmax a vector v becomes v − p Σ v: here c p − c t, in one kernel.
        R = torch.ops.aten._log_softmax_backward_data(targets, logs, 2, S.dtype)
        if self._any_sigmoid:
            other = torch.sigmoid(S).mul_(factors[:, :, None]).add_(targets).div_(self._K)
            R = torch.where(self._sigmoid[None, :, None], other, R)
        return R

    def of_rows(self, S: Any, y: Any) -> Any:
        """Loss of each row by each run's own loss, shape (n, R)."""
        along = S.gather(2, y[:, None, None].expand(len(y), S.shape[1], 1))[:, :, 0]
        if self._smooths:
            along = (1.0 - self._smoothing) * along + self._smoothing / self._K * S.sum(2)
        losses = torch.logsumexp(S, 2) - along
        if self._any_sigmoid:
            zero = torch.zeros((), dtype=S.dtype, device=S.device)
            sigmoid = (torch.logaddexp(S, zero).sum(2) - along) / self._K
            losses = torch.where(self._sigmoid, sigmoid, losses)
        return losses
