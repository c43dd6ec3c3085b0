"""A certificate: a model's cost, and a proven bound on its distance from the lowest cost."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from onelayer.files.records import MAY_LACK


@dataclass(frozen=True)
class Certificate:
    """A model's cost, and a proven bound on its distance from the lowest cost.

    Attributes:
        l2: λ ≥ 0.
        cost: J(W, b) of the model as it is, nats.
        gap: bound on cost − J*, nats; infinite for λ = 0, where no bound exists.
        gradient_norm: ‖∇_W J‖ at the best bias; for λ = 0, at the model's own bias.
        bias_residual: largest |∂J/∂b| at that bias; the gap allows for it.
        rows: number of rows that the cost is the mean over.
        trained_with: what the cost that the model was trained by has beside the mean cross-entropy
            and λ Σ W², which J is: such as label smoothing. Empty where it is J itself.
        rounding: how far the cost may be off, nats; 0 where it is of float64 passes.
        label_costs: of many labels a row the cost of each, whose sum is `cost`; else empty.
        label_gaps: bound of each label, whose sum is `gap`; empty for λ = 0 as well.
        l1: λ₁ ≥ 0 of a penalty λ₁ Σ |W| beside λ Σ W²; with it a bound exists for λ = 0 as well.
        grouped: whether λ₁ multiplies Σ_d ‖W_:d‖₂, a norm over the classes of each feature.

    Source:
        docs/explanation/formulations.md, "The certificate".
    """

    l2: float
    cost: float
    gap: float
    gradient_norm: float
    bias_residual: float
    rows: int
    trained_with: str = field(default="", metadata=MAY_LACK)
    rounding: float = field(default=0.0, metadata=MAY_LACK)
    label_costs: tuple[float, ...] = field(default=(), metadata=MAY_LACK)
    label_gaps: tuple[float, ...] = field(default=(), metadata=MAY_LACK)
    l1: float = field(default=0.0, metadata=MAY_LACK)
    grouped: bool = field(default=False, metadata=MAY_LACK)

    def __repr__(self) -> str:
        return f"Certificate({self.penalty}, {self.rows} rows: {self.sentence})"

    def __str__(self) -> str:
        return self.sentence

    @property
    def lower_bound(self) -> float:
        """No model with this λ has a cost below this on these rows, nats."""
        return max(self.cost - self.rounding - self.gap, 0.0)

    @property
    def penalty(self) -> str:
        """λ in words, and λ₁ where there is one.

        Example:
            >>> Certificate(0.1, 1.7, 0.01, 0.0, 0.0, 50).penalty
            'λ = 0.1'
            >>> Certificate(0.1, 1.7, 0.01, 0.0, 0.0, 50, l1=0.02, grouped=True).penalty
            'λ₁ = 0.02 of grouped classes, λ₂ = 0.1'
        """
        if not self.l1:
            return f"λ = {self.l2:g}"
        grouped = " of grouped classes" if self.grouped else ""
        return f"λ₁ = {self.l1:.3g}{grouped}" + (f", λ₂ = {self.l2:.3g}" if self.l2 else "")

    @property
    def is_bound(self) -> bool:
        """Whether a bound exists: with a penalty."""
        return self.l2 > 0.0 or self.l1 > 0.0

    @property
    def strength(self) -> float:
        """λ₁ where there is one, else λ: what a path goes through."""
        return self.l1 or self.l2

    @property
    def distance(self) -> float:
        """Bound on ‖W − W*‖, the distance from the best weights."""
        return math.sqrt(self.gap / self.l2) if self.l2 > 0.0 else math.inf

    @property
    def sentence(self) -> str:
        """The certificate in words.

        Example:
            >>> Certificate(0.1, 1.7342, 0.0061, 0.05, 1e-17, 10_000).sentence
            'cost 1.7342, at most 0.0061 above the best possible'
        """
        other = self.trained_with
        which = f"; of the mean cross-entropy, while training had {other}" if other else ""
        if not self.is_bound:
            return (
                f"cost {self.cost:.5g}, gradient norm {self.gradient_norm:.2g}; "
                f"without l2 (λ = 0) no bound exists{which}"
            )
        return f"cost {self.cost:.5g}, at most {self.gap:.2g} above the best possible{which}"
