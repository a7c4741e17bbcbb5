"""The recorded update of parameters whose class is a rule: one for all that lie side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ember.capture.recording.provenance import works_for
from ember.errors import CaptureError
from ember.optim.flat.blocks import Block
from ember.optim.flat.state import StateBuffer
from ember.optim.recording.layout import Member, Together
from ember.optim.rules.clipping import clip_norms, clip_values
from ember.optim.rules.rule import Rule

Buffers = Mapping[StateBuffer, Mapping[str, Tensor]]
"""The tensors that a step is given in place of those of the buffers."""
_MOST_NAMES = 8


class RuleUpdate:
    """One update of those parameters that have a gradient.

    Args:
        rule: what updates them.
        together: the parameters.
        grads: the gradients of all parameters of the step.
    """

    def __init__(self, rule: Rule[Any, Any], together: Together, grads: Sequence[Tensor | None]) -> None:
        self.clip = together.clip
        self._rule = rule
        self._members = [member for member in together.members if grads[member.index] is not None]
        self._label = _label(self._members)
        given = [_real(grad) for member in self._members if (grad := grads[member.index]) is not None]
        self._block = Block([grad.shape for grad in given])
        self.grads = [self._clipped(given, self._label)]
        """One flat gradient, clipped parameter by parameter."""

    @works_for("{}", "label")
    def _clipped(self, grads: Sequence[Tensor], label: str) -> Tensor:
        stacks = self._block.stacks(grads)
        if self.clip.norm is not None:
            stacks = [
                clip_norms(stack, self.clip.norm, len(shape))
                for stack, (shape, _) in zip(stacks, self._block.runs, strict=True)
            ]
        flat = self._block.join(stacks)
        return flat if self.clip.value is None else clip_values(flat, self.clip.value)

    def apply(self, params: Sequence[Tensor], rate: Tensor, buffers: Buffers, good: Tensor | None) -> None:
        """Update the parameters, among all of the step, and their state in place; not where ``good`` is false."""
        self._apply(
            [_real(params[member.index]) for member in self._members], rate, buffers, good, self._label
        )

    @works_for("{}", "label")
    def _apply(
        self, params: list[Tensor], rate: Tensor, buffers: Buffers, good: Tensor | None, label: str
    ) -> None:
        rule, block = self._rule, self._block
        record = self._members[0].record
        facts = rule.facts_of(record.param, record.options, params[0])
        options = rule.options_of(record.options, **({"lr": rate} if "lr" in record.options else {}), **facts)
        state = _State(self._members, block, rule, buffers)
        before, old = block.gather(params), state.read()
        if rule.missing(old):
            raise CaptureError(f"the state of {label} comes into being in this step")
        after, new = rule.update(before, self.grads[0], rule.state_of(old), options, block.spread)
        for key, value in zip(rule.fields, new, strict=True):
            if value is None:
                continue
            if key not in old or value.shape != old[key].shape:
                raise CaptureError(f"the state {key!r} of {label} comes into being in this step")
            state.write(key, _where(good, value, old[key]))
        for member, param, piece in zip(
            self._members, params, block.pieces(_where(good, after, before)), strict=True
        ):
            _write(param, piece, member.label)


class _State:
    """The state of some parameters, in one buffer of theirs or in buffers that also hold that of others."""

    def __init__(
        self, members: Sequence[Member], block: Block, rule: Rule[Any, Any], buffers: Buffers
    ) -> None:
        self._members = members
        self._block = block
        self._numbers = rule.numbers
        self._buffers = buffers
        first = members[0].buffer
        self._keys = [] if first is None else list(first.flat)
        in_order = all(m.buffer is first and m.place == place for place, m in enumerate(members))
        self._whole = first if in_order and first is not None and len(first) == len(members) else None

    def read(self) -> dict[str, Tensor]:
        if self._whole is not None:
            return {key: _real(value) for key, value in self._buffers[self._whole].items()}
        return {key: self._gathered(key, self._views(key)) for key in self._keys}

    def _gathered(self, key: str, views: Sequence[Tensor]) -> Tensor:
        return self._block.gather_numbers(views) if key in self._numbers else self._block.gather(views)

    def write(self, key: str, value: Tensor) -> None:
        if self._whole is not None:
            _real(self._buffers[self._whole][key]).copy_(value)
            return
        for view, piece in zip(
            self._views(key), _pieces(self._block, value, key in self._numbers), strict=True
        ):
            view.copy_(piece)

    def _views(self, key: str) -> list[Tensor]:
        taken: dict[StateBuffer, list[Tensor]] = {}
        views = []
        for member in self._members:
            buffer = member.buffer
            assert buffer is not None
            if buffer not in taken:
                flat = self._buffers[buffer][key]
                taken[buffer] = _pieces(buffer.block, flat, key in self._numbers)
            views.append(_real(taken[buffer][member.place]))
        return views


@works_for("{}", "label")
def _write(param: Tensor, piece: Tensor, label: str) -> None:
    param.copy_(piece)


def _pieces(block: Block, flat: Tensor, are_numbers: bool) -> list[Tensor]:
    return block.number_pieces(flat) if are_numbers else block.pieces(flat)


def _where(good: Tensor | None, after: Tensor, before: Tensor) -> Tensor:
    return after if good is None else torch.where(good, after, before)


def _real(tensor: Tensor) -> Tensor:
    """Complex numbers are updated as pairs of independent real ones."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _label(members: Sequence[Member]) -> str:
    kind = members[0].record.kind.__name__
    names = [str(member.record.name) for member in members[:_MOST_NAMES]]
    more = len(members) - len(names)
    return f"{kind}: {', '.join(names)}" + (f" and {more} more" if more else "")
