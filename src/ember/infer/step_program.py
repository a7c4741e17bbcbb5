"""A compiled step together with the tensors that it works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import is_

import torch
from torch import Tensor

from ember.capture import backend as backends
from ember.capture.graph import CapturedGraph
from ember.capture.report import Capture
from ember.infer.step_function import StepFunction
from ember.optim import PyroOptim


@dataclass
class StepProgram:
    """A compiled step (or loss) and the tensors it works on."""

    function: StepFunction
    leaves: list[Tensor]
    graph: CapturedGraph
    program: backends.Program
    record: Capture
    bad_steps: Tensor
    parts: list[torch.nn.Module]
    """Registered modules and all their parts."""
    fixed: list[Tensor] = field(default_factory=list)
    """Inputs that stay the same objects: leaves (detached), optimizer state, count of bad steps."""
    trusted: bool = False
    """Whether a result has been compared with eager execution."""
    option_changes: int = 0

    def __post_init__(self) -> None:
        self._training = [part.training for part in self.parts]

    def outdated(self, optim: PyroOptim) -> str | None:
        """What is no longer that which the program works on: parameters, optimizer or modules."""
        leaves, update = self.function.store._params, self.function.update
        if not all(map(is_, map(leaves.get, self.function.names), self.leaves)):
            return "parameters have been replaced"
        if [part.training for part in self.parts] != self._training:
            return "modules have changed their mode"
        changed = None if update is None else update.outdated(optim._table)
        return None if changed is None else f"{changed} of the optimizer has changed"

    def inputs(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        """All inputs for these arguments."""
        return [*self.fixed, *arguments, *self.graph.lifted]

    def copied_inputs(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        """The same with copies in place of what the program changes."""
        changed = self.changed(arguments)
        return [t.detach().clone() if i in changed else t for i, t in enumerate(self.inputs(arguments))]

    def changed(self, arguments: Sequence[Tensor]) -> set[int]:
        """Which of the inputs the program changes."""
        lifted = len(self.fixed) + len(arguments)
        return {
            *range(len(self.fixed)),
            *self.graph.mutated_inputs,
            *(lifted + i for i in self.graph.mutated_lifted),
        }
