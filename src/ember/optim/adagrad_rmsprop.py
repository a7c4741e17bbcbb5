"""The step-size sequence of ADVI: Adagrad's decay with RMSProp's memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from ember.optim.flat.lists import step_in_place
from ember.optim.rule_state import dense_batches, new_step, restore_steps
from ember.optim.rules.adagrad_rmsprop import ADAGRAD_RMSPROP, AdagradRMSPropOptions


def adagrad_rmsprop(
    params: list[Tensor],
    grads: list[Tensor],
    sums: list[Tensor],
    steps: list[Tensor],
    *,
    eta: float,
    delta: float,
    t: float,
) -> None:
    """One update, in place, of parameters of one device and dtype: it can be captured as it is."""
    states = [{"step": step, "sum": total} for step, total in zip(steps, sums, strict=True)]
    step_in_place(ADAGRAD_RMSPROP, params, grads, states, AdagradRMSPropOptions(eta, delta, t))


class AdagradRMSProp(Optimizer):
    """Steps of size ``eta * i ** (-1/2 + delta) / (1 + sqrt(s))``, ``s`` a mean of squared gradients.

    Args:
        params: parameters, or groups of them.
        eta: scale of the steps.
        delta: makes the steps shrink a little slower than ``i ** -0.5``.
        t: weight of the newest squared gradient in the average.

    References:
        Kucukelbir et al. (2017), "Automatic Differentiation Variational Inference", equations 10 and 11.

    Example:
        >>> w = torch.zeros(1, requires_grad=True)
        >>> w.grad = torch.tensor([3.0])
        >>> AdagradRMSProp([w], eta=1.0).step()
        >>> w
        tensor([-0.7500], requires_grad=True)
    """

    parameterwise: ClassVar[bool] = True

    def __init__(
        self, params: Iterable[Any], eta: float = 1.0, delta: float = 1.0e-16, t: float = 0.1
    ) -> None:
        super().__init__(params, {"eta": eta, "delta": delta, "t": t})
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param]["step"] = new_step(param)
                self.state[param]["sum"] = torch.zeros_like(param)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        restore_steps(self)

    def share_memory(self) -> None:
        """Move the averages to memory that processes share."""
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param]["sum"].share_memory_()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; returns what the closure returns.

        Raises:
            NotImplementedError: for a sparse gradient.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for params, grads in dense_batches(group["params"]):
                states = [self.state[param] for param in params]
                sums, steps = [state["sum"] for state in states], [state["step"] for state in states]
                adagrad_rmsprop(
                    params, grads, sums, steps, eta=group["eta"], delta=group["delta"], t=group["t"]
                )
        return loss
