"""Parts of a variable as sites of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ember import distributions as dist
from ember import primitives
from ember.distributions import constraints
from ember.errors import ReparamError
from ember.infer.reparam.reparam import Reparam, ReparamMessage, ReparamResult, deterministic_result
from ember.ops.tensor_utils import broadcast_tensors_without_dim
from ember.poutine.runtime import get_mask

_any: Any = constraints


def same_support(fn: Any, *args: object) -> Any:
    """The support of the whole for each part."""
    return fn.support


def real_support(fn: Any, *args: object) -> Any:
    """Real events with as many dims as the whole, whatever its support."""
    return _any.independent(constraints.real, fn.event_dim)


def default_support(fn: Any, slice: slice, dim: int) -> Any:
    """The part of the support, if it is stacked or concatenated along ``dim``; else the support of the whole."""
    support = fn.support
    wrapped = []
    while isinstance(support, constraints.independent):
        wrapped.append(support.reinterpreted_batch_ndims)
        support = support.base_constraint
    if isinstance(support, constraints.stack) and support.dim == dim:
        support = _any.stack(support.cseq[slice], dim)
    elif isinstance(support, constraints.cat) and support.dim == dim:
        support = _any.cat(support.cseq[slice], dim, support.lengths[slice])
    for ndims in reversed(wrapped):
        support = _any.independent(support, ndims)
    return support


class SplitReparam(Reparam):
    """Cuts a latent variable along a dim, as :func:`torch.split` does.

    Part ``i`` is the site ``<name>_split_<i>``. Parts can then be reparameterised or guided in different
    ways. They have flat, improper densities; the density of the whole stands at the site itself. So they
    cannot be drawn: a guide, or a handler, gives their values.

    Args:
        sections: the sizes of the parts, a list.
        dim: the event dim to cut, counted from the right, negative.
        support_fn: the support of a part, from the site's distribution, the slice and the dim.

    Raises:
        ReparamError: (an AssertionError) if the arguments are no such thing, or do not fit the site.

    >>> import torch, ember
    >>> from ember.infer.reparam import SplitReparam
    >>> def model():
    ...     ember.sample("x", ember.distributions.Normal(torch.zeros(3), 1.0).to_event(1))
    >>> split = ember.poutine.reparam(model, config={"x": SplitReparam([1, 2], dim=-1)})
    >>> values = {"x_split_0": torch.zeros(1), "x_split_1": torch.ones(2)}
    >>> ember.poutine.trace(ember.condition(split, values)).get_trace().nodes["x"].value
    tensor([0., 1., 1.])
    """

    def __init__(
        self, sections: Sequence[int], dim: int, support_fn: Callable[..., Any] = default_support
    ) -> None:
        if not (isinstance(dim, int) and dim < 0):
            raise ReparamError(f"SplitReparam expects a negative dim, got {dim!r}")
        if not (isinstance(sections, list) and all(isinstance(size, int) for size in sections)):
            raise ReparamError(f"SplitReparam expects a list of sizes, got {sections!r}")
        self.event_dim = -dim
        self.sections = sections
        self.support_fn = support_fn

    def _check(self, name: str, fn: Any) -> None:
        dim = -self.event_dim
        if fn.event_dim < self.event_dim:
            raise ReparamError(
                f"at site {name!r}, SplitReparam cannot split dim {dim} of event shape {tuple(fn.event_shape)}; "
                "use .to_event() to make it an event dim"
            )
        if fn.event_shape[dim] != sum(self.sections):
            raise ReparamError(
                f"at site {name!r}, SplitReparam cannot split dim {dim} of event shape {tuple(fn.event_shape)} into "
                f"{self.sections}, whose sum is {sum(self.sections)}"
            )

    def apply(self, msg: ReparamMessage) -> ReparamResult:
        """Sample ``<name>_split_0`` and so on."""
        name, fn, value = msg.name, msg.fn, msg.value
        self._check(name, fn)
        dim = -self.event_dim
        given: Any = (
            [None] * len(self.sections) if value is None else torch.split(value, list(self.sections), dim)
        )
        parts: list[Tensor] = []
        start = 0
        for i, size in enumerate(self.sections):
            shape = list(fn.event_shape)
            shape[dim] = size
            support = self.support_fn(fn, slice(start, start + size), dim)
            part = dist.ImproperUniform(support, fn.batch_shape, shape)
            parts.append(
                primitives.sample(
                    f"{name}_split_{i}", part, obs=given[i], infer={"is_observed": msg.is_observed}
                )
            )
            start += size
        if value is None:
            value = torch.cat(broadcast_tensors_without_dim(parts, dim), dim)
        log_density = 0.0 if get_mask() is False else fn.log_prob(value)
        return deterministic_result(value, fn.event_dim, log_density)
