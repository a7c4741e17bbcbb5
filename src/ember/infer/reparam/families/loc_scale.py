"""Decentering of location-scale families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ember import primitives
from ember.distributions import constraints
from ember.distributions.masking import is_identically_one
from ember.distributions.torch_distribution import MaskedDistribution
from ember.distributions.validation import is_validation_enabled
from ember.errors import ReparamError
from ember.infer.reparam.reparam import (
    Reparam,
    ReparamMessage,
    ReparamResult,
    deterministic_result,
    sum_event,
)


def _innermost(fn: Any) -> Any:
    while isinstance(fn, (torch.distributions.Independent, MaskedDistribution)):
        fn = fn.base_dist
    return fn


def _replace_innermost(fn: Any, new: Any) -> Any:
    """``fn`` with its event dims and masks around another distribution."""
    if isinstance(fn, torch.distributions.Independent):
        return _replace_innermost(fn.base_dist, new).to_event(fn.reinterpreted_batch_ndims)
    if isinstance(fn, MaskedDistribution):
        return _replace_innermost(fn.base_dist, new).mask(fn.applied_mask)
    return new


class LocScaleReparam(Reparam):
    """Moves a latent variable's location and scale out of its distribution, wholly or in part.

    The site ``x`` becomes ``x_decentered``, with location ``centered * loc`` and scale ``scale ** centered``,
    and ``x = loc + scale ** (1 - centered) * (x_decentered - centered * loc)``. Funnels become easy to fit
    where data say little.

    Args:
        centered: 0 decenters, 1 leaves the site as it is; a number or a tensor of the event's shape. None
            learns a parameter ``x_centered`` in the unit interval for each element of the event, from 0.5.
        shape_params: parameters that are neither location nor scale and are kept; by default all of the
            family.

    Raises:
        ReparamError: (an AssertionError) for a ``centered`` outside of [0, 1], and at sites without ``loc``
            and ``scale``.

    References:
        M. I. Gorinova, D. Moore, M. D. Hoffman (2019), "Automatic reparameterisation of probabilistic
        programs".

    >>> import ember
    >>> from ember.distributions import Normal
    >>> from ember.infer.reparam import LocScaleReparam
    >>> with ember.poutine.reparam(config={"x": LocScaleReparam(0.0)}), ember.poutine.trace() as tr:
    ...     x = ember.sample("x", Normal(10.0, 2.0))
    >>> bool(x == 10 + 2 * tr.trace.nodes["x_decentered"]["value"])
    True
    """

    def __init__(
        self, centered: float | Tensor | None = None, shape_params: Sequence[str] | None = None
    ) -> None:
        if not (centered is None or isinstance(centered, (float, Tensor))):
            raise ReparamError(
                f"LocScaleReparam expects centered to be a float, a tensor or None, got {centered!r}"
            )
        if shape_params is not None and not (
            isinstance(shape_params, (tuple, list)) and all(isinstance(name, str) for name in shape_params)
        ):
            raise ReparamError(f"LocScaleReparam expects shape_params to be names, got {shape_params!r}")
        if centered is not None and is_validation_enabled():
            inside = torch.as_tensor(centered)
            if not bool(((inside >= 0) & (inside <= 1)).all()):
                raise ReparamError(f"LocScaleReparam expects centered to lie in [0, 1], got {centered!r}")
        self.centered = centered
        self.shape_params = shape_params

    def apply(self, msg: ReparamMessage) -> ReparamResult:
        """Sample ``<name>_decentered``."""
        name, value, is_observed = msg.name, msg.value, msg.is_observed
        if is_identically_one(self.centered):
            return {"fn": msg.fn, "value": value, "is_observed": is_observed}
        event_shape, event_dim = msg.fn.event_shape, msg.fn.event_dim
        fn = _innermost(msg.fn)
        if not {"loc", "scale"} <= set(getattr(fn, "arg_constraints", ())):
            raise ReparamError(
                f"at site {name!r}, LocScaleReparam needs a distribution with loc and scale, got {type(fn).__name__}; "
                "for transformed distributions, use TransformReparam and reparameterise the base"
            )
        if self.shape_params is None:
            self.shape_params = tuple(key for key in fn.arg_constraints if key not in ("loc", "scale"))
        shape = {key: getattr(fn, key) for key in self.shape_params}
        loc, scale = fn.loc, fn.scale
        centered: float | Tensor
        if self.centered is None:
            centered = primitives.param(
                f"{name}_centered",
                lambda: loc.new_full(event_shape, 0.5),
                constraint=constraints.unit_interval,
            )
        else:
            centered = self.centered
        decentered = type(fn)(loc=loc * centered, scale=scale**centered, **shape)

        noise = None
        if value is not None:
            noise = (value - loc) * scale ** (centered - 1) + centered * loc
        noise = primitives.sample(
            f"{name}_decentered",
            _replace_innermost(msg.fn, decentered),
            obs=noise,
            infer={"is_observed": is_observed},
        )
        if value is None:
            value = loc + scale ** (1 - centered) * (noise - centered * loc)
        if not is_observed:
            return deterministic_result(value, event_dim)
        # The density of data is that of the noise and of the change of scale.
        change = ((centered - 1) * scale.log()).expand_as(value)
        return deterministic_result(value, event_dim, sum_event(change, event_dim))
