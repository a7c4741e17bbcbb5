"""The same distribution, laid out along other batch dims."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any

from torch import Tensor

from ember import distributions as dist
from ember.contrib.forecast.elementwise import reshape_transform_batch
from ember.distributions.over_time import apart
from ember.infer.reparam.reparam import as_ember

Shape = tuple[int, ...]
Change = Callable[[Tensor, int], Tensor]
"""Of a parameter, laid over the whole batch, and the number of its dims that lie in one event."""

UNIVARIATE_DISTS: dict[type, tuple[str, ...]] = {
    dist.Bernoulli: ("logits",),
    dist.Beta: ("concentration1", "concentration0"),
    dist.BetaBinomial: ("concentration1", "concentration0", "total_count"),
    dist.Cauchy: ("loc", "scale"),
    dist.Dirichlet: ("concentration",),
    dist.DirichletMultinomial: ("concentration", "total_count"),
    dist.Exponential: ("rate",),
    dist.Gamma: ("concentration", "rate"),
    dist.GammaPoisson: ("concentration", "rate"),
    dist.Geometric: ("logits",),
    dist.InverseGamma: ("concentration", "rate"),
    dist.Laplace: ("loc", "scale"),
    dist.LogNormal: ("loc", "scale"),
    dist.NegativeBinomial: ("total_count", "logits"),
    dist.Normal: ("loc", "scale"),
    dist.Poisson: ("rate",),
    dist.Stable: ("stability", "skew", "scale", "loc", "coords"),
    dist.StudentT: ("df", "loc", "scale"),
    dist.Uniform: ("low", "high"),
    dist.ZeroInflatedPoisson: ("rate", "gate"),
    dist.ZeroInflatedNegativeBinomial: ("total_count", "logits", "gate"),
}
"""Families over one time and one series, and what makes one again. Others are taken apart by their arguments, where these are
tensors."""


def with_parameters(d: Any, change: Change, what: str) -> Any:
    """The same family, of other parameters.

    Args:
        d: a distribution.
        change: what becomes of each parameter.
        what: who asks, for the error.

    Raises:
        NotImplementedError: if parameters alone do not make the distribution again.
    """

    def changed(value: Tensor, right: int) -> Tensor:
        return change(value.expand(d.batch_shape + value.shape[value.dim() - right :]), right)

    if type(d) in UNIVARIATE_DISTS:
        values = {name: getattr(d, name) for name in UNIVARIATE_DISTS[type(d)]}
        rights = {name: _dims_in_event(d, name) for name in values}
        new = {
            name: changed(value, rights[name]) if isinstance(value, Tensor) else value
            for name, value in values.items()
        }
        return type(d)(**new, validate_args=vars(d).get("_validate_args"))
    part = apart(d)
    if part is None:
        raise NotImplementedError(
            f"{what}() does not support {type(d).__name__}: parameters alone do not make one again. "
            f"Register a function for it by @{what}.register({type(d).__name__})"
        )
    return part.build([changed(value, right) for value, right in zip(part.tensors, part.rights, strict=True)])


def has_parameters(d: Any) -> bool:
    """Whether parameters alone make a distribution again."""
    return type(d) in UNIVARIATE_DISTS or apart(d) is not None


def _dims_in_event(d: Any, name: str) -> int:
    constraint = d.arg_constraints.get(name)
    return 0 if constraint is None else int(constraint.event_dim)


@singledispatch
def reshape_batch(d: Any, batch_shape: Shape) -> Any:
    """The same distribution with another batch shape of as many elements.

    It moves the time, a rightmost batch dim, to the event, while the other batch dims stay in their places. A new
    type is registered as with :func:`functools.singledispatch`.

    Args:
        d: a distribution.
        batch_shape: the new batch shape.

    Raises:
        NotImplementedError: for a distribution that parameters alone do not make again.

    >>> import torch
    >>> d = dist.Normal(torch.zeros(3, 5, 2), 1.0).to_event(2)
    >>> reshape_batch(d, (3, 1)).batch_shape
    torch.Size([3, 1])
    """
    batch_shape = tuple(batch_shape)
    return with_parameters(
        d,
        lambda value, right: value.reshape(batch_shape + tuple(value.shape[value.dim() - right :])),
        "reshape_batch",
    )


_by_parameters = reshape_batch.dispatch(object)


@reshape_batch.register(dist.MaskedDistribution)
def _(d: Any, batch_shape: Shape) -> Any:
    mask = d.applied_mask
    base = reshape_batch(d.base_dist, batch_shape)
    return base.mask(mask.reshape(batch_shape) if isinstance(mask, Tensor) else mask)


@reshape_batch.register(dist.Independent)
def _(d: Any, batch_shape: Shape) -> Any:
    dims = d.reinterpreted_batch_ndims
    return reshape_batch(d.base_dist, tuple(batch_shape) + tuple(d.event_shape[:dims])).to_event(dims)


@reshape_batch.register(dist.FoldedDistribution)
def _(d: Any, batch_shape: Shape) -> Any:
    return dist.FoldedDistribution(reshape_batch(d.base_dist, batch_shape))


@reshape_batch.register(dist.TransformedDistribution)
def _(d: Any, batch_shape: Shape) -> Any:
    if has_parameters(d):
        return _by_parameters(d, batch_shape)
    old = as_ember(d.base_dist)  # torch may have put its own Independent around it
    base = reshape_batch(old, batch_shape)
    shapes = old.shape(), base.shape()
    return dist.TransformedDistribution(base, [reshape_transform_batch(t, *shapes) for t in d.transforms])


@reshape_batch.register(dist.IndependentHMM)
def _(d: Any, batch_shape: Shape) -> Any:
    return dist.IndependentHMM(reshape_batch(d.base_dist, tuple(batch_shape) + tuple(d.event_shape[-1:])))


@reshape_batch.register(dist.GaussianHMM)
def _(d: Any, batch_shape: Shape) -> Any:
    return d.reshaped(batch_shape)


@reshape_batch.register(dist.LinearHMM)
def _(d: Any, batch_shape: Shape) -> Any:
    shape = tuple(batch_shape)
    time = tuple(d.event_shape[:1])

    def matrix(x: Tensor) -> Tensor:
        if x.dim() <= 3:
            return x
        return x.expand((*d.batch_shape, *x.shape[-3:])).reshape(shape + tuple(x.shape[-3:]))

    observation = reshape_batch(d.observation_dist, shape + time)
    shapes = d.observation_dist.shape(), observation.shape()
    transforms = [reshape_transform_batch(t, *shapes) for t in d.transforms]
    return dist.LinearHMM(
        reshape_batch(d.initial_dist, shape),
        matrix(d.transition_matrix),
        reshape_batch(d.transition_dist, shape + time),
        matrix(d.observation_matrix),
        dist.TransformedDistribution(observation, transforms) if transforms else observation,
        duration=d.duration,
        validate_args=vars(d).get("_validate_args"),
    )
