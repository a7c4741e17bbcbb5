"""A graph as values: what the inputs hold afterwards, and the outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ember.capture.native.values.arrays import Access, Call, Dims, Input, Value


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

    finals: list[tuple[Input, Access]]
    """New contents of inputs."""
    outputs: list[Output]
    draws: list[Call]
    """Calls that draw random numbers, in order."""

    def roots(self) -> list[Value]:
        """All values that must be computed."""
        return [
            *(access.value for _, access in self.finals),
            *(output.access.value for output in self.outputs),
            *(result for call in self.draws for result in call.outputs),
        ]
