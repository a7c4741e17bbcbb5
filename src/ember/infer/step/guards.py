"""The table of facts: all that an eager step would notice, and a captured one would not by itself.

Facts of a call make the key of a program: where one differs, another program runs, or a new one is made. Facts of a program are
about what it was bound to: where one does not hold any more, it is forgotten. The rest of the file looks at both cheaply, so that
the usual call of a trusted program costs a few comparisons of identities and counters. What no row stands for is refused when the
program is recorded, or listed in ``docs/compile.md``, with its test.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from operator import is_

import torch

from ember.capture.state.facts import Layouts
from ember.capture.state.parts import ById
from ember.capture.state.world import World
from ember.infer.objectives.losses.policy import BadLoss
from ember.infer.step.program import StepProgram
from ember.infer.traces.validate_all import switches
from ember.nn.context import module_local_params
from ember.optim import PyroOptim
from ember.optim.traced import Outdated
from ember.params.param_store import ParamStoreDict
from ember.torch_private.modes import function_mode_at, num_dispatch_modes, num_function_modes


class Fact(Enum):
    """What can have changed."""

    KIND = "another kind of call"
    PROGRAMS = "model, guide or loss, or what they read, have changed"
    ARGUMENTS = "second call with such arguments"
    STORE = "another parameter store"
    POLICY = "another answer to losses that are not finite"
    BACKEND = "another backend"
    SCHEDULE = "a schedule of learning rates, or a longer one"
    DTYPE = "another default dtype"
    GRAD_MODE = "gradients switched on or off"
    AUTOCAST = "autocast switched on or off"
    MODES = "modes of torch entered or left (a default device, say)"
    VALIDATION = "validation switched on or off"
    LOCAL_PARAMS = "the setting module_local_params has changed"
    PARAMETERS = "parameters have been replaced"
    MEMORY = "parameters have been given other memory, or have been frozen or freed"
    CONSTRAINTS = "constraints of parameters have been replaced"
    LAYOUT = "tensors that the program reads have been given another shape or other strides"
    STATE = "state of the optimizer has changed"
    OPTIONS = "options of the optimizer have changed"


@dataclass(frozen=True)
class Call:
    """All that decides which program a call needs."""

    kind: str
    world: World
    arguments: Hashable
    store: ParamStoreDict
    policy: BadLoss | None
    backend: str
    num_rates: int
    """How many learning rates the program reads from an array; 0 for the one of the optimizer."""


_OF_CALLS: tuple[tuple[Fact, Callable[[Call], Hashable]], ...] = (
    (Fact.KIND, lambda call: call.kind),
    (Fact.PROGRAMS, lambda call: call.world.key),
    (Fact.ARGUMENTS, lambda call: call.arguments),
    (Fact.STORE, lambda call: ById(call.store)),
    (Fact.POLICY, lambda call: call.policy),
    (Fact.BACKEND, lambda call: call.backend),
    (Fact.SCHEDULE, lambda call: call.num_rates),
    (Fact.DTYPE, lambda call: torch.get_default_dtype()),
    (Fact.GRAD_MODE, lambda call: (torch.is_grad_enabled(), torch.is_inference_mode_enabled())),
    (Fact.AUTOCAST, lambda call: _autocast()),
    (Fact.MODES, lambda call: _modes()),
    (Fact.VALIDATION, lambda call: switches()),
    (Fact.LOCAL_PARAMS, lambda call: module_local_params()),
)

_OF_PROGRAMS: tuple[tuple[Fact, Callable[[StepProgram, Bound], bool]], ...] = (
    (Fact.PARAMETERS, lambda program, bound: bound.same_parameters(program)),
    (Fact.MEMORY, lambda program, bound: bound.same_memory()),
    (Fact.CONSTRAINTS, lambda program, bound: bound.same_constraints(program)),
    (Fact.LAYOUT, lambda program, bound: bound.same_layouts()),
)


_OF_OPTIMIZERS = {Outdated.STATE: Fact.STATE, Outdated.OPTIONS: Fact.OPTIONS}
Key = tuple[Hashable, ...]


def key_of(call: Call) -> Key:
    """The key of the program that a call needs."""
    return tuple([read(call) for _, read in _OF_CALLS])


def first_difference(key: Key, other: Key) -> Fact:
    """The first fact in which two keys of one kind differ; arguments if there is none."""
    if key[0] != other[0]:
        return Fact.ARGUMENTS
    for (fact, _), part, noted in zip(_OF_CALLS, key, other, strict=True):
        if part != noted:
            return fact
    return Fact.ARGUMENTS


def _autocast() -> tuple[object, ...]:
    on = torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled()
    if not any(on):
        return on
    return (*on, torch.get_autocast_dtype("cpu"), torch.get_autocast_dtype("cuda"))


def _modes() -> tuple[Hashable, ...]:
    depth = num_function_modes()
    found = [function_mode_at(index) for index in range(depth)]
    dispatch = num_dispatch_modes()
    return (*map(ById, found), dispatch, torch.is_anomaly_enabled())


class Bound:
    """What a program was bound to when it was made."""

    def __init__(self, program: StepProgram) -> None:
        self._leaves = program.leaves
        self._memory = Layouts(program.leaves, hooks=True)
        self._constraints = program.flat.parameters.constraints()
        self._lifted = program.graph.lifted
        self._layouts = [(tensor.shape, tensor.stride()) for tensor in self._lifted]
        self._others = program.flat.with_grads()
        self._other_grads = [other.grad for other in self._others]

    def same_parameters(self, program: StepProgram) -> bool:
        """Whether all names still have their leaves."""
        now = program.flat.parameters.leaves()
        return len(now) == len(self._leaves) and all(map(is_, now, self._leaves))

    def same_constraints(self, program: StepProgram) -> bool:
        """Whether all have the constraints that they had."""
        return all(map(is_, program.flat.parameters.constraints(), self._constraints))

    def same_memory(self) -> bool:
        """Whether they lie where they did, and are still trained, or not trained."""
        return self._memory.same()

    def same_layouts(self) -> bool:
        """Whether tensors that the program found by itself are laid out as they were, and their gradients lie where they did."""
        return [(t.shape, t.stride()) for t in self._lifted] == self._layouts and self.same_gradients()

    def same_gradients(self) -> bool:
        """Whether gradients are still added to the same tensors, and parameters that had none have none."""
        return not self._others or all(map(is_, [other.grad for other in self._others], self._other_grads))

    def outdated(self, program: StepProgram, optimizer: PyroOptim) -> Fact | None:
        """The first fact that does not hold any more."""
        for fact, holds in _OF_PROGRAMS:
            if not holds(program, self):
                return fact
        update = program.flat.update
        changed = None if update is None else update.outdated(optimizer.records)
        return None if changed is None else _OF_OPTIMIZERS[changed]
