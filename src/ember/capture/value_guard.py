"""Stopping a recorded run from reading values past torch's operators, which no graph could repeat."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

_READERS = {
    Tensor.numpy: ".numpy()",
    Tensor.tolist: ".tolist()",
    Tensor.__array__: "a conversion to NumPy",
    Tensor.data_ptr: ".data_ptr()",
}


class ValueGuard(TorchFunctionMode):
    """Raises where the program takes values out of a tensor into NumPy or Python."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reader = _READERS.get(func)
        if reader is not None:
            raise ValueTakenError(f"aten._local_scalar_dense: {reader} of a tensor")
        return func(*args, **(kwargs or {}))


class ValueTakenError(Exception):
    """Internal: turned into a :class:`~ember.errors.CaptureError` that names the user's line."""
