"""Calls that fill whole values at once, each kind a type of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch

from ember.capture.native.values.arrays import Access, Input, Moved, Value
from ember.capture.native.values.dtypes import Number
from ember.capture.native.values.layout import Dims
from ember.torch_private.operators import OpOverload

Argument = object
"""Of an operator that torch runs: a :class:`Slot`, a list of arguments, or anything that has no tensor in it."""


@dataclass(frozen=True)
class Slot:
    """Stands for an input, by number, in the arguments of a call of torch."""

    position: int


@dataclass(frozen=True, eq=False)
class Operator:
    """An operator for torch, with slots for the inputs of a call."""

    op: OpOverload
    arguments: list[Argument]
    named: Mapping[str, Argument]
    shapes: tuple[tuple[Dims, Dims] | None, ...]
    """Sizes and strides of the results as torch sees them; None for one that is left out."""


@dataclass(eq=False, repr=False, kw_only=True)
class Call:
    """A call with what it reads, each over dims of its own, and what it fills."""

    inputs: tuple[Access, ...]
    input_dims: tuple[Dims, ...]
    outputs: list[Result] = field(default_factory=list)

    def result(self, dtype: torch.dtype, dims: Dims, strides: Dims, *, origin: str = "") -> Result:
        """One more value that it fills."""
        made = Result(dtype, dims, strides, origin=origin, call=self)
        self.outputs.append(made)
        return made

    def rewire(self, moved: Moved) -> None:
        """Let it read each of its inputs through another access."""
        pairs = zip(self.inputs, self.input_dims, strict=True)
        self.inputs = tuple(moved(access, self._read_over(dims)) for access, dims in pairs)

    def _read_over(self, dims: Dims) -> Dims | None:
        return dims

    @property
    def title(self) -> str:
        """For a reader of the program."""
        return type(self).__name__.lower()


@dataclass(eq=False, repr=False, kw_only=True)
class Result(Value):
    """One output of a call."""

    call: Call

    def operands(self) -> tuple[Access, ...]:
        return self.call.inputs

    def rewire(self, moved: Moved) -> None:
        self.call.rewire(moved)


@dataclass(eq=False, repr=False, kw_only=True)
class HeaderCall(Call):
    """A function of the C headers. What it returns, where it has a fallback, is whether it refuses."""

    function: str
    dtypes: tuple[torch.dtype, ...]
    """Which its name ends with."""
    numbers: tuple[Number, ...]
    fallback: Operator | None = None
    """What torch runs instead where the function refuses: torch raises the error, if it is one."""

    @property
    def title(self) -> str:
        return self.function


@dataclass(eq=False, repr=False, kw_only=True)
class LibraryCall(HeaderCall):
    """``function(inputs, outputs, numbers)`` at each index of ``batch``: a pointer and the strides of each tensor."""

    batch: Dims
    """Sizes of the first dims of all inputs and outputs."""
    layouts: tuple[Dims, ...]
    """Strides of the outputs, those over ``batch`` first."""


@dataclass(eq=False, repr=False, kw_only=True)
class SamplerCall(HeaderCall):
    """A sampler: ``function(generator, inputs, outputs, numbers, scratch)``. It refuses before it has drawn anything."""

    scratch: Result | None = None
    """Memory that it works in."""

    def _read_over(self, dims: Dims) -> None:
        # A sampler goes through memory from the first place on.
        return None


@dataclass(eq=False, repr=False, kw_only=True)
class TorchCall(Call):
    """An operator that torch runs on the program's memory."""

    operator: Operator

    @property
    def title(self) -> str:
        return str(self.operator.op)


@dataclass(eq=False, repr=False, kw_only=True)
class Collect(Call):
    """Copies what it reads from many places to one after another; all pieces have the same strides."""

    def _read_over(self, dims: Dims) -> None:
        return None


@dataclass(eq=False, repr=False, kw_only=True)
class Spread(Call):
    """Copies pieces of one value to the memory of many inputs, all of one layout."""

    targets: tuple[Input, ...]


def filled(value: Argument, tensors: Callable[[int], object]) -> Argument:
    """An argument with something in the place of its slots."""
    if isinstance(value, Slot):
        return tensors(value.position)
    return [filled(item, tensors) for item in value] if isinstance(value, list) else value


def slots(value: Argument) -> Iterator[Slot]:
    """The slots of an argument."""
    if isinstance(value, Slot):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from slots(item)
