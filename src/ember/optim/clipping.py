"""Gradient clipping for many parameters at once, without waiting for the device."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from ember.optim.rules.clipping import Clipping
from ember.torch_private.foreach import foreach_mul_, foreach_norm


@torch.no_grad()
def clip_each_norm_(params: list[Tensor], limit: float) -> None:
    """Scale the gradient of each parameter to a norm of at most ``limit``. One device, one dtype.

    >>> p, q = torch.zeros(2), torch.zeros(1)
    >>> p.grad, q.grad = torch.tensor([3.0, 4.0]), torch.tensor([0.5])
    >>> clip_each_norm_([p, q], 1.0)
    >>> p.grad, q.grad
    (tensor([0.6000, 0.8000]), tensor([0.5000]))
    """
    grads = [param.grad for param in params if param.grad is not None]
    if grads:
        norms = torch.stack(list(foreach_norm(grads)))
        # The small number and the clamp are those of torch.nn.utils.clip_grad_norm_, to get the same bits.
        scales = (limit / (norms + 1e-6)).clamp(max=1.0)
        foreach_mul_(grads, scales.to(grads[0].dtype).unbind())


class Clipper:
    """The clipping of one step, in place: per-parameter norms, then values, then the norm over all.

    Args:
        members: pairs of a parameter and its limits.
    """

    __slots__ = ("_global", "_norms", "_values")

    def __init__(self, members: Iterable[tuple[Tensor, Clipping]]) -> None:
        norms: dict[tuple[float, torch.device, torch.dtype], list[Tensor]] = {}
        self._values: dict[float, list[Tensor]] = {}
        self._global: dict[float, list[Tensor]] = {}
        for param, clip in members:
            if clip.norm is not None:
                norms.setdefault((clip.norm, param.device, param.dtype), []).append(param)
            if clip.value is not None:
                self._values.setdefault(clip.value, []).append(param)
            if clip.global_norm is not None:
                self._global.setdefault(clip.global_norm, []).append(param)
        self._norms = [(key[0], params) for key, params in norms.items()]

    def __bool__(self) -> bool:
        return bool(self._norms or self._values or self._global)

    def __call__(self) -> None:
        for limit, params in self._norms:
            clip_each_norm_(params, limit)
        for limit, params in self._values.items():
            clip_grad_value_(params, limit)
        for limit, params in self._global.items():
            clip_grad_norm_(params, limit)
