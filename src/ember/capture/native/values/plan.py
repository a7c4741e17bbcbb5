"""What a program has to bring about: what the inputs hold afterwards, the outputs, and the draws and checks on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from ember.capture.native.values.arrays import Access, Input, Moved, Value
from ember.capture.native.values.calls import Call
from ember.capture.native.values.layout import Dims


@dataclass(frozen=True)
class Output:
    """One output, read over its shape."""

    access: Access
    shape: Dims
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Plan:
    """What a program has to bring about."""

    inputs: tuple[Input, ...]
    """What the inputs hold before the step."""
    finals: tuple[tuple[Input, Access], ...]
    """New contents of inputs."""
    outputs: tuple[Output, ...]
    """The first is the loss."""
    draws: tuple[Call, ...]
    """Calls that draw random numbers, in order."""
    required: tuple[Value, ...] = ()
    """What must be true, or the program fails."""
    before: Plan | None = None
    """What is computed once, before the first of many steps: a plan that fills the inputs that this one has more."""
    varying: frozenset[Value] = frozenset()
    """Inputs that hold something else in each run."""

    def reading(self, moved: Moved) -> Plan:
        """The same with what it brings about read through other accesses."""
        return replace(
            self,
            finals=tuple((old, moved(access, old.dims)) for old, access in self.finals),
            outputs=tuple(
                replace(output, access=moved(output.access, output.shape)) for output in self.outputs
            ),
        )

    def roots(self) -> list[Value]:
        """All values that must be computed."""
        return [
            *(access.value for _, access in self.finals),
            *(output.access.value for output in self.outputs),
            *(result for call in self.draws for result in call.outputs),
            *self.required,
        ]
