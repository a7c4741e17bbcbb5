"""Stopping a recorded run from reading values past torch's operators, which no graph could repeat."""

from __future__ import annotations

import sys
import threading
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ember.capture.recording.assumptions import CURRENT, Assumptions, is_validating
from ember.capture.recording.scalar_index import index
from ember.errors import Reason

_READERS = {
    Tensor.numpy: ".numpy()",
    Tensor.tolist: ".tolist()",
    Tensor.__array__: "a conversion to NumPy",
    Tensor.data_ptr: ".data_ptr()",
}


class _Recordings(threading.local):
    depth = 0


_RECORDINGS = _Recordings()


def is_recording() -> bool:
    """Whether this thread's program is being recorded: what it keeps outside of tensors would be kept once only."""
    return _RECORDINGS.depth > 0


class ValueGuard(TorchFunctionMode):
    """Raises where the program takes values out of a tensor into NumPy or Python; but for validation, which asks whether all
    values are valid: what it asks is noted.

    Args:
        assumptions: where that is noted.
    """

    def __init__(self, assumptions: Assumptions | None = None) -> None:
        super().__init__()
        self._assumptions = assumptions
        self._outer: Assumptions | None = None

    def __enter__(self) -> Any:
        _RECORDINGS.depth += 1
        self._outer, CURRENT.assumptions = CURRENT.assumptions, self._assumptions
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: object) -> None:
        _RECORDINGS.depth -= 1
        CURRENT.assumptions = self._outer
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assumptions = self._assumptions
        if assumptions is not None and (
            func is torch._is_all_true or (func is Tensor.__bool__ and is_validating(sys._getframe(1)))
        ):
            return assumptions.holds(args[0])
        reader = _READERS.get(func)
        if reader is not None:
            raise ValueTakenError(f"aten._local_scalar_dense: {reader} of a tensor")
        if func is Tensor.__getitem__:
            return index(*args)
        if func is torch.nn.functional.one_hot:
            return _one_hot(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """Without a look into Python at whether the values are in range: the operator that gathers them checks it."""
    if num_classes < 1:
        raise ValueTakenError("aten._local_scalar_dense: one_hot without num_classes")
    classes = torch.arange(num_classes, device=input.device)
    checked = classes.gather(0, input.reshape(-1)).reshape(input.shape)
    return (checked.unsqueeze(-1) == classes).to(torch.int64)


class ValueTakenError(Exception):
    """Internal: turned into a :class:`~ember.errors.CaptureError` that names the user's line."""

    reason = Reason.VALUE_READ


class ShapeOfValuesError(RuntimeError):
    """Internal: an operator whose result has a shape that depends on values."""

    reason = Reason.SHAPE_OF_VALUES
