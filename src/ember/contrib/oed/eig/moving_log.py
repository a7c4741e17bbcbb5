"""Functions that behave where exponentials come near zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def xexpx(a: Tensor) -> Tensor:
    """``a * exp(a)``, which is 0 at minus infinity.

    >>> xexpx(torch.tensor([0.0, 1.0, -float("inf")]))
    tensor([0.0000, 2.7183, 0.0000])
    """
    finite = a > -torch.inf
    return torch.where(finite | a.isnan(), a, 0.0) * a.exp()


@dataclass
class _Average:
    """A moving average, as numbers times ``exp(scale)``."""

    count: Tensor
    value: Tensor
    scale: Tensor


class EwmaLog:
    """The logarithm, with gradients that are averaged over calls: those of ``x`` are divided by a moving average of ``x``.

    The gradient of the logarithm of a noisy mean is biased; the average makes it less so.

    Args:
        alpha: the weight of the past, between 0 and 1.

    Called with ``x`` and ``s``, it takes ``x exp(s)`` for what is averaged, and returns ``log(x)``. What it remembers is kept
    in tensors that change in place, so that steps with it can be captured.

    References:
        M. I. Belghazi and others (2018), "Mutual information neural estimation", section 3.2.

    >>> log = EwmaLog(alpha=0.5)
    >>> for value in (1.0, 4.0):
    ...     x = torch.tensor([value], requires_grad=True)
    ...     log(x, torch.zeros(1)).backward()
    >>> log.ewma, x.grad  # (4 + 0.5 * 1) / (1 + 0.5), and one over it
    (tensor([3.]), tensor([0.3333]))
    """

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self._average: _Average | None = None

    @property
    def n(self) -> int:
        """How many calls there were."""
        return 0 if self._average is None else int(self._average.count)

    @property
    def ewma(self) -> Tensor | float:
        """The average."""
        return 0.0 if self._average is None else self._average.value

    @property
    def s(self) -> Tensor | float:
        """The scale of the last call."""
        return 0.0 if self._average is None else self._average.scale

    def __call__(self, inputs: Tensor, s: Tensor, dim: int = 0, keepdim: bool = False) -> Tensor:
        """Take the inputs into the average; returns their logarithm.

        Args:
            inputs: positive numbers.
            s: the logarithm of their scale, of the same shape.
            dim: without effect.
            keepdim: without effect.
        """
        average = self._average_for(inputs.detach(), s.detach())
        with torch.no_grad():
            count = average.count + 1
            past = torch.pow(self.alpha, count)
            share = ((1 - self.alpha) / (1 - past)).to(inputs.dtype)
            rescaled = torch.exp(average.scale - s) * average.value
            blended = inputs * share + rescaled * ((self.alpha - past) / (1 - past)).to(inputs.dtype)
            ewma = torch.where(torch.isfinite(average.value).all(), blended, inputs)
            average.count.copy_(count)
            average.value.copy_(ewma)
            average.scale.copy_(s)
        return inputs.log().detach() + (inputs - inputs.detach()) / ewma

    def _average_for(self, inputs: Tensor, s: Tensor) -> _Average:
        """What is remembered; another shape of designs starts from it, if it broadcasts."""
        old = self._average
        if old is None:
            zero = torch.zeros((), dtype=torch.float64, device=inputs.device)
            self._average = _Average(zero, torch.zeros_like(inputs), s.clone())
        elif old.value.shape != inputs.shape:
            self._average = _Average(
                old.count, old.value.expand(inputs.shape).clone(), old.scale.expand(s.shape).clone()
            )
        assert self._average is not None
        return self._average
