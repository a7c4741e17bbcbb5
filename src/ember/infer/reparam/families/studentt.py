"""Student's t variables as normal ones of random scale."""

from __future__ import annotations

from ember import distributions as dist
from ember import primitives
from ember.infer.reparam.reparam import Reparam, ReparamMessage, ReparamResult


class StudentTReparam(Reparam):
    """Samples a precision at ``<name>_gamma``, given which the site is normal. Suits observed sites too.

    >>> import ember, torch
    >>> from ember import distributions as dist
    >>> from ember.infer.reparam import StudentTReparam
    >>> with ember.poutine.reparam(config={"x": StudentTReparam()}), ember.poutine.trace() as tr:
    ...     x = ember.sample("x", dist.StudentT(3.0))
    >>> tr.trace.nodes["x"]["fn"].__class__.__name__
    'Normal'
    """

    def apply(self, msg: ReparamMessage) -> ReparamResult:
        """Sample ``<name>_gamma``."""
        fn, event_dim = self._unwrap(msg.fn)
        self._require(msg.name, fn, dist.StudentT)
        half = fn.df / 2
        precision = primitives.sample(f"{msg.name}_gamma", self._wrap(dist.Gamma(half, half), event_dim))
        normal = dist.Normal(fn.loc, fn.scale * precision.rsqrt())
        return {
            "fn": self._wrap(normal, event_dim),
            "value": msg.value,
            "is_observed": msg.is_observed,
        }
