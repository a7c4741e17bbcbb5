"""Where a recorded run reads values past torch's operators, which no graph could repeat."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ember.capture.recording.assumptions import CURRENT, Assumptions, is_validating
from ember.capture.recording.scalar_index import index
from ember.errors import Reason
from ember.torch_private.values import is_all_true

_DATA = Tensor.data.__get__  # type: ignore[attr-defined]
_READERS = (Tensor.numpy, Tensor.tolist, Tensor.__array__)


class _Recordings(threading.local):
    depth = 0
    count = 0


_RECORDINGS = _Recordings()


def is_recording() -> bool:
    """Whether this thread's program is being recorded: what it keeps outside of tensors would be kept once only."""
    return _RECORDINGS.depth > 0


def recording_number() -> int:
    """Which of this thread's recordings goes on, from one; zero outside of them. What one has made is not for another."""
    return _RECORDINGS.count if is_recording() else 0


def _refuse(tensor: Tensor) -> None:
    raise ValueTakenError("aten._local_scalar_dense: values of a tensor")


class ValueGuard(TorchFunctionMode):
    """Looks where the program takes values out of a tensor into NumPy or Python; but for validation, which asks whether all
    values are valid: what it asks is noted.

    Args:
        ask: called with the tensor; raises where its values may not be taken.
        assumptions: where is noted what validation asks.
        pause: called between what the program does.
    """

    def __init__(
        self,
        ask: Callable[[Tensor], None] = _refuse,
        assumptions: Assumptions | None = None,
        pause: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._pause = pause
        self._ask = ask
        self._assumptions = assumptions
        self._outer: Assumptions | None = None

    def __enter__(self) -> Any:
        _RECORDINGS.count += _RECORDINGS.depth == 0
        _RECORDINGS.depth += 1
        self._outer, CURRENT.assumptions = CURRENT.assumptions, self._assumptions
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: object) -> None:
        _RECORDINGS.depth -= 1
        CURRENT.assumptions = self._outer
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._pause is not None:
            self._pause()
        assumptions = self._assumptions
        if assumptions is not None and (
            func is is_all_true or (func is Tensor.__bool__ and is_validating(sys._getframe(1)))
        ):
            return assumptions.holds(args[0])
        if func is Tensor.data_ptr:
            raise ValueTakenError("aten._local_scalar_dense: .data_ptr() of a tensor")
        if func in _READERS:
            self._ask(args[0])
            return _unchangeable(func(args[0].detach().clone(), *args[1:], **(kwargs or {})))
        if func is Tensor.__deepcopy__ and _is_plain_leaf(args[0]):
            return _deep_copy(args[0], args[1])
        if func is _DATA:
            # By an operator: what the attribute gives is a tensor that no one has seen being made.
            return args[0].detach()
        if func is Tensor.__getitem__:
            return index(*args)
        if func is torch.nn.functional.one_hot:
            return _one_hot(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _unchangeable(values: Any) -> Any:
    """What is written to an array would have to be seen by the tensor."""
    if hasattr(values, "setflags"):
        values.setflags(write=False)
    return values


def _is_plain_leaf(tensor: Tensor) -> bool:
    return type(tensor) is Tensor and tensor.is_leaf and tensor.layout is torch.strided and not vars(tensor)


def _deep_copy(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """By an operator; torch copies the memory behind the tensor."""
    if id(tensor) not in memo:
        memo[id(tensor)] = tensor.detach().clone().requires_grad_(tensor.requires_grad)
    copied: Tensor = memo[id(tensor)]
    return copied


def _one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """Without a look into Python at whether the values are in range: the operator that gathers them checks it."""
    if num_classes < 1:
        return torch.nn.functional.one_hot(input, num_classes)
    classes = torch.arange(num_classes, device=input.device)
    checked = classes.gather(0, input.reshape(-1)).reshape(input.shape)
    return (checked.unsqueeze(-1) == classes).to(torch.int64)


class ValueTakenError(Exception):
    """Internal: turned into a :class:`~ember.errors.CaptureError` that names the user's line."""

    reason = Reason.VALUE_READ


class ShapeOfValuesError(RuntimeError):
    """Internal: an operator whose result has a shape that depends on values."""

    reason = Reason.SHAPE_OF_VALUES
