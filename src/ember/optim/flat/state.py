"""The state of many parameters in flat buffers, of which the tensors that torch knows are views."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence

import torch
from torch import Tensor

from ember.optim.flat.blocks import Block


class StateBuffer:
    """State of parameters side by side: one flat tensor for each key.

    The tensors of the parameters become views into it. They stay the same objects where that is possible, so that whoever holds
    one goes on seeing the state.

    Args:
        block: how the parameters lie.
        states: the state of each in torch's form; its tensors are moved.
        keys: which of them.
        numbers: which keys have one number a parameter.
        device: where the parameters are.
    """

    def __init__(
        self,
        block: Block,
        states: Sequence[MutableMapping[str, Tensor]],
        keys: Sequence[str],
        numbers: Collection[str],
        device: torch.device,
    ) -> None:
        self.block = block
        self.flat: dict[str, Tensor] = {}
        self._views: list[dict[str, Tensor]] = [{} for _ in states]
        with torch.no_grad():
            for key in keys:
                values = [state[key].detach() for state in states]
                if block.is_single:
                    self.flat[key] = states[0][key]
                    self._views[0][key] = states[0][key]
                    continue
                flat, views = _side_by_side(block, values, key in numbers, device)
                self.flat[key] = flat
                for state, view, own in zip(states, views, self._views, strict=True):
                    own[key] = state[key] = _moved(state[key], view)

    def __len__(self) -> int:
        return len(self._views)

    def holds(self, index: int, values: Mapping[str, Tensor]) -> bool:
        """Whether the state of a member is still that which lies here."""
        own = self._views[index]
        return all(values.get(key) is tensor for key, tensor in own.items())


def _side_by_side(
    block: Block, values: Sequence[Tensor], are_numbers: bool, device: torch.device
) -> tuple[Tensor, list[Tensor]]:
    if are_numbers:
        # torch keeps some counts on the CPU; a recorded step has them where the parameters are.
        flat = block.gather_numbers([value.to(device) for value in values]).clone()
        return flat, block.number_pieces(flat)
    flat = block.gather(values).clone()
    return flat, block.pieces(flat)


def _moved(tensor: Tensor, view: Tensor) -> Tensor:
    if tensor.device != view.device:
        return view
    return tensor.set_(view)  # type: ignore[call-overload, no-any-return]
