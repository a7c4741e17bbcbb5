"""The recorded update of a torch class that Ember has no rule for: its own code, run on the tensors that are given."""

from __future__ import annotations

from collections.abc import Sequence
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ember.capture.recording.provenance import works_for
from ember.errors import CaptureError
from ember.optim.foreign import Options, shell
from ember.optim.recording.layout import Member, Together
from ember.optim.recording.rule_update import Buffers
from ember.optim.rules.clipping import clip_norms, clip_values

# Nothing pretends here that torch's compiler is at work, for which some classes leave their counters on the device. One that
# takes numbers off its counters is refused by the recorder, and torch runs its update on captured gradients. The classes of
# torch that such a pretence would let be recorded are rules of Ember's.
_PLAIN: Options = {"foreach": False, "fused": False, "capturable": False, "differentiable": False}


class ForeignUpdate:
    """The update of those parameters that have a gradient, all of one class, with the same options, dtype and device."""

    def __init__(self, together: Together, grads: Sequence[Tensor | None]) -> None:
        self.clip = together.clip
        self.members = [member for member in together.members if grads[member.index] is not None]
        self.grads = [
            self._clipped(grad, member.label)
            for member in self.members
            if (grad := grads[member.index]) is not None
        ]
        """The gradients, clipped each by itself."""

    @works_for("{}", "label")
    def _clipped(self, grad: Tensor, label: str) -> Tensor:
        grad = grad if self.clip.norm is None else clip_norms(grad, self.clip.norm)
        return grad if self.clip.value is None else clip_values(grad, self.clip.value)

    def apply(
        self, params: Sequence[Tensor], rate: Tensor, buffers: Buffers, good: Tensor | None
    ) -> Tensor | None:
        """Update the parameters, among all of the step, and their state in place, not where ``good`` is false.

        Returns:
            The learning rate, if the class has changed it.
        """
        targets = [params[member.index] for member in self.members]
        states = [{} if m.buffer is None else buffers[m.buffer] for m in self.members]
        copies = [target.detach().clone() for target in targets]
        for copy, grad in zip(copies, self.grads, strict=True):
            copy.grad = grad
        working = [{key: value.clone() for key, value in state.items()} for state in states]
        lr = rate.to(copies[0].dtype, copy=True)
        version = lr._version
        group: Options = {**self.members[0].record.options, "params": copies}
        group.update({key: value for key, value in _PLAIN.items() if key in group})
        if "lr" in group:
            group["lr"] = lr
        _run(self.members, copies, group, dict(zip(copies, working, strict=True)))
        for target, copy in zip(targets, copies, strict=True):
            _put(target, copy, good)
        for state, new in zip(states, working, strict=True):
            if state.keys() != new.keys():
                raise CaptureError(f"{self.members[0].label}: the state comes into being in this step")
            for key, value in state.items():
                _put(value, new[key], good)
        after: Tensor = group.get("lr", lr)
        return after if after is not lr or lr._version != version else None


def _put(target: Tensor, value: Tensor, good: Tensor | None) -> None:
    target.copy_(value if good is None else torch.where(good, value, target))


class _TensorFactors(TorchFunctionMode):
    """Lets a learning rate that is a tensor stand where torch's in-place operators take a number only."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if isinstance(kwargs.get("alpha"), Tensor) and func is Tensor.add_:
            return args[0].add_(args[1] * kwargs["alpha"])
        if isinstance(kwargs.get("value"), Tensor) and func is Tensor.addcdiv_:
            return args[0].add_(args[1] / args[2] * kwargs["value"])
        if isinstance(kwargs.get("value"), Tensor) and func is Tensor.addcmul_:
            return args[0].add_(args[1] * args[2] * kwargs["value"])
        return func(*args, **kwargs)


def _updated(frame: FrameType, innermost: FrameType) -> str | None:
    """The optimizer, and the parameter that its code is at: most have it in a loop's variable."""
    members, copies = frame.f_locals["members"], frame.f_locals["copies"]
    labels = {id(copy): member.label for member, copy in zip(members, copies, strict=True)}
    current: FrameType | None = innermost
    while current is not None and current is not frame:
        for name in ("param", "p"):
            known = labels.get(id(current.f_locals.get(name)))
            if known is not None:
                return str(known)
        current = current.f_back
    return str(members[0].record.kind.__name__)


@works_for(_updated)
def _run(
    members: Sequence[Member], copies: Sequence[Tensor], group: Options, state: dict[Tensor, Any]
) -> None:
    optimizer = shell(members[0].record.template, [group], state)
    step = members[0].record.kind.step
    with _TensorFactors():
        getattr(step, "__wrapped__", step)(optimizer)
