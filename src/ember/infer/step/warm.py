"""The usual call of a trusted program: known again by one look in C, without comparing whole keys.

The look says no where it is not sure; the table of facts (``guards.py``) decides then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import is_
from typing import Any

import torch
from torch import Tensor

from ember import settings
from ember.capture.native.torch_side.look import OTHERS, Look, Relied, is_available
from ember.capture.state.facts import MISSING, Facts
from ember.capture.state.parts import is_plain
from ember.capture.state.world import World
from ember.infer.step.function import Args, Kwargs
from ember.infer.step.program import StepProgram
from ember.optim import PyroOptim
from ember.params.param_store import ACTIVE
from ember.poutine.stack import THREAD
from ember.torch_private.modes import num_dispatch_modes, num_function_modes

# Torch keeps sizes and strides of more dims elsewhere.
_MOST_DIMS = 5


class Warm:
    """A trusted program with what it was called with last."""

    __slots__ = ("_look", "look", "program")

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
        values = (*args, *kwargs.values())
        relied = _relied(program, world.facts, optimizer, own_store, values)
        self._look = Look(relied, tuple(kwargs), values, self._inputs(values))
        self.look = self._look.call

    @staticmethod
    def is_possible(program: StepProgram, world: World, args: Args, kwargs: Kwargs) -> bool:
        """Whether calls with such arguments can be known again."""
        values = (*args, *kwargs.values())
        tensors = [*_tensors(program, world.facts), *(v for v in values if isinstance(v, Tensor))]
        return (
            all(type(v) in (Tensor, torch.nn.Parameter) or is_plain(v) for v in values)
            and all(tensor.layout is torch.strided and tensor.dim() <= _MOST_DIMS for tensor in tensors)
            and is_available()
        )

    def inputs(self, args: Args, kwargs: Kwargs) -> Sequence[Tensor] | None:
        """The inputs of the program, if a call with these arguments is one of the same kind; else None."""
        found = self.look(args, kwargs)
        asked = self.program.graph.asked
        if asked is not None and found is not None:
            tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            if not asked.hold(tensors):
                return None
        if found is not OTHERS:
            known: Sequence[Tensor] | None = found
            return known
        values = (*args, *kwargs.values())
        inputs = self._inputs(values)
        self._look.note(values, inputs)
        return inputs

    def _inputs(self, values: tuple[object, ...]) -> Sequence[Tensor]:
        return self.program.inputs([value for value in values if isinstance(value, Tensor)])


def _tensors(program: StepProgram, facts: Facts) -> list[Tensor]:
    tensors = [*facts.tensors, *program.graph.lifted, *program.leaves]
    return list({id(tensor): tensor for tensor in tensors}.values())


def _relied(
    program: StepProgram, facts: Facts, optimizer: PyroOptim, own_store: bool, values: tuple[object, ...]
) -> Relied:
    store = program.flat.parameters.store
    contents = ("by_thread", "contents", "version", "number")
    paths: list[tuple[object, tuple[str, ...], object]] = [
        (store, contents, store.version),
        (settings.CHANGES, ("number",), settings.CHANGES.number),
        (THREAD, ("stack",), list(THREAD.stack)),
    ]
    if not own_store:
        paths.append((ACTIVE, ("store",), store))
    calls: list[tuple[Callable[[], Any], object]] = [(flag, flag()) for flag in _FLAGS]
    if program.flat.update is not None:
        calls.append((partial(program.flat.update.outdated, optimizer.records), None))
    parameters = [value for value in values if type(value) is torch.nn.Parameter]
    return Relied(
        paths=paths,
        calls=calls,
        dicts=facts.dicts,
        keys=facts.keys,
        values=facts.values,
        functions=facts.functions,
        parts=facts.function_parts,
        cells=facts.cells,
        contents=facts.cell_values,
        tensors=[*_tensors(program, facts), *parameters],
        rest=_rest(program, facts),
        missing=MISSING,
    )


def _rest(program: StepProgram, facts: Facts) -> list[Callable[[], bool]]:
    rest: list[Callable[[], bool]] = []
    if facts.has_rest():
        rest.append(facts.rest_same)
    if stack := tuple(THREAD.stack):
        # That there are as many has been seen.
        rest.append(lambda: all(map(is_, THREAD.stack, stack)))
    grads = [(other, other.grad) for other in program.flat.with_grads()]
    if grads:
        rest.append(lambda: all(other.grad is grad for other, grad in grads))
    return rest


_FLAGS: tuple[Callable[[], Any], ...] = (
    torch.get_default_dtype,
    torch.is_grad_enabled,
    torch.is_inference_mode_enabled,
    torch.is_autocast_enabled,
    partial(torch.is_autocast_enabled, "cpu"),
    num_function_modes,
    num_dispatch_modes,
    torch.is_anomaly_enabled,
    partial(getattr, torch.distributions.Distribution, "_validate_args"),
)
