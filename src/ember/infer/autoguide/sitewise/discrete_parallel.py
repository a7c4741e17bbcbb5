"""Guides for discrete sites, enumerated in parallel."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ember import distributions as dist
from ember.infer.autoguide.base.guide import AutoGuide
from ember.infer.autoguide.base.naming import deep_getattr, deep_setattr
from ember.infer.autoguide.base.prototype import at_full_size, vectorized_frames
from ember.nn.module import PyroParam
from ember.poutine.site import Site
from ember.primitives import sample

_FAMILIES = (dist.Bernoulli, dist.Categorical, dist.OneHotCategorical)


class AutoDiscreteParallel(AutoGuide):
    """Fits an independent discrete distribution for each discrete site.

    It is for objectives that enumerate (``TraceEnum_ELBO``).

    The parameter of a site ``x`` is ``AutoDiscreteParallel.x_probs``; it starts at the prior's probabilities
    and is of full size where plates subsample.

    Args:
        model: the model, with other sites hidden.
        create_plates: see :class:`AutoGuide`.

    Raises:
        NotImplementedError: at the first call, for sites that are not Bernoulli, Categorical or
            OneHotCategorical.

    >>> import torch, ember
    >>> from ember.infer.autoguide import AutoDiscreteParallel
    >>> def model():
    ...     ember.sample("x", ember.distributions.Bernoulli(torch.tensor(0.25)))
    >>> guide = AutoDiscreteParallel(model).prepare()
    >>> guide.x_probs.detach()
    tensor(0.2500)
    """

    def _parameter_of(self, site: str) -> str | None:
        return f"{site}_probs"

    def _setup_prototype(self, *args: object, **kwargs: object) -> None:
        recorded, given = self._record(args, kwargs)
        starts = {}
        for name, site in recorded.iter_stochastic_nodes():
            family = _family(name, site)
            probs = site.fn.probs
            constraint: Any = family.arg_constraints["probs"]
            event_dim = constraint.event_dim
            starts[name] = PyroParam(at_full_size(probs, site, event_dim), constraint, event_dim)
        frames = vectorized_frames(recorded, type(self).__name__)
        self._adopt_prototype(recorded, frames, given)
        for name, declared in starts.items():
            deep_setattr(self, f"{name}_probs", declared)

    def forward(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Draw, or enumerate, all sites.

        Returns:
            The values by name.
        """
        self.ensure_prototype(args, kwargs)
        self._create_plates(*args, **kwargs)
        result = {}
        for name, site in self._latent_sites():
            with self._plates_of(site):
                fn = _family(name, site)(deep_getattr(self, f"{name}_probs"))
                result[name] = sample(name, fn, infer={"enumerate": "parallel"})
        return result


def _family(name: str, site: Site) -> Any:
    fn = site.fn
    enumerable = getattr(fn, "has_enumerate_support", False)
    if not enumerable or site.infer.get("enumerate", "parallel") != "parallel":
        raise NotImplementedError(
            f'Expected sample site "{name}" to be discrete and configured for parallel enumeration. '
            f"Hide other sites from this guide: poutine.block(model, hide=['{name}'])."
        )
    if type(fn) not in _FAMILIES:
        known = ", ".join(family.__name__ for family in _FAMILIES)
        raise NotImplementedError(
            f"{type(fn).__name__} is not supported (at site {name!r}); use one of {known}"
        )
    return type(fn)
