"""Adam with clipped gradients and a decaying learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from ember.optim.flat.lists import step_in_place
from ember.optim.rule_state import dense_batches, new_step, restore_steps
from ember.optim.rules.clipped_adam import CLIPPED_ADAM, ClippedAdamOptions
from ember.torch_private.foreach import foreach_clamp_max_, foreach_clamp_min_


def clipped_adam(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    steps: list[Tensor],
    *,
    lr: float | Tensor,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    clip_norm: float,
    centered_variance: bool,
) -> None:
    """One update, in place, of parameters of one device and dtype: it can be captured as it is."""
    options = ClippedAdamOptions(lr, betas, eps, weight_decay, clip_norm, 1.0, centered_variance)
    states = [
        {"step": step, "exp_avg": mean, "exp_avg_sq": square}
        for step, mean, square in zip(steps, exp_avgs, exp_avg_sqs, strict=True)
    ]
    step_in_place(CLIPPED_ADAM, params, grads, states, options)


class ClippedAdam(Optimizer):
    """Adam whose gradients are clamped elementwise and whose learning rate shrinks by a factor at every step.

    Args:
        params: parameters, or groups of them.
        lr: learning rate of the first step, before its decay.
        betas: decay rates of the averages of gradient and squared gradient.
        eps: added to the denominator.
        weight_decay: L2 penalty.
        clip_norm: every gradient entry is clamped to ``[-clip_norm, clip_norm]``.
        lrd: the learning rate is multiplied by this at the start of every step.
        centered_variance: average the squared distance of the gradient from its mean, instead of its square.

    References:
        Kingma and Ba (2015), "Adam: A Method for Stochastic Optimization"; for the centred variance Rengaraj
        et al. (2023), equation 2, https://doi.org/10.3390/computation11050095.

    Example:
        >>> w = torch.zeros(2, requires_grad=True)
        >>> w.grad = torch.tensor([100.0, -100.0])
        >>> ClippedAdam([w], lr=0.1).step()
        >>> w, w.grad
        (tensor([-0.1000,  0.1000], requires_grad=True), tensor([ 10., -10.]))
    """

    parameterwise: ClassVar[bool] = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        clip_norm: float = 10.0,
        lrd: float = 1.0,
        centered_variance: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "clip_norm": clip_norm,
            "lrd": lrd,
            "centered_variance": centered_variance,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("centered_variance", False)
        restore_steps(self)

    def _state_of(self, param: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[param]
        if not state:
            state["step"] = new_step(param)
            state["exp_avg"] = torch.zeros_like(param)
            state["exp_avg_sq"] = torch.zeros_like(param)
        return state

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
            group["lr"] *= group["lrd"]
            for params, grads in dense_batches(group["params"]):
                foreach_clamp_min_(grads, -group["clip_norm"])
                foreach_clamp_max_(grads, group["clip_norm"])
                states = [self._state_of(param) for param in params]
                clipped_adam(
                    params,
                    grads,
                    [state["exp_avg"] for state in states],
                    [state["exp_avg_sq"] for state in states],
                    [state["step"] for state in states],
                    lr=group["lr"],
                    betas=group["betas"],
                    eps=group["eps"],
                    weight_decay=group["weight_decay"],
                    clip_norm=group["clip_norm"],
                    centered_variance=group["centered_variance"],
                )
        return loss
