"""Stable variables through uniform and exponential noise, of which densities are known."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ember import distributions as dist
from ember import primitives
from ember.distributions.stable import standard_stable, standard_stable_off_one
from ember.errors import ReparamError
from ember.infer.reparam.reparam import Reparam, ReparamMessage, ReparamResult, deterministic_result
from ember.infer.traces.validation import is_validation_enabled

_HALF_PI = math.pi / 2
_RADIUS = 0.005


class _StableReparam(Reparam):
    """What the three have in common."""

    def _stable(self, msg: ReparamMessage) -> tuple[Any, int]:
        fn, event_dim = self._unwrap(msg.fn)
        name = msg.name
        self._require(name, fn, dist.Stable)
        if isinstance(fn, dist.StableWithLogProb):
            raise ReparamError(
                f"at site {name!r}, {type(self).__name__} leaves StableWithLogProb to its own density; use Stable"
            )
        if fn.coords != "S0":
            raise ReparamError(
                f"at site {name!r}, {type(self).__name__} supports only Stable(..., coords='S0'), got {fn.coords!r}"
            )
        return fn, event_dim

    def _noise(self, prefix: str, like: Tensor, event_dim: int) -> tuple[Tensor, Tensor]:
        """An angle and a waiting time, free of parameters."""
        # Bounds of no dims: those of all rows would not fit the rows that a guide draws.
        half_pi = like.new_full((), _HALF_PI)
        angle = dist.Uniform(-half_pi, half_pi).expand(like.shape)
        waiting = dist.Exponential(torch.ones_like(like))
        return (
            primitives.sample(f"{prefix}_uniform", self._wrap(angle, event_dim)),
            primitives.sample(f"{prefix}_exponential", self._wrap(waiting, event_dim)),
        )


class LatentStableReparam(_StableReparam):
    """Samples the noise of Chambers, Mallows and Stuck at ``<name>_uniform`` and ``<name>_exponential``.

    For latent sites; initial values are not mapped.

    Raises:
        AssertionError: at sites of other families.
        NotImplementedError: at observed sites; use :class:`StableReparam` there.

    >>> import ember, torch
    >>> from ember import distributions as dist
    >>> from ember.infer.reparam import LatentStableReparam
    >>> with ember.poutine.reparam(config={"x": LatentStableReparam()}), ember.poutine.trace() as tr:
    ...     x = ember.sample("x", dist.Stable(1.5, 0.3))
    >>> list(tr.trace.nodes)
    ['x_uniform', 'x_exponential', 'x']
    """

    def apply(self, msg: ReparamMessage) -> ReparamResult:
        """Sample ``<name>_uniform`` and ``<name>_exponential``."""
        fn, event_dim = self._stable(msg)
        self._refuse_observed(msg.name, msg.is_observed)
        uniform, exponential = self._noise(msg.name, fn.stability.detach(), event_dim)
        standard = standard_stable(fn.stability, fn.skew, uniform, exponential, coords="S0")
        return deterministic_result(fn.loc + fn.scale * standard, event_dim)


def _mixing_scale(stability: Tensor, uniform: Tensor, exponential: Tensor) -> Tensor:
    """The random scale of a normal variable that is then symmetric stable, from a positive stable variable."""
    positive = standard_stable_off_one(stability / 2, 1.0, uniform, exponential, coords="S")
    positive = positive.clamp(min=torch.finfo(positive.dtype).tiny)
    # Stable(2, 0, s) is Normal(0, sqrt(2) s).
    return math.sqrt(2) * (_HALF_PI / 2 * stability).cos().pow(stability.reciprocal()) * positive.sqrt()


class SymmetricStableReparam(_StableReparam):
    """Makes a :class:`~ember.distributions.Stable` without skew a normal distribution of random scale.

    The scale comes from a positive stable variable, whose noise is at ``<name>_uniform`` and
    ``<name>_exponential``. Suits observed sites too.

    Raises:
        AssertionError: at sites of other families.
        ValueError: if there is skew, or a stability of 2.

    References:
        A. Cartea, S. Howison (2009), "Option pricing with Levy-stable processes", proposition 3.

    >>> import ember
    >>> from ember.infer.reparam import SymmetricStableReparam
    >>> def model():
    ...     return ember.sample("x", ember.distributions.Stable(1.5, 0.0))
    >>> changed = ember.poutine.reparam(model, config={"x": SymmetricStableReparam()})
    >>> type(ember.poutine.trace(changed).get_trace().nodes["x"].fn).__name__
    'Normal'
    """

    def apply(self, msg: ReparamMessage) -> ReparamResult:
        """Sample ``<name>_uniform`` and ``<name>_exponential``."""
        fn, event_dim = self._stable(msg)
        if is_validation_enabled():
            where = f" at site {msg.name!r}"
            if not bool((fn.skew == 0).all()):
                raise ValueError(f"SymmetricStableReparam found nonzero skew{where}; use StableReparam")
            if not bool((fn.stability < 2).all()):
                raise ValueError(
                    f"SymmetricStableReparam found stability >= 2{where}; use Normal(loc, sqrt(2) * scale)"
                )
        uniform, exponential = self._noise(msg.name, fn.stability.detach(), event_dim)
        scale = fn.scale * _mixing_scale(fn.stability, uniform, exponential)
        normal = dist.Normal(fn.loc, scale.clamp(min=torch.finfo(scale.dtype).tiny))
        return {
            "fn": self._wrap(normal, event_dim),
            "value": msg.value,
            "is_observed": msg.is_observed,
        }


class StableReparam(_StableReparam):
    """Makes any :class:`~ember.distributions.Stable` a normal distribution of random location and scale.

    The variable is a sum: a fully skewed stable variable, whose noise is at ``<name>_t_uniform`` and
    ``<name>_t_exponential``, and a symmetric one, treated as in :class:`SymmetricStableReparam` with noise at
    ``<name>_z_uniform`` and ``<name>_z_exponential``. Suits observed sites too.

    Raises:
        AssertionError: at sites of other families.

    References:
        V. M. Zolotarev (1986), "One-dimensional stable distributions", property 2.3.a.

    >>> import ember
    >>> from ember.infer.reparam import StableReparam
    >>> def model():
    ...     return ember.sample("x", ember.distributions.Stable(1.5, 0.3))
    >>> changed = ember.poutine.reparam(model, config={"x": StableReparam()})
    >>> type(ember.poutine.trace(changed).get_trace().nodes["x"].fn).__name__
    'Normal'
    """

    def apply(self, msg: ReparamMessage) -> ReparamResult:
        """Sample the noise of both parts."""
        fn, event_dim = self._stable(msg)
        name, like = msg.name, fn.stability.detach()
        z_noise = self._noise(f"{name}_z", like, event_dim)
        t_noise = self._noise(f"{name}_t", like, event_dim)

        # Scales add up as powers of the stability: |skew| and 1 - |skew| are the shares of both parts.
        stability, skew = fn.stability, fn.skew
        eps = torch.finfo(stability.dtype).eps
        share = skew.abs().clamp(min=eps, max=1 - eps)
        power = stability.reciprocal()
        skewed_scale, symmetric_scale = share.pow(power), (1 - share).pow(power)
        skewed = standard_stable(stability, torch.ones_like(stability), *t_noise, coords="S0")
        loc = skew.sign() * skewed_scale * skewed + _shift(stability, skew, share)
        scale = fn.scale * symmetric_scale * _mixing_scale(stability, *z_noise)
        normal = dist.Normal(fn.loc + fn.scale * loc, scale.clamp(min=torch.finfo(scale.dtype).tiny))
        return {
            "fn": self._wrap(normal, event_dim),
            "value": msg.value,
            "is_observed": msg.is_observed,
        }


def _shift(stability: Tensor, skew: Tensor, share: Tensor) -> Tensor:
    """What the S0 coordinates of the skewed part and of the sum differ by.

    The factors have a root and a pole at stability 1; near it, a line through the values on both sides.
    """
    near = (stability.detach() - 1).abs() <= _RADIUS
    sides = []
    for side in (-_RADIUS, _RADIUS):
        a = torch.where(near, 1 + side, stability)
        sides.append((skew.sign() * share.pow(a.reciprocal()) - skew) * (_HALF_PI * a).tan())
    upper = torch.where(near, (stability.detach() - 1 + _RADIUS) / (2 * _RADIUS), 0.5)
    return sides[0] * (1 - upper) + sides[1] * upper
