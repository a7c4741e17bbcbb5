"""Adam that also works in the frequency domain of time series, or on the drawn entries of a parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from ember.optim.rule_state import restore_steps
from ember.optim.rules.dct_adam import DCT_ADAM


class DCTAdam(Optimizer):
    """Adam with clamped gradients that takes, for time series, a second set of steps in the frequency domain.

    A parameter whose attribute ``_pyro_dct_dim`` names a (negative) time dimension is updated in both domains
    at once. With ``subsample_aware=True`` a parameter that a plate has subsampled changes, with its
    statistics, only in the drawn entries.

    Args:
        params: parameters, or groups of them.
        lr: learning rate of the first step, before its decay.
        betas: decay rates of the averages of gradient and squared gradient.
        eps: added to the denominator.
        clip_norm: every gradient entry is clamped to ``[-clip_norm, clip_norm]``.
        lrd: the learning rate is multiplied by this at the start of every step.
        subsample_aware: heed the subsampling of parameters.

    Raises:
        NotImplementedError: at a step of a parameter that is both a time series and subsampled.

    Example:
        >>> w = torch.zeros(4, requires_grad=True)
        >>> w.grad = torch.ones(4)
        >>> w._pyro_subsample = {-1: [0, 2]}
        >>> DCTAdam([w], lr=0.5, subsample_aware=True).step()
        >>> w
        tensor([-0.5000,  0.0000, -0.5000,  0.0000], requires_grad=True)
    """

    parameterwise: ClassVar[bool] = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        clip_norm: float = 10.0,
        lrd: float = 1.0,
        subsample_aware: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "clip_norm": clip_norm,
            "lrd": lrd,
            "subsample_aware": subsample_aware,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        restore_steps(self)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; returns what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            group["lr"] *= group["lrd"]
            for param in group["params"]:
                if param.grad is not None:
                    self._update(group, param, param.grad)
        return loss

    def _update(self, group: dict[str, Any], param: Tensor, grad: Tensor) -> None:
        options = DCT_ADAM.options_of(group, **DCT_ADAM.facts_of(param, group))
        if options.drawn is None:
            grad.clamp_(-group["clip_norm"], group["clip_norm"])
        state: dict[str, Tensor] = self.state[param]
        old = DCT_ADAM.state_of(state) if state else DCT_ADAM.init(param, options)
        new_param, new = DCT_ADAM.update(param.detach(), grad, old, options)
        param.copy_(new_param)
        for key, before, value in zip(new._fields, old, new, strict=True):
            if key in state and before.shape == value.shape:
                before.copy_(value)
            else:
                state[key] = value
