"""A rule applied to lists of tensors, in place: what a torch optimizer's ``step`` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from ember.optim.flat.blocks import Block, alike
from ember.optim.rules.rule import Rule
from ember.torch_private.foreach import foreach_copy_

O = TypeVar("O")  # noqa: E741
S = TypeVar("S", bound="tuple[Tensor | None, ...]")


def step_in_place(
    rule: Rule[O, S],
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    states: Sequence[Mapping[str, Tensor]],
    options: O,
) -> None:
    """Update parameters of one dtype and device, and their states in torch's form."""
    changed: list[Tensor] = []
    values: list[Tensor] = []
    for indices in alike(params):
        members = [params[i] for i in indices]
        block = Block([member.shape for member in members])
        keys = [key for key in rule.fields if key in states[indices[0]]]
        old = {key: [states[i][key] for i in indices] for key in keys}
        flat = {
            key: block.gather_numbers(old[key]) if key in rule.numbers else block.gather(old[key])
            for key in keys
        }
        gradient = block.gather([grads[i] for i in indices])
        new_params, state = rule.update(
            block.gather(members), gradient, rule.state_of(flat), options, block.spread
        )
        changed += members
        values += block.pieces(new_params)
        for key, value in zip(rule.fields, state, strict=True):
            if value is not None and key in old:
                changed += old[key]
                values += block.number_pieces(value) if key in rule.numbers else block.pieces(value)
    foreach_copy_(changed, values)
