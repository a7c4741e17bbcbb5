"""Under which conditions a transform has cached a value: later ones may make it stale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ember.capture.recording.value_guard import recording_number
from ember.torch_private.jit import jit_tracing_state
from ember.torch_private.modes import transform_level


@dataclass(frozen=True)
class CachedUnder:
    """The parameters that a value was computed with, and whether gradients were on.

    Values are compared, as versions do not tell: torch's fused optimizers change parameters without a new version.
    """

    program: int
    """The recording or trace that it belongs to; zero outside of them."""
    with_grad: bool
    parameters: tuple[tuple[Tensor, Tensor], ...]
    """Each with a copy of its value."""

    @classmethod
    def now(cls, module: torch.nn.Module) -> CachedUnder:
        """The present conditions of a module. In a recording no parameter changes, and no copy is made."""
        program = _program()
        kept = () if program else tuple((p, p.detach().clone()) for p in module.parameters())
        return cls(program, torch.is_grad_enabled(), kept)

    def holds(self, module: torch.nn.Module) -> bool:
        """Whether a value cached under these conditions is still right, and has the gradients that it should have."""
        if _program() != self.program or (torch.is_grad_enabled() and not self.with_grad):
            return False
        if self.program:
            return True
        if transform_level() is not None:
            return False  # values cannot be compared there
        present = tuple(module.parameters())
        return len(present) == len(self.parameters) and all(
            p is kept and torch.equal(p, value)
            for p, (kept, value) in zip(present, self.parameters, strict=True)
        )


def _program() -> int:
    return -1 if jit_tracing_state() is not None else recording_number()
