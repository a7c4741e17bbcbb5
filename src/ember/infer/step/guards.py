"""The table of facts: all that an eager step would notice, and a captured one would not by itself.

Facts of a call make the key of a program: where one differs, another program runs, or a new one is made. Facts of a program are
about what it was bound to: where one does not hold any more, it is forgotten. The rest of the file looks at both cheaply, so that
the usual call of a trusted program costs a few comparisons of identities and counters. What no row stands for is refused when the
program is recorded, or listed in ``docs/compile.md``, with its test.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import chain, repeat
from operator import attrgetter, is_

import torch
from torch import Tensor

from ember import settings
from ember.capture.state.facts import MISSING, Layouts, cell_contents, function_parts
from ember.capture.state.parts import ById, is_plain
from ember.capture.state.world import World
from ember.infer.losses.policy import BadLoss
from ember.infer.step.function import Args, Kwargs
from ember.infer.step.program import StepProgram
from ember.nn.context import module_local_params
from ember.optim import PyroOptim
from ember.optim.traced import Outdated
from ember.params.param_store import ACTIVE, ParamStoreDict
from ember.poutine.stack import THREAD


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
    depth = torch._C._len_torch_function_stack()
    found = [torch._C._get_function_stack_at(index) for index in range(depth)]
    dispatch = torch._C._len_torch_dispatch_stack()
    return (*map(ById, found), dispatch, torch.is_anomaly_enabled())


class Bound:
    """What a program was bound to when it was made."""

    def __init__(self, program: StepProgram) -> None:
        self._leaves = program.leaves
        self._memory = Layouts(program.leaves, hooks=True)
        self._constraints = program.flat.parameters.constraints()
        self._lifted = program.graph.lifted
        self._layouts = [(tensor.shape, tensor.stride()) for tensor in self._lifted]
        self._others = program.flat.others
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
        """Whether gradients of tensors that are no parameters are still added to the same tensors."""
        return not self._others or all(map(is_, [other.grad for other in self._others], self._other_grads))

    def outdated(self, program: StepProgram, optimizer: PyroOptim) -> Fact | None:
        """The first fact that does not hold any more."""
        for fact, holds in _OF_PROGRAMS:
            if not holds(program, self):
                return fact
        update = program.flat.update
        changed = None if update is None else update.outdated(optimizer.records)
        return None if changed is None else _OF_OPTIMIZERS[changed]


class Warm:
    """A trusted program with what it was called with last: says at little cost that this call is one more of the kind.

    It says no where it is not sure; the whole key is compared then. All looks stand in one function, since a call of a function
    costs as much as two of them.
    """

    __slots__ = (
        "_args",
        "_facts",
        "_flags",
        "_inputs",
        "_layouts",
        "_leaves",
        "_names",
        "_others",
        "_own_store",
        "_records",
        "_rest",
        "_store",
        "_store_version",
        "_update",
        "program",
    )

    def __init__(
        self,
        program: StepProgram,
        world: World,
        optimizer: PyroOptim,
        *,
        own_store: bool,
        args: Args,
        kwargs: Kwargs,
    ) -> None:
        self.program = program
        self._facts = world.facts
        self._leaves = program.leaves
        self._rest = world.facts.has_rest()
        self._update = program.flat.update
        self._records = optimizer.records
        self._own_store = own_store
        self._store = program.flat.parameters.store
        self._store_version = self._store.version
        self._others = [(other, other.grad) for other in program.flat.others]
        self._names = tuple(kwargs)
        self._flags = (
            settings.CHANGES.number,
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.is_autocast_enabled(),
            _len_function_stack(),
            _len_dispatch_stack(),
        )
        self._take((*args, *kwargs.values()))

    def _take(self, args: tuple[object, ...]) -> None:
        """Note the arguments, and where all tensors lie that the program works on."""
        self._args = args
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        self._inputs = self.program.inputs(tensors)
        others = [*self._facts.tensors, *self.program.graph.lifted, *self.program.leaves]
        unique = {id(tensor): tensor for tensor in others if tensor.layout is torch.strided}
        # The arguments come first, so that others can take their places.
        self._layouts = Layouts([*tensors, *unique.values()])

    def _exchange(self, args: tuple[object, ...]) -> None:
        """Note other arguments, which are like those before in all but what is in them, and where that lies."""
        self._args = args
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        self._inputs = self.program.inputs(tensors)
        self._layouts.tensors[: len(tensors)] = tensors
        self._layouts.places[: len(tensors)] = map(Tensor.data_ptr, tensors)

    @staticmethod
    def can_be_noted(args: Args, kwargs: Kwargs) -> bool:
        """Whether these arguments can be compared by identity, or as tensors."""
        values = (*args, *kwargs.values())
        return all(type(v) in (Tensor, torch.nn.Parameter) or is_plain(v) for v in values)

    def inputs(self, args: Args, kwargs: Kwargs) -> Sequence[Tensor] | None:
        """The inputs of the program, if a call with these arguments is one of the same kind; else None."""
        if kwargs or self._names:
            if tuple(kwargs) != self._names:
                return None
            args = (*args, *kwargs.values())
        if len(args) != len(self._args) or THREAD.stack:
            return None
        if not all(map(is_, args, self._args)):
            if not all(map(_alike, args, self._args)):
                return None
            self._exchange(args)
        facts, layouts, update = self._facts, self._layouts, self._update
        tensors = layouts.tensors
        try:
            same = (
                (self._own_store or ACTIVE.store is self._store)
                and self._store.by_thread.contents.version.number == self._store_version
                and (
                    settings.CHANGES.number,
                    torch.get_default_dtype(),
                    torch.is_grad_enabled(),
                    torch.is_autocast_enabled("cpu"),
                    torch.is_autocast_enabled(),
                    _len_function_stack(),
                    _len_dispatch_stack(),
                )
                == self._flags
                and list(map(Tensor.data_ptr, tensors)) == layouts.places
                and layouts.guard(*tensors)
                and not any(map(_hooks, self._leaves))
                and not any(map(_accumulation_hooks, self._leaves))
                and all(map(is_, map(dict.get, facts.dicts, facts.keys, repeat(MISSING)), facts.values))
                and all(
                    map(is_, chain.from_iterable(map(function_parts, facts.functions)), facts.function_parts)
                )
                and all(map(is_, map(cell_contents, facts.cells), facts.cell_values))
                and not (self._rest and not facts.rest_same())
                and not (self._others and any(other.grad is not grad for other, grad in self._others))
                and not (update is not None and update.outdated(self._records) is not None)
            )
        except ValueError:  # a variable that has been deleted
            return None
        return self._inputs if same else None


_hooks, _accumulation_hooks = attrgetter("_backward_hooks"), attrgetter("_post_accumulate_grad_hooks")
_len_function_stack = torch._C._len_torch_function_stack
_len_dispatch_stack = torch._C._len_torch_dispatch_stack


def _alike(new: object, old: object) -> bool:
    if new is old:
        return True
    return (
        type(new) is Tensor
        and type(old) is Tensor
        and new.shape == old.shape
        and new.stride() == old.stride()
        and new.dtype is old.dtype
        and new.device == old.device
        and new.requires_grad is old.requires_grad
    )
