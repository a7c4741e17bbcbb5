"""What a row has to work with: the operator's arguments, and the values that have been made so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from ember.capture.native.lowering.conditions import condition
from ember.capture.native.lowering.facts import Facts
from ember.capture.native.lowering.refs import Memory, Ref, layout
from ember.capture.native.values.arrays import Access, Assemble, Constant, Part, Pointwise, Reduce, Value
from ember.capture.native.values.calls import Call
from ember.capture.native.values.dtypes import Number, check_dtype
from ember.capture.native.values.expressions import COPY, REQUIRED, op
from ember.capture.native.values.layout import Dims, contiguous
from ember.capture.native.values.simplify import Builder
from ember.capture.native.values.unsupported import UnsupportedError
from ember.capture.recording.meta import Meta

Metas = Meta | tuple[Meta | None, ...] | None
Outcome = Value | Ref | None | Sequence[Value | None]
"""What a row gives: the operator's result, or its results."""
Lower = Callable[["Workspace", "OpCall"], Outcome]
"""A row of the table of operators."""

AnyCall = TypeVar("AnyCall", bound=Call)


@dataclass(frozen=True)
class OpCall:
    """One operator of the graph with its arguments by name."""

    name: str
    arguments: dict[str, Any]
    metas: Metas
    origin: str

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def ref(self, name: str) -> Ref:
        """An argument that is a tensor."""
        found: Ref = self.arguments[name]
        return found

    def refs(self, name: str) -> list[Ref]:
        """An argument that is a list of tensors."""
        return list(self.arguments[name])

    def operand(self, name: str) -> Ref | Number:
        """An argument that is a tensor or a number."""
        found: Ref | Number = self.arguments[name]
        return found

    def integer(self, name: str) -> int:
        """An argument that is a whole number."""
        return int(self.arguments[name])

    def integers(self, name: str) -> list[int]:
        """An argument that is a list of whole numbers."""
        return [int(number) for number in self.arguments[name]]

    def flag(self, name: str) -> bool:
        """An argument that is true or false."""
        return bool(self.arguments[name])

    def dim(self, name: str, rank: int) -> int:
        """An argument that is a dim of a tensor with so many, counted from the left."""
        return wrapped(self.integer(name), rank)

    @property
    def meta(self) -> Meta:
        """Of the only or the first output."""
        first = self.metas[0] if isinstance(self.metas, tuple) else self.metas
        if not isinstance(first, Meta):
            raise UnsupportedError(f"an output of {self.name} that is no tensor")
        return first

    @property
    def all_metas(self) -> tuple[Meta | None, ...]:
        """Of all outputs."""
        return self.metas if isinstance(self.metas, tuple) else (self.metas,)


def wrapped(dim: int, rank: int) -> int:
    """A dim counted from the left."""
    return dim + rank if dim < 0 else dim


class Workspace:
    """Values, made of tensors of the graph, and tensors made of values."""

    def __init__(self) -> None:
        self.build = Builder()
        self.draws: list[Call] = []
        """Calls that draw random numbers, in order."""
        self.required: dict[Value, None] = {}
        """What must be true, or the program fails."""
        self.facts = Facts()
        self._calls: dict[object, Call] = {}
        self.origin = ""
        """Where in the user's program the operator stands that is being lowered."""

    def once(self, call: AnyCall, *what: object) -> AnyCall:
        """The call, or one before it that does the same, as ``what`` says, with the same inputs. For those that do not draw."""
        key = (type(call), repr(what), tuple(access.key for access in call.inputs), call.input_dims)
        known = self._calls.setdefault(key, call)
        assert isinstance(known, type(call))
        return known

    def placed(self, value: Value, meta: Meta) -> Ref:
        """A value as a tensor of the graph."""
        check_dtype(meta.dtype)
        return Ref(Memory(value), 0, meta.shape, meta.stride, meta.dtype)

    def read(self, operand: Ref | Number, shape: Dims, order: Sequence[int], dtype: torch.dtype) -> Access:
        """An operand broadcast to a shape, over those of its dims that are in ``order``."""
        if isinstance(operand, Ref):
            over = operand.over(shape)
            return Access(operand.memory.value, operand.offset, tuple(over[i] for i in order))
        return Access(self.build.constant(operand, dtype), 0, (0,) * len(order))

    def dense(self, ref: Ref) -> Access:
        """A tensor row by row over its own shape, copied where it does not lie so."""
        fresh = contiguous(ref.shape)
        strides = tuple(s if n != 1 else c for s, n, c in zip(ref.strides, ref.shape, fresh, strict=True))
        if strides == fresh and not isinstance(ref.memory.value, Constant):
            return Access(ref.memory.value, ref.offset, strides)
        whole = layout(ref.shape, fresh)
        access = Access(ref.memory.value, ref.offset, tuple(ref.strides[i] for i in whole.order))
        copy = Pointwise(
            ref.dtype,
            whole.dims,
            whole.strides,
            origin=self.origin,
            expression=COPY,
            inputs=(access,),
            types=(ref.dtype,),
        )
        return Access(copy, 0, fresh)

    def held(self, ref: Ref) -> Access:
        """A tensor over its own shape as it lies, but for one number everywhere, which gets memory."""
        if isinstance(ref.memory.value, Constant):
            return self.dense(ref)
        return Access(ref.memory.value, ref.offset, ref.strides)

    def require(self, ref: Ref) -> None:
        """Let the program fail where a truth value, or one of those that it is all of, is false."""
        value = ref.memory.value
        access, dims = Access(value, ref.offset, ()), ref.shape
        if isinstance(value, Reduce) and value.rule == "all" and not value.kept:
            # Each can be looked at where it is computed.
            access, dims = value.operand, value.domain
        if access.number or 0 in dims:
            return
        whole, operands = condition(access, dims)
        required = self.build.pointwise(
            op(REQUIRED, whole),
            operands,
            dtype=torch.bool,
            dims=dims,
            strides=contiguous(dims),
            origin=self.origin,
        )
        # What is known to be bad early costs no more work, and what is computed late may be written to the inputs at once.
        required.serial = access.value.serial
        self.required[required] = None

    def write(self, target: Ref, source: Ref) -> None:
        """Change what a tensor holds to what another holds, broadcast and converted."""
        memory = target.memory
        old = memory.value
        memory.changed = True
        to = layout(target.shape, target.strides)
        access = self.read(source, target.shape, to.order, target.dtype)
        if source.dtype != target.dtype or isinstance(access.value, Constant):
            access = self.build.converted(access, to.dims, to.strides, dtype=target.dtype, origin=self.origin)
        if (to.dims, to.strides) == (old.dims, old.strides) and target.offset == 0:
            memory.value = self.build.copied(access, to.dims, to.strides, self.origin)
            return
        if target.numel == 0:
            return
        _check_injective(to.dims, to.strides)
        memory.value = Assemble(
            old.dtype,
            old.dims,
            old.strides,
            base=Access(old, 0, old.strides),
            parts=(Part(access, to.dims, target.offset, to.strides),),
            ordered=True,
            origin=self.origin,
        )


def _check_injective(dims: Dims, strides: Dims) -> None:
    """Whether no two indices lie at the same place."""
    reach = 0
    for size, stride in sorted(zip(dims, strides, strict=True), key=lambda pair: pair[1]):
        if stride <= reach and size > 1:
            raise UnsupportedError("a write to a view that overlaps itself")
        reach += (size - 1) * stride
