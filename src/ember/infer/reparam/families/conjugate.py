"""Priors updated by an approximate likelihood."""

from __future__ import annotations

from typing import Any

from ember import distributions as dist
from ember import primitives
from ember.errors import ReparamError
from ember.infer.reparam.reparam import Reparam, ReparamMessage, ReparamResult, deterministic_result
from ember.poutine.runtime import get_mask


class ConjugateReparam(Reparam):
    """Draws from the prior times a likelihood of the prior's own family, and weights by what that gets wrong.

    With the exact likelihood nothing is left to be guided. The draw is not recorded; the site holds its value
    and weight.

    Args:
        guide: that likelihood as a distribution over the site's value; or a function of the model's arguments
            that returns it (then ``poutine.reparam`` must be used as a decorator).

    Raises:
        AssertionError: if there is no such distribution.
        NotImplementedError: for families without ``conjugate_update``, and those that are not
            reparameterised.

    >>> import ember, torch
    >>> from ember import distributions as dist
    >>> from ember.infer.reparam import ConjugateReparam
    >>> with ember.poutine.reparam(config={"p": ConjugateReparam(dist.Beta(3.0, 9.0))}):
    ...     p = ember.sample("p", dist.Beta(0.5, 1.5))
    """

    def __init__(self, guide: Any) -> None:
        self.guide = guide

    def _likelihood(self, name: str) -> Any:
        guide = self.guide
        if not isinstance(guide, dist.Distribution):
            if self.args_kwargs is None:
                raise ReparamError(
                    f"at site {name!r}, ConjugateReparam needs the model's arguments; use poutine.reparam(model, config) "
                    "rather than as a context manager"
                )
            args, kwargs = self.args_kwargs
            guide = guide(*args, **kwargs)
        if not isinstance(guide, dist.Distribution):
            raise ReparamError(f"at site {name!r}, ConjugateReparam expected a distribution, got {guide!r}")
        return guide

    def apply(self, msg: ReparamMessage) -> ReparamResult:
        """Sample ``<name>_updated``, unrecorded."""
        name = msg.name
        likelihood = self._likelihood(name)
        updated, log_normalizer = msg.fn.conjugate_update(likelihood)
        if not updated.has_rsample:
            raise NotImplementedError(
                "ConjugateReparam inference supports only reparameterized "
                f"distributions, but got {type(updated)} at site {name!r}"
            )
        infer = {"is_observed": msg.is_observed, "is_auxiliary": True, "_do_not_trace": True}
        value = primitives.sample(f"{name}_updated", updated, obs=msg.value, infer=infer)
        # prior(z) / updated(z) = normalizer / likelihood(z), which makes up for the draw from another distribution.
        log_weight: Any = 0.0
        if get_mask() is not False:
            log_weight = log_normalizer - likelihood.log_prob(value)
        return deterministic_result(value, updated.event_dim, log_weight)
