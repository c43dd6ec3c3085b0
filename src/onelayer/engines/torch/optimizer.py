"""The state of R runs on the device, their losses, and the step that they take together.

    S = X̃ W̃ᵀ                    (n, R·K)
    Γ = R̃ᵀ X̃ + 2λ W             R̃ = (w/B) ∂loss/∂s

The losses are those of `onelayer.objective.loss`, the steps those of `onelayer.engines.base`, on W̃,
which is W with b as a last feature. Where no step needs a slot, η is put into R̃, and λ into a
factor 1 − 2ηλ of W, so that a step is three kernels beside the two products.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.engines.base import AVERAGE, VELOCITY, Method, State, Steps
from onelayer.engines.torch.device import on_device
from onelayer.engines.torch.rows import TYPES, Machine, join, part
from onelayer.objective.penalty import Penalty


class Losses:
    """What each of R runs lowers, on the device."""

    def __init__(self, method: Method, classes: int, dtype: Any, device: Any) -> None:
        self._K, self.runs = classes, len(method.l2)
        self._smoothing = on_device(method.label_smoothing, device, dtype)
        self._smooths = bool(method.label_smoothing.any())
        self._sigmoid = on_device(method.sigmoid, device)
        self._any_sigmoid = bool(method.sigmoid.any())

    def write_targets(self, out: Any, y: Any, factors: Any) -> None:
        """Write −c t to `out` (n, R, K), for class indices y (n,) and factors c (n, R)."""
        if y.ndim == 2:
            out.copy_(self.of_labels(y, out) * -factors[:, :, None])
            return
        out.copy_((factors * (self._smoothing / -self._K))[:, :, None].expand_as(out))
        own = (factors * (self._smoothing - 1.0))[:, :, None]
        out.scatter_add_(2, y[:, None, None].expand_as(own), own)

    def of_labels(self, y: Any, like: Any) -> Any:
        """Targets of many labels y (n, L), as (n, R, K) or what broadcasts to it."""
        y = y.to(like.dtype)
        of = y[:, None, :] if like.shape[2] == y.shape[1] else y[:, :, None]
        return (1.0 - self._smoothing[:, None]) * of + self._smoothing[:, None] / 2.0

    def residual(self, S: Any, targets: Any, factors: Any, *, many: bool = False) -> Any:
        """C ∂(a row's loss)/∂s, for scores S and targets −c t (n, R, K) and factors c (n, R)."""
        if many:
            return torch.sigmoid(S).mul_(factors[:, :, None]).add_(targets)
        logs = torch.log_softmax(S, 2)
        # Back through log-softmax a vector v becomes v − p Σ v: here c p − c t, in one kernel.
        R = torch.ops.aten._log_softmax_backward_data(targets, logs, 2, S.dtype)
        if self._any_sigmoid:
            other = torch.sigmoid(S).mul_(factors[:, :, None]).add_(targets).div_(self._K)
            R = torch.where(self._sigmoid[None, :, None], other, R)
        return R

    def of_rows(self, S: Any, y: Any) -> Any:
        """Loss of each row by each run's own loss, shape (n, R)."""
        if y.ndim == 2:
            zero = torch.zeros((), dtype=S.dtype, device=S.device)
            return (torch.logaddexp(S, zero) - self.of_labels(y, S) * S).sum(2)
        along = S.gather(2, y[:, None, None].expand(len(y), S.shape[1], 1))[:, :, 0]
        if self._smooths:
            along = (1.0 - self._smoothing) * along + self._smoothing / self._K * S.sum(2)
        losses = torch.logsumexp(S, 2) - along
        if self._any_sigmoid:
            zero = torch.zeros((), dtype=S.dtype, device=S.device)
            sigmoid = (torch.logaddexp(S, zero).sum(2) - along) / self._K
            losses = torch.where(self._sigmoid, sigmoid, losses)
        return losses


class Batch(NamedTuple):
    """Rows of one batch, or of a part of it: X̃ (n, width), −c t (n, R, K) and c (n, R).

    c is the row's weight over the batch's size, times η where steps are plain.
    """

    X: Any
    targets: Any
    factors: Any
    many: bool = False  # whether rows have many labels


class Rates(NamedTuple):
    """η, 1 − 2ηλ, α, ℓ and ℓ λ₁ of one step, each of shape (R, 1, 1)."""

    rate: Any
    shrink: Any
    alpha: Any
    length: Any
    threshold: Any


class Descent:
    """R runs on the device."""

    def __init__(self, state: State, method: Method, machine: Machine) -> None:
        self.runs, self.classes, self.features = state.weights.W.shape
        self.dtype = TYPES[state.weights.W.dtype.name]
        self.losses = Losses(method, self.classes, self.dtype, machine.device)
        self._method, self._machine, self._products = method, machine, machine.products
        state = state.copy(method.slots)
        self.W = join(state.weights, machine.device)
        self._slots = {name: join(slot, machine.device) for name, slot in state.slots.items()}
        self._twice_l2 = self.of_runs(2.0 * method.l2)
        self._momentum = self.of_runs(method.momentum)
        self._nesterov = self.of_runs(method.nesterov) != 0
        self._gradient = torch.zeros_like(self.W)
        self._averages = False
        # Runs whose b stays as it is; None where there are none.
        held = on_device(method.no_intercept[:, None], machine.device)
        self._held = held if method.no_intercept.any() else None
        self._decays, self._looks_ahead = bool(method.l2.any()), bool(method.nesterov.any())
        self._thresholds = bool(method.l1.any())
        grouped = method.grouped & (method.l1 > 0.0)
        self._grouped = self.of_runs(grouped) != 0 if grouped.any() else None

    @property
    def plain(self) -> bool:
        """Whether steps need nothing but the gradient, so that η is in the residual."""
        return not self._slots.keys() - {AVERAGE}

    @property
    def model(self) -> Any:
        """The joined weights that are evaluated: the average where there is one."""
        return self._slots.get(AVERAGE, self.W)

    @property
    def tensors(self) -> list[Any]:
        """All that a step changes and a later step depends on."""
        return [self.W, *self._slots.values()]

    def state(self) -> State:
        """A copy of the state."""
        slots = {n: part(slot, self.runs, self.features) for n, slot in self._slots.items()}
        return State(part(self.W, self.runs, self.features), slots)

    def average(self, *, on: bool) -> None:
        """Average from now on, from the weights as they are where that has not begun, or do not."""
        self._averages = on
        if on and AVERAGE not in self._slots:
            self._slots[AVERAGE] = self.W.clone()

    def of_runs(self, numbers: NDArray[np.generic]) -> Any:
        """A number of each run, (…, R), on the device, as (…, R, 1, 1)."""
        return on_device(numbers[..., None, None], self._machine.device, self.dtype)

    def rates(self, steps: Steps) -> Rates:
        """The numbers of these steps, one step after the other: shape (T, R, 1, 1)."""
        shares = np.ones_like(steps.learning_rate) if steps.averaging is None else steps.averaging
        penalty, lengths = Penalty.of(self._method), self._method.lengths(steps.learning_rate)
        numbers = (
            steps.learning_rate,
            penalty.decay(steps.learning_rate),
            shares,
            lengths,
            lengths * penalty.l1,
        )
        return Rates(*map(self.of_runs, numbers))

    def take_step(self, batch: Batch, rates: Rates, opens: bool, closes: bool) -> None:
        """Take the step of a batch, or, where it comes in parts, that of its last part.

        `opens` and `closes` say whether this is the first part, and the last.
        """
        R, fuses = self._residual(batch), self._products.fuses(self.dtype)
        if opens and closes and self.plain and self._machine.ranks.size == 1 and fuses:
            self._decay(rates)
            b = self._by_run(self.W)[:, :, self.features]
            before = None if self._held is None else b.clone()
            self.W.addmm_(R.T, batch.X, alpha=-1.0)
            if before is not None:
                b.copy_(torch.where(self._held, before, b))
            self._take_prox(rates)
            self._average(rates)
            return
        if opens:
            self._gradient.zero_()
        R = self._products.factor(R)
        if fuses:
            self._gradient.addmm_(R.T, batch.X)
        else:
            self._gradient.add_(self._products.multiply(R.T, batch.X))
        if closes:
            self._close_step(rates)

    def _close_step(self, rates: Rates) -> None:
        """Take the step, once every part of its batch, of every process, is in the gradient."""
        self._machine.ranks.sum_(self._gradient)
        if self._held is not None:
            self._by_run(self._gradient)[:, :, self.features].masked_fill_(self._held, 0.0)
        if self.plain:
            self._decay(rates)
            self.W.sub_(self._gradient)
        else:
            self._descend(self._by_run(self._gradient), rates)
        self._take_prox(rates)
        self._average(rates)

    def _residual(self, batch: Batch) -> Any:
        S = self._products.multiply(batch.X, self._products.factor(self.W).T)
        S = S.view(len(S), self.runs, self.classes)
        R = self.losses.residual(S, batch.targets, batch.factors, many=batch.many)
        return R.view(len(S), len(self.W))

    def _by_run(self, joined: Any) -> Any:
        """Joined weights as (R, K, width)."""
        return joined.view(self.runs, self.classes, -1)

    def _descend(self, G: Any, rates: Rates) -> None:
        """The step of runs with slots, from the gradient without its penalty."""
        W = self._by_run(self.W)
        if self._decays:
            of_W = slice(None), slice(None), slice(None, self.features)
            G[of_W].addcmul_(W[of_W], self._twice_l2)
        direction = G
        if VELOCITY in self._slots:
            V = self._by_run(self._slots[VELOCITY])
            direction = V.mul_(self._momentum).add_(G)
            if self._looks_ahead:
                direction = torch.where(self._nesterov, G + self._momentum * V, V)
        W.addcmul_(direction, rates.rate, value=-1.0)

    def _decay(self, rates: Rates) -> None:
        if self._decays:
            self._by_run(self.W)[:, :, : self.features].mul_(rates.shrink)

    def _take_prox(self, rates: Rates) -> None:
        """The proximal step of λ₁; the velocity has the subgradient that it took."""
        if not self._thresholds:
            return
        W = self._by_run(self.W)[:, :, : self.features]
        moved = W.clamp(-rates.threshold, rates.threshold)
        if self._grouped is not None:
            norms = W.square().sum(1, keepdim=True).sqrt_()
            share = torch.where(norms <= rates.threshold, 1.0, rates.threshold / norms)
            moved = torch.where(self._grouped, W * share, moved)
        W.sub_(moved)
        if VELOCITY in self._slots:
            V = self._by_run(self._slots[VELOCITY])[:, :, : self.features]
            V.add_(torch.where(rates.length > 0, moved / rates.length, 0.0))

    def _average(self, rates: Rates) -> None:
        if self._averages:
            self._by_run(self._slots[AVERAGE]).lerp_(self._by_run(self.W), rates.alpha)
