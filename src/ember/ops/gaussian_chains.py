"""Chains of Gaussian factors, in time that grows like the logarithm of their length where there are enough processors.

References:
    S. Särkkä, A. García-Fernández (2019), "Temporal Parallelization of Bayesian Smoothers".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.ops.information_form import Gaussian

__all__ = ["gaussian_tensordot", "sequential_gaussian_filter_sample", "sequential_gaussian_tensordot"]


# A factor of a chain: Gaussian, or Gaussian with a gamma variable that scales its precision.
Factor = Any


def factor_tensordot(x: Factor, y: Factor, dims: int = 0) -> Factor:
    """As :func:`gaussian_tensordot`, for factors of any kind."""
    assert 0 <= dims <= min(x.dim(), y.dim())
    return _joined(x, y, dims).marginalize(left=dims)


def chain_product(chain: Factor) -> Factor:
    """As :func:`sequential_gaussian_tensordot`, for factors of any kind.

    What is the same at all times, such as the precision where nothing but the data changes, is computed once in each round.
    """
    assert chain.dim() % 2 == 0, "dim is not even"
    state_dim, time, last = chain.dim() // 2, chain.batch_shape[-1], []
    while time > 1:
        if time % 2:
            last.append(_at_times(chain, slice(time - 1, time)))
        even, odd = (_at_times(chain, slice(start, time // 2 * 2, 2)) for start in (0, 1))
        chain = factor_tensordot(even, odd, state_dim)
        time //= 2
    for rest in reversed(last):
        chain = factor_tensordot(chain, rest, state_dim)
    return chain[..., 0]


def _at_times(chain: Factor, times: slice) -> Factor:
    """Some of a chain; tensors without a dim of the time, or with one of size 1, stay as they are."""

    def at(x: Tensor, event: int) -> Tensor:
        dim = x.dim() - event - 1
        if dim < 0 or x.shape[dim] == 1:
            return x
        index: Any = (..., times, *[slice(None)] * event)
        return x[index]

    return chain.changed(at)


def gaussian_tensordot(x: Gaussian, y: Gaussian, dims: int = 0) -> Gaussian:
    """The product of a factor over ``(a, b)`` and one over ``(b, c)``, integrated over ``b``: a factor over ``(a, c)``.

    Args:
        dims: the number of entries of ``b``.

    >>> x = Gaussian(torch.tensor(0.0), torch.zeros(1), torch.eye(1))
    >>> round(float(gaussian_tensordot(x, x, dims=1).log_normalizer), 4)  # the square root of pi
    0.5724
    """
    assert isinstance(x, Gaussian)
    assert isinstance(y, Gaussian)
    product: Gaussian = factor_tensordot(x, y, dims)
    return product


def _joined(x: Factor, y: Factor, dims: int) -> Factor:
    """The product of factors over ``(a, b)`` and ``(b, c)``, as one over ``(b, a, c)``."""
    left, right = x.dim() - dims, y.dim() - dims
    product = x.event_pad(right=right) + y.event_pad(left=left)
    places = torch.arange(product.dim(), device=product.info_vec.device)
    a, b, c = places.split([left, dims, right])  # type: ignore[no-untyped-call]
    return product.event_permute(torch.cat([b, a, c]))


def _paired(chain: Factor, state_dim: int) -> tuple[Factor, Factor]:
    """Neighbours along time multiplied, as factors over ``(middle, left, right)``; and the last one if it has none."""
    pairs = chain.batch_shape[-1] // 2
    even, odd = chain[..., 0 : 2 * pairs : 2], chain[..., 1 : 2 * pairs : 2]
    return _joined(even, odd, state_dim), chain[..., 2 * pairs :]


def _halved(joint: Factor, rest: Factor, state_dim: int) -> Factor:
    shorter = joint.marginalize(left=state_dim)
    return type(joint).cat([shorter, rest], dim=-1) if rest.batch_shape[-1] else shorter


def sequential_gaussian_tensordot(gaussian: Gaussian) -> Gaussian:
    """The product of all factors along the last dim of the batch, integrated over all states between the first and the last.

    Args:
        gaussian: factors over the states before and after each step of time.
    """
    assert isinstance(gaussian, Gaussian)
    product: Gaussian = chain_product(gaussian)
    return product


def sequential_gaussian_filter_sample(
    init: Gaussian, trans: Gaussian, sample_shape: Sequence[int] = (), noise: Tensor | None = None
) -> Tensor:
    """Differentiable draws of all states of a chain.

    Args:
        init: the factor of the first state.
        trans: the factors of the transitions, with time as the last dim of the batch.
        noise: what to use for draws from the standard normal distribution, of the shape of the result: zeros give the mean.

    Returns:
        shape ``sample_shape + batch_shape + (duration, state_dim)``, for one more state than there are transitions.
    """
    assert isinstance(init, Gaussian)
    assert isinstance(trans, Gaussian)
    assert trans.dim() == 2 * init.dim()
    state_dim = init.dim()
    batch_shape = torch.broadcast_shapes(trans.batch_shape[:-1], init.batch_shape)  # type: ignore[no-untyped-call]
    shape = Size((*sample_shape, *batch_shape))
    duration = 1 + trans.batch_shape[-1]
    if noise is None:
        noise = torch.randn(
            (*shape, duration, state_dim), dtype=trans.info_vec.dtype, device=trans.info_vec.device
        )
    assert noise.shape == (*shape, duration, state_dim)
    joints = []
    while trans.batch_shape[-1] > 1:
        joint, rest = _paired(trans, state_dim)
        joints.append(joint)
        trans = _halved(joint, rest, state_dim)
    ends = (trans[..., 0] + init.event_pad(right=state_dim)).expand(shape)
    states: Tensor = ends.rsample(noise=noise[..., :2, :].flatten(-2)).unflatten(-1, (2, state_dim))  # type: ignore[no-untyped-call]
    for joint in reversed(joints):
        states = _with_middles(states, joint, noise[..., states.shape[-2] :, :])
    return states


def _with_middles(states: Tensor, joint: Gaussian, noise: Tensor) -> Tensor:
    """The states, and between neighbours those that the joint factors tell of; a last one without is put at the end."""
    pairs = joint.batch_shape[-1]
    left, right = states[..., :pairs, :], states[..., 1 : pairs + 1, :]
    middles = joint.condition(torch.cat([left, right], -1)).rsample(noise=noise[..., :pairs, :])
    zipped = torch.stack([left, middles], -2).flatten(-3, -2)
    return torch.cat([zipped, states[..., pairs:, :]], -2)
