"""What the matrix products of float32 arithmetic round their factors to. Sums are float32 always.

    float32     24 bits of significand, the type's own
    tf32        11 bits: the tensor cores of NVIDIA's GPUs since Ampere
    bf16        8 bits: half the bytes as well

The CPU has no such units: there factors are rounded likewise and multiplied in float32, which is
no faster, but shows what a GPU would give. float64 arithmetic is never rounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from onelayer.errors import SettingsError

PRECISIONS = ("float32", "tf32", "bf16")

# A float32 has 13 bits more than a tf32; half of the last bit that stays rounds to nearest.
_DROPPED = 13


class Products:
    """Matrix products of one device at one precision."""

    def __init__(self, precision: str, device: Any) -> None:
        if precision not in PRECISIONS:
            raise SettingsError(
                f"precision must be one of {', '.join(PRECISIONS)}, but {precision!r} was given."
            )
        if precision != "float32" and device.type == "mps":
            raise SettingsError(
                f"precision {precision} needs an NVIDIA GPU (or the CPU, to see its cost), but the "
                "device is mps; leave --precision out."
            )
        if (
            precision == "bf16"
            and device.type == "cuda"
            and not hasattr(torch.ops.aten.mm, "dtype")
        ):
            raise SettingsError(
                f"precision bf16 needs PyTorch 2.8 or newer, but this is {torch.__version__}: "
                "pip install --upgrade torch, or take --precision tf32."
            )
        self.precision, self._device = precision, device

    def factor_type(self, dtype: Any) -> Any:
        """The type in which factors are kept, for arithmetic of that type."""
        halved = self._rounds(dtype) and self.precision == "bf16" and self._device.type == "cuda"
        return torch.bfloat16 if halved else dtype

    def fuses(self, dtype: Any) -> bool:
        """Whether a product can be added to a sum of the arithmetic type as it is made."""
        return bool(self.factor_type(dtype) == dtype)

    def factor(self, A: Any) -> Any:
        """A matrix as a factor: itself, or rounded."""
        if not self._rounds(A.dtype):
            return A
        if self.precision == "bf16":
            rounded = A.to(torch.bfloat16)
            return rounded if self._device.type == "cuda" else rounded.to(A.dtype)
        return A if self._device.type == "cuda" else _rounded_to_tf32(A)

    def multiply(self, A: Any, B: Any) -> Any:
        """A B of two factors, in the arithmetic type."""
        if A.dtype == torch.bfloat16:
            return torch.mm(A, B, out_dtype=torch.float32)
        return torch.mm(A, B)

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Within the block CUDA rounds to tf32 where that was chosen, and nowhere else."""
        if self._device.type != "cuda":
            yield
            return
        settings = torch.backends.cuda.matmul
        name, value = _tf32_switch(settings, wanted=self.precision == "tf32")
        before = getattr(settings, name)
        setattr(settings, name, value)
        try:
            yield
        finally:
            setattr(settings, name, before)

    def _rounds(self, dtype: Any) -> bool:
        return self.precision != "float32" and bool(dtype == torch.float32)


def _tf32_switch(settings: Any, *, wanted: bool) -> tuple[str, Any]:
    """PyTorch 2.9 gave the switch another name and refuses to mix the two."""
    if hasattr(settings, "fp32_precision"):
        return "fp32_precision", "tf32" if wanted else "ieee"
    return "allow_tf32", wanted


def _rounded_to_tf32(A: Any) -> Any:
    """float32 rounded to the nearest with 11 bits of significand; infinities and NaN stay."""
    bits = A.view(torch.int32)
    rounded = (bits + (1 << (_DROPPED - 1))) & ~((1 << _DROPPED) - 1)
    return torch.where(torch.isfinite(A), rounded.view(torch.float32), A)
