"""What Ember's own update rules share: step counts held in tensors, and batches of alike parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def new_step(param: Tensor) -> Tensor:
    """A step count of zero: a tensor, for captured steps, in float64 for exact bias corrections.

    >>> new_step(torch.zeros(3))
    tensor(0., dtype=torch.float64)
    """
    return torch.zeros((), dtype=torch.float64, device=param.device)


def restore_steps(rule: Optimizer) -> None:
    """Turn step counts of loaded state into tensors; Pyro saves Python integers."""
    for group in rule.param_groups:
        for param in group["params"]:
            state = rule.state.get(param)
            if state and "step" in state:
                state["step"] = torch.as_tensor(state["step"], dtype=torch.float64, device=param.device)


def dense_batches(params: list[Tensor]) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Parameters that have a gradient, with their gradients, in batches of one device and dtype.

    Raises:
        NotImplementedError: for a sparse gradient.
    """
    batches: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
    for param in params:
        grad = param.grad
        if grad is None:
            continue
        if grad.is_sparse:
            raise NotImplementedError("sparse gradients need torch.optim.SGD, SparseAdam or Adagrad")
        batch = batches.setdefault((param.device, param.dtype), ([], []))
        batch[0].append(param)
        batch[1].append(grad)
    yield from batches.values()
