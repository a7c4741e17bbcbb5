"""Configurations that look at the sites themselves: ``poutine.reparam(model, config=AutoReparam())``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch

from ember import distributions as dist
from ember.distributions import constraints
from ember.errors import ReparamError
from ember.infer.reparam.families.loc_scale import LocScaleReparam
from ember.infer.reparam.families.projected_normal import ProjectedNormalReparam
from ember.infer.reparam.families.softmax import GumbelSoftmaxReparam
from ember.infer.reparam.families.stable import LatentStableReparam, StableReparam, SymmetricStableReparam
from ember.infer.reparam.reparam import Reparam
from ember.infer.reparam.transforms.transform import TransformReparam
from ember.poutine.handlers import reparam as reparam_handler
from ember.poutine.site import Site, as_site


class Strategy(ABC):
    """Base of configurations that are made while the model first runs; subclasses define :meth:`configure`.

    Called with a model, a strategy decorates it. ``config`` holds what was chosen, by site, and is a
    configuration itself.
    """

    def __init__(self) -> None:
        self.config: dict[str, Reparam | None] = {}

    @abstractmethod
    def configure(self, msg: Site) -> Reparam | None:
        """The reparameteriser for a site, or None. Asked once for each name."""

    def __call__(self, msg_or_fn: dict[str, Any] | Callable[..., Any]) -> Any:
        if not isinstance(msg_or_fn, dict):
            return reparam_handler(msg_or_fn, config=self)
        msg = as_site(msg_or_fn)
        if msg.name not in self.config:
            self.config[msg.name] = self.configure(msg)
        return self.config[msg.name]


class MinimalReparam(Strategy):
    """Reparameterises only sites that inference could not treat otherwise: stable and projected normal ones.

    >>> import ember, torch
    >>> from ember import distributions as dist
    >>> from ember.infer.reparam import MinimalReparam
    >>> @MinimalReparam()
    ... def model():
    ...     return ember.sample("direction", dist.ProjectedNormal(torch.zeros(3)))
    >>> list(ember.poutine.trace(model).get_trace().stochastic_nodes)
    ['direction_normal']
    """

    def configure(self, msg: Site) -> Reparam | None:
        """Return a reparameteriser for stable and projected normal sites."""
        return _minimal_reparam(msg.fn, msg.is_observed)


class AutoReparam(Strategy):
    """Reparameterises all latent sites for which there is a recommendation.

    Transformed distributions are sampled through their bases, relaxed one-hot variables through uniform
    noise, location-scale families decentered, and the rest as by :class:`MinimalReparam`.

    Args:
        centered: for :class:`LocScaleReparam`; None learns it.

    Raises:
        ReparamError: (an AssertionError) for a ``centered`` that is neither.

    >>> import ember, torch
    >>> from ember import distributions as dist
    >>> from ember.infer.reparam import AutoReparam
    >>> @AutoReparam(centered=0.0)
    ... def model():
    ...     return ember.sample("x", dist.Normal(3.0, 2.0))
    >>> list(ember.poutine.trace(model).get_trace().stochastic_nodes)
    ['x_decentered']
    """

    def __init__(self, *, centered: float | None = None) -> None:
        if not (centered is None or isinstance(centered, float)):
            raise ReparamError(f"AutoReparam expects centered to be a float or None, got {centered!r}")
        super().__init__()
        self.centered = centered

    def configure(self, msg: Site) -> Reparam | None:
        """Return a reparameteriser for the site, by its family."""
        fn = msg.fn
        if msg.is_observed:
            return _minimal_reparam(fn, True)
        parameters_at_hand = True
        while _wraps(fn):
            if isinstance(fn, torch.distributions.TransformedDistribution):
                return TransformReparam()  # what is sampled then is configured in turn
            parameters_at_hand &= isinstance(fn, (torch.distributions.Independent, dist.MaskedDistribution))
            fn = fn.base_dist
        if isinstance(fn, torch.distributions.RelaxedOneHotCategorical):
            return GumbelSoftmaxReparam()
        found = _loc_scale_reparam(msg.name, fn, self.centered) if parameters_at_hand else None
        return found or _minimal_reparam(fn, False)


def _wraps(fn: Any) -> bool:
    """Whether a distribution is made of one that can be sampled in its place."""
    return isinstance(getattr(fn, "base_dist", None), dist.Distribution) and not isinstance(
        fn, torch.distributions.HalfNormal
    )


def _minimal_reparam(fn: Any, is_observed: bool) -> Reparam | None:
    while _wraps(fn):
        if isinstance(fn, torch.distributions.TransformedDistribution):
            return None if _minimal_reparam(fn.base_dist, is_observed) is None else TransformReparam()
        fn = fn.base_dist
    if isinstance(fn, dist.Stable) and not isinstance(fn, dist.StableWithLogProb):
        if not is_observed:
            return LatentStableReparam()
        skewed = fn.skew.requires_grad or bool(fn.skew.any())
        return StableReparam() if skewed else SymmetricStableReparam()
    if isinstance(fn, dist.ProjectedNormal):
        return ProjectedNormalReparam()
    return None


def _loc_scale_reparam(name: str, fn: Any, centered: float | None) -> Reparam | None:
    parameters = set(fn.arg_constraints)
    # What is decentered already would be decentered for ever.
    if "_decentered" in name or not {"loc", "scale"} <= parameters or not _is_real(fn.support):
        return None
    return LocScaleReparam(centered=centered, shape_params=sorted(parameters - {"loc", "scale"}))


def _is_real(constraint: Any) -> bool:
    while hasattr(constraint, "base_constraint"):
        constraint = constraint.base_constraint
    return constraint is constraints.real
