"""Computing in double precision what was written for single precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_NARROW = (torch.float32, torch.float16, torch.bfloat16)
_WRITERS = {Tensor.__setitem__}
"""Like functions whose name ends with one underscore: the tensor keeps its type, and torch casts what is written."""


class InDouble(TorchFunctionMode):
    """While it is active in a thread, torch functions take and give float64 where they would float32.

    Tensors that exist already are cast where they are used, and stay as they are. What is asked of a tensor, such as its
    ``dtype``, is answered truthfully.

    >>> x = torch.tensor([1.0, 2.0])
    >>> with InDouble():
    ...     (x @ torch.ones(2)).dtype, torch.zeros(3).exp().float().dtype
    (torch.float64, torch.float64)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if _is_left_alone(func):
            return func(*args, **options)
        return widened(func(*widened(args), **widened(options)))


def _is_left_alone(func: Callable[..., Any]) -> bool:
    """Functions that look at a tensor, write into it, or differentiate by it: they need the tensor itself."""
    name = getattr(func, "__name__", "")
    if func in _WRITERS or name in ("__get__", "__set__", "__delete__", "requires_grad_"):
        return True
    writes = name.endswith("_") and not name.endswith("__")
    return writes or (getattr(func, "__module__", None) or "").startswith("torch.autograd")


def widened(value: Any) -> Any:
    """A value with all narrow floating tensors in it as float64."""
    if isinstance(value, Tensor):
        return value.double() if value.dtype in _NARROW else value
    if isinstance(value, torch.dtype):
        return torch.float64 if value in _NARROW else value
    if type(value) in (tuple, list):
        return type(value)(widened(item) for item in value)
    if type(value) is dict:
        return {key: widened(item) for key, item in value.items()}
    return value
