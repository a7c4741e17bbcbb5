"""Deep copies of anything that holds tensors, with every tensor changed: what programs import from ``distributions.util``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor
from torch.overrides import TorchFunctionMode

T = TypeVar("T")


class _Copies(TorchFunctionMode):
    """Changes each tensor that is copied. Parameters copy themselves by a clone, other tensors by a method of their own."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._change = change

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__:
            tensor, memo = args
            memo[id(tensor)] = changed = self._change(tensor)
            return changed
        result = func(*args, **(kwargs or {}))
        return self._change(result) if func is Tensor.clone else result


def deep_to(obj: T, *args: Any, **kwargs: Any) -> T:
    """A deep copy in which all tensors and modules have been moved, as by :meth:`torch.Tensor.to` with these arguments.

    >>> import torch
    >>> deep_to([torch.zeros(2)], torch.float64)
    [tensor([0., 0.], dtype=torch.float64)]
    """
    with _Copies(lambda tensor: tensor.to(*args, **kwargs)):
        return copy.deepcopy(obj)


def detach(obj: T) -> T:
    """A deep copy in which no tensor has a history.

    >>> import torch
    >>> detach({"x": torch.ones(1, requires_grad=True) * 2})
    {'x': tensor([2.])}
    """
    with _Copies(lambda tensor: tensor.detach()):
        return copy.deepcopy(obj)
