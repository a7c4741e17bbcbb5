"""Adam that also works in the frequency domain of time series, or on the drawn entries of a parameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from ember.optim.rule_state import new_step, restore_steps


def _twiddle(n: int, like: Tensor) -> Tensor:
    angle = torch.arange(n, dtype=like.dtype, device=like.device) * (-math.pi / (2 * n))
    return torch.polar(torch.ones_like(angle), angle)


def _dct(x: Tensor) -> Tensor:
    # Orthonormal DCT-II along the last dim through one FFT (Makhoul, 1980).
    n = x.shape[-1]
    spectrum = torch.fft.fft(torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1))
    y = (spectrum * _twiddle(n, x)).real * math.sqrt(2 / n)
    return torch.cat([y[..., :1] * math.sqrt(0.5), y[..., 1:]], -1)


def _idct(y: Tensor) -> Tensor:
    # Inverse of _dct: rebuilds the complex spectrum from its real and mirrored parts.
    n = y.shape[-1]
    y = torch.cat([y[..., :1] * math.sqrt(2), y[..., 1:]], -1) * math.sqrt(n / 2)
    mirrored = torch.cat([torch.zeros_like(y[..., :1]), y[..., 1:].flip(-1)], -1)
    v = torch.fft.ifft(torch.complex(y, -mirrored) * _twiddle(n, y).conj()).real
    x = torch.empty_like(y)
    half = (n + 1) // 2
    x[..., ::2] = v[..., :half]
    x[..., 1::2] = v[..., half:].flip(-1)
    return x


def _fast_length(size: int) -> int:
    """The least number from ``size`` up that has no prime factor above 5."""

    def is_fast(n: int) -> bool:
        for prime in (2, 3, 5):
            while n % prime == 0:
                n //= prime
        return n == 1

    return next(n for n in range(size, 2 * size + 1) if is_fast(n))


def _with_frequencies(x: Tensor, dim: int) -> Tensor:
    x = x.transpose(dim, -1)
    padded = torch.nn.functional.pad(x, (0, _fast_length(x.shape[-1]) - x.shape[-1]))
    return torch.cat([x, _dct(padded)], -1).transpose(dim, -1)


def _from_frequencies(x: Tensor, dim: int, duration: int) -> Tensor:
    x = x.transpose(dim, -1)
    return (x[..., :duration] + _idct(x[..., duration:])[..., :duration]).transpose(dim, -1)


def _touched(param: Tensor, subsample: Mapping[int, Any]) -> Tensor:
    mask = torch.ones((1,) * param.dim(), dtype=torch.bool, device=param.device)
    for dim, indices in subsample.items():
        along = torch.zeros(param.shape[dim], dtype=torch.bool, device=param.device)
        along[torch.as_tensor(indices, device=param.device)] = True
        mask = mask & along.reshape((-1,) + (1,) * (-1 - dim))
    return mask.expand(param.shape)


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
                    subsample = getattr(param, "_pyro_subsample", {}) if group["subsample_aware"] else {}
                    self._update(group, param, subsample)
        return loss

    def _update(self, group: dict[str, Any], param: Tensor, subsample: Mapping[int, Any]) -> None:
        time_dim: int | None = getattr(param, "_pyro_dct_dim", None)
        grad = param.grad
        assert grad is not None
        if subsample:
            if time_dim is not None:
                raise NotImplementedError("DCTAdam: a parameter cannot be both subsampled and a time series")
            mask: Tensor | None = _touched(param, subsample)
            grad = grad.clamp(-group["clip_norm"], group["clip_norm"])
        else:
            mask = None
            grad.clamp_(-group["clip_norm"], group["clip_norm"])
        if time_dim is not None:
            grad = _with_frequencies(grad, time_dim)
        update = self._adam(self.state[param], group, grad, mask, new_step(param))
        if time_dim is not None:
            update = _from_frequencies(update, time_dim, param.size(time_dim))
        param.sub_(update)

    @staticmethod
    def _adam(
        state: dict[str, Tensor], group: dict[str, Any], grad: Tensor, mask: Tensor | None, zero: Tensor
    ) -> Tensor:
        if not state:
            state["step"] = zero if mask is None else zero.expand(grad.shape).clone()
            state["exp_avg"] = torch.zeros_like(grad)
            state["exp_avg_sq"] = torch.zeros_like(grad)
        beta1, beta2 = group["betas"]
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        new_mean = mean * beta1 + grad * (1 - beta1)
        new_square = square * beta2 + grad * grad * (1 - beta2)
        if mask is not None and state["step"].dim() == 0:
            state["step"] = state["step"].expand(grad.shape).clone()
        state["step"].add_(1.0 if mask is None else mask)
        mean.copy_(new_mean if mask is None else torch.where(mask, new_mean, mean))
        square.copy_(new_square if mask is None else torch.where(mask, new_square, square))
        # Entries never touched have step 0; their update is masked, so any finite count will do.
        t = state["step"].clamp(min=1)
        step_size = group["lr"] * torch.sqrt(1 - beta2**t) / (1 - beta1**t)
        update = mean / (square.sqrt() + group["eps"]) * step_size.to(grad.dtype)
        return update if mask is None else torch.where(mask, update, 0.0)
