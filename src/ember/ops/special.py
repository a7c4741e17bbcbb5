"""Special functions of tensors, mostly as logarithms."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ember.ops.quadrature import get_quad_rule as get_quad_rule

__all__ = [
    "get_quad_rule",
    "log_I1",
    "log_beta",
    "log_binomial",
    "safe_log",
    "sparse_multinomial_likelihood",
]

# Three terms of Stirling's series, each off by less than 1 / 360 at arguments of 1 and more (Robbins, 1955).
_SERIES_ERROR = 3 / 360
# Keeps what is below in exact arithmetic below in float64, too.
_ROUNDING = 1e-6


class _SafeLog(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.log()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return grad / x.clamp(min=torch.finfo(x.dtype).eps)


def safe_log(x: Tensor) -> Tensor:
    """The logarithm, with a gradient of at most one over the machine epsilon: large at zero, but finite.

    >>> x = torch.zeros(1, requires_grad=True)
    >>> safe_log(x), torch.autograd.grad(safe_log(x).sum(), x)[0].isfinite()
    (tensor([-inf], grad_fn=<_SafeLogBackward>), tensor([True]))
    """
    result: Tensor = _SafeLog.apply(x)  # type: ignore[no-untyped-call]
    return result


def _correction(z: Tensor) -> Tensor:
    """The first term of Stirling's series: what ``(z - 1/2) log(z) - z + log(2 pi) / 2`` falls short of ``log Gamma(z)``."""
    return z.reciprocal() / 12


def _least_correction(z: Tensor) -> Tensor:
    """The first two terms, which fall short of all of them."""
    inverse = z.reciprocal()
    return inverse * (1 / 12 - inverse.square() / 360)


def log_beta(x: Tensor, y: Tensor, tol: float = 0.0) -> Tensor:
    """``log(Gamma(x) Gamma(y) / Gamma(x + y))``, or up to ``tol`` less.

    A few logarithms take the place of three log gamma functions where ``tol`` allows it, from about 0.0084 on.

    Args:
        x, y: positive tensors.

    References:
        H. Robbins (1955), "A remark on Stirling's formula".

    >>> log_beta(torch.tensor(2.0), torch.tensor(3.0)).exp()
    tensor(0.0833)
    """
    assert isinstance(tol, (float, int)) and tol >= 0
    if tol < _SERIES_ERROR:
        return x.lgamma() + y.lgamma() - (x + y).lgamma()
    # Gamma(x) = Gamma(x + 1) / x keeps small arguments out of the series.
    a, b, c = x + 1, y + 1, x + y + 1
    leading = a * (a / c).log() + b * (b / c).log() + 1.5 * c.log() - 0.5 * (a.log() + b.log())
    # From below in each term, so that the sum is no more than the exact one.
    correction = _least_correction(a) + _least_correction(b) - _correction(c)
    shifted = leading + correction + (0.5 * math.log(2 * math.pi) - 1 - _ROUNDING)
    return shifted + (x.reciprocal() + y.reciprocal()).log()


def log_binomial(n: Tensor, k: Tensor, tol: float = 0.0) -> Tensor:
    """``log C(n, k)``, with an error of at most ``tol``.

    Three logarithms take the place of three log gamma functions where ``tol`` allows it, from about 0.0084 on.

    References:
        H. Robbins (1955), "A remark on Stirling's formula".

    >>> log_binomial(torch.tensor(4.0), torch.tensor(2.0)).exp()
    tensor(6.)
    """
    assert isinstance(tol, (float, int)) and tol >= 0
    n, k, rest = n + 1, k + 1, n - k + 1
    if tol < _SERIES_ERROR:
        return n.lgamma() - k.lgamma() - rest.lgamma()
    leading = (n - 0.5) * n.log() - (k - 0.5) * k.log() - (rest - 0.5) * rest.log()
    correction = _correction(n) - _correction(k) - _correction(rest)
    return leading + correction + (1 - 0.5 * math.log(2 * math.pi))


def log_I1(orders: int, value: Tensor, terms: int = 250) -> Tensor:
    """The logarithms of the modified Bessel functions of the first kind, of the orders 0 to ``orders``.

    Args:
        value: arguments, not negative; a tensor without dims counts as one of shape ``(1,)``.
        terms: the length of the power series, which should be well above half of the largest argument.

    Returns:
        a tensor of shape ``(orders + 1, *value.shape)``.

    References:
        M. Abramowitz, I. Stegun (1964), "Handbook of Mathematical Functions", 9.6.10.

    >>> log_I1(1, torch.tensor([1.0])).exp()
    tensor([[1.2661],
            [0.5652]])
    """
    value = value.reshape(1) if value.dim() == 0 else value
    k = torch.arange(terms, dtype=value.dtype, device=value.device)
    v = torch.arange(orders + 1, dtype=value.dtype, device=value.device)
    v = v.reshape((-1,) + (1,) * (value.dim() + 1))
    powers = torch.xlogy(2 * k + v, (value / 2).unsqueeze(-1))  # 0 log 0 is 0
    return (powers - (k + 1).lgamma() - (v + k + 1).lgamma()).logsumexp(-1)


def sparse_multinomial_likelihood(
    total_count: Tensor, nonzero_logits: Tensor, nonzero_value: Tensor
) -> Tensor:
    """The sum of the log densities of multinomial counts, from the counts that are not zero.

    Args:
        total_count: the sum of each row of counts.
        nonzero_logits, nonzero_value: the normalised logits and the counts at the places where there are any, flattened.

    >>> value, logits = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[0.5, 0.2, 0.3]]).log()
    >>> there = value.nonzero(as_tuple=True)
    >>> sparse_multinomial_likelihood(value.sum(-1), logits[there], value[there]).exp()
    tensor(0.2250)
    """
    orders = (total_count + 1).lgamma().sum() - (nonzero_value + 1).lgamma().sum()
    return orders + torch.dot(nonzero_logits, nonzero_value)
