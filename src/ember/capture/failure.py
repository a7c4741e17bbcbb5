"""What a failed program ends with: torch's own error, and where it comes from; or that something unforeseen has come up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from ember.capture.recording.assumptions import Unforeseen


def error_of(module: GraphModule, inputs: Sequence[Tensor]) -> Exception | None:
    """What a recorded step ends with, run on copies, operator by operator: torch's error, Unforeseen, or None."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            _Replay(module).run(*map(twin, inputs))
    except Exception as error:
        return error
    return None


class _Replay(Interpreter):
    """Says of an error which operator it comes from, and where in the user's program that stands; ends where something does not
    hold that was taken for granted."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.extra_traceback = False

    def run_node(self, n: Node) -> Any:
        try:
            result = super().run_node(n)
        except Exception as error:
            where = n.meta.get("origin")
            place = f", {where}" if where else ""
            error.add_note(f"the operator {n.target} of the compiled step{place}")
            raise
        if "assumed" in n.meta and not result:
            raise Unforeseen
        return result


def twin(tensor: Tensor) -> Tensor:
    """A copy of the same layout. A clone of one that repeats its elements (``expand``) would have another."""
    copied = tensor.detach().clone()
    if copied.stride() == tensor.stride():
        return copied
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    extent = 1 + sum((size - 1) * stride for size, stride in strides) if tensor.numel() else 0
    memory = tensor.detach().as_strided((extent,), (1,)).clone()
    return memory.as_strided(tensor.shape, tensor.stride(), 0)
