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
from ember.infer.step.function import StepFunction
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
        self._given: tuple[list[Tensor], list[int], list[Tensor]] | None = None
        self._places = [tensor.data_ptr() for tensor in self.leaves]
        self._training = [part.training for part in self.parts]
        own = [p for part in self.parts for p in part._parameters.values() if p is not None]
        self._frozen = [p for p in own if not p.requires_grad]

    def outdated(self, optim: PyroOptim) -> str | None:
        """What is no longer that which the program works on: parameters, optimizer or modules."""
        function, update = self.function, self.function.update
        find = function.leaf if function.modules.local else function.store._params.get
        if not all(map(is_, map(find, function.names), self.leaves)):
            return "parameters have been replaced"
        if [leaf.data_ptr() for leaf in self.leaves] != self._places:
            return "parameters have been given other memory"
        if self.parts and (
            any(p.requires_grad for p in self._frozen) or not all(p.requires_grad for p in self.leaves)
        ):
            return "parameters have been frozen or freed"
        if [part.training for part in self.parts] != self._training:
            return "modules have changed their mode"
        changed = None if update is None else update.outdated(optim.records)
        return None if changed is None else f"{changed.value} of the optimizer has changed"

    def inputs(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        """All inputs for these arguments."""
        varying = [*arguments, *self.graph.lifted]
        # The same object may have been given other memory (``x.data = y``).
        places = [tensor.data_ptr() for tensor in varying]
        known = self._given
        if known is not None and places == known[1] and all(map(is_, varying, known[0])):
            return known[2]
        inputs = [*self.fixed, *varying]
        self._given = (varying, places, inputs)
        return inputs

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
