"""Conjugate pairs: the latent variable of one is integrated out, and put back from its exact posterior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Size, Tensor

import ember.distributions as dist
from ember import poutine
from ember.distributions.shapes import sum_leftmost
from ember.poutine.handlers import make_handler
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site, site_is_subsample


@cache
def _linked(base: type, role: str, flag: str | None) -> type:
    """The family ``base`` with a pair that it is part of.

    Args:
        base: the family.
        role: which part of the pair its instances are; an expanded one takes the place of what it is made of.
        flag: an attribute that is true for them.
    """

    class Linked(base):  # type: ignore[misc]
        parent: Any
        site_name: str | None = None

        def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Any:
            new = super().expand(Size(batch_shape), _instance)
            return _link(new, self.parent, role, self.site_name)

    Linked.__name__ = Linked.__qualname__ = f"_{base.__name__}"
    if flag is not None:
        setattr(Linked, flag, True)
    return Linked


def _link(new: Any, parent: Any, role: str, site_name: str | None = None) -> Any:
    new.parent, new.site_name = parent, site_name
    setattr(parent, role, new)
    return new


class _Pair:
    """Two families of which the first is conjugate to the second.

    A subclass names them, and knows the posterior and the compound distribution.
    """

    _families: tuple[type, type]
    _latent: Any = None
    _conditional: Any = None

    def latent(self, *args: object, **kwargs: object) -> Any:
        """The prior of the latent variable, of these parameters."""
        return _link(_linked(self._families[0], "_latent", "collapsible")(*args, **kwargs), self, "_latent")

    def conditional(self, *args: object, **kwargs: object) -> Any:
        """The distribution of the data, given the latent variable."""
        made = _linked(self._families[1], "_conditional", "marginalize_latent")(*args, **kwargs)
        return _link(made, self, "_conditional")

    def posterior(self, obs: Tensor) -> Any:
        """The distribution of the latent variable, given data; dims of the data on its left are summed over."""
        raise NotImplementedError

    def compound(self) -> Any:
        """The distribution of the data with the latent variable integrated out."""
        raise NotImplementedError

    def _over_data(self, value: Tensor) -> Any:
        return sum_leftmost(value, max(0, value.dim() - len(self._latent.batch_shape)))


class BetaBinomialPair(_Pair):
    """A probability, and a count of successes.

    >>> pair = BetaBinomialPair()
    >>> prior = pair.latent(torch.tensor(2.0), torch.tensor(4.0))
    >>> data = pair.conditional(total_count=torch.tensor(10.0), probs=prior.sample())
    >>> pair.posterior(torch.tensor(3.0)).mean
    tensor(0.3125)
    """

    _families = (dist.Beta, dist.Binomial)

    def posterior(self, obs: Tensor) -> Any:
        """A beta distribution: successes are added to the one parameter, failures to the other."""
        failures = self._conditional.total_count - obs
        first = self._latent.concentration1 + self._over_data(obs)
        second = self._latent.concentration0 + self._over_data(failures)
        return dist.Beta(first, second)

    def compound(self) -> Any:
        """A beta-binomial distribution."""
        prior = self._latent
        family = _linked(dist.BetaBinomial, "_compound", None)
        made = family(
            concentration1=prior.concentration1,
            concentration0=prior.concentration0,
            total_count=self._conditional.total_count,
        )
        return _link(made, self, "_compound", prior.site_name)


class GammaPoissonPair(_Pair):
    """A rate, and counts of events."""

    _families = (dist.Gamma, dist.Poisson)

    def posterior(self, obs: Tensor) -> Any:
        """A gamma distribution: the counts are added to the concentration, their number to the rate."""
        number = self._over_data(torch.ones_like(obs))
        concentration = self._latent.concentration + self._over_data(obs)
        return dist.Gamma(concentration, self._latent.rate + number)

    def compound(self) -> Any:
        """A gamma-Poisson distribution."""
        prior = self._latent
        made = _linked(dist.GammaPoisson, "_compound", None)(prior.concentration, prior.rate)
        return _link(made, self, "_compound", prior.site_name)


class CollapseConjugateMessenger(Messenger):
    """Hides the latent site of a pair, and observes the other by the compound distribution."""

    def _pyro_sample(self, msg: Site) -> None:
        if getattr(msg.fn, "collapsible", False) and not msg.is_observed:
            msg.fn.site_name = msg.name
            msg.stop = True
        elif getattr(msg.fn, "marginalize_latent", False):
            shape = msg.fn.batch_shape
            compound = msg.fn.parent.compound()
            # The plates inside of this handler have expanded the conditional already.
            msg.fn = compound if compound.batch_shape == shape else compound.expand(shape)


class UncollapseConjugateMessenger(Messenger):
    """Replays sample sites, and draws the latent site of a pair from its posterior given the data.

    Args:
        trace: a run in which pairs are collapsed.
    """

    def __init__(self, trace: Any) -> None:
        super().__init__()
        self.trace = trace

    def _collapsed(self, name: str) -> Any:
        for site in self.trace.nodes.values():
            fn = site.get("fn")
            if site["type"] == "sample" and site["is_observed"] and getattr(fn, "site_name", None) == name:
                return site
        return None

    def _pyro_sample(self, msg: Site) -> None:
        if getattr(msg.fn, "collapsible", False):
            observed = self._collapsed(msg.name)
            if observed is not None:
                msg.fn = observed["fn"].parent.posterior(observed["value"])
                msg.value = msg.fn.sample()
                return
        if msg.name in self.trace.nodes and not msg.is_observed:
            msg.value = self.trace.nodes[msg.name]["value"]
            msg.done = True


_collapse = make_handler("collapse_conjugate", CollapseConjugateMessenger)
_uncollapse = make_handler("uncollapse_conjugate", UncollapseConjugateMessenger)


def collapse_conjugate(fn: Callable[..., Any] | None = None) -> Any:
    """The program with the latent variables of conjugate pairs integrated out; see the module's text.

    Args:
        fn: a program; without it, a context manager.
    """
    return _collapse(fn)


def uncollapse_conjugate(fn: Callable[..., Any] | None = None, trace: Any = None) -> Any:
    """The program replayed, with what was integrated out drawn from its posterior.

    Args:
        fn: a program; without it, a context manager.
        trace: a run of the program under :func:`collapse_conjugate`.
    """
    return _uncollapse(fn, trace=trace)


def posterior_replay(
    model: Callable[..., Any], posterior_samples: dict[str, Tensor], *args: object, **kwargs: object
) -> dict[str, Tensor]:
    """Samples of all latent variables, those of conjugate pairs too.

    Args:
        model: a program.
        posterior_samples: samples of the others, stacked on the left, by site.
        args: what the model takes.
        kwargs: likewise.

    Raises:
        AssertionError: without samples.
    """
    assert posterior_samples, "`num_samples` must be provided if `posterior_samples` is empty."
    runs = []
    for index in range(min(len(samples) for samples in posterior_samples.values())):
        data = {name: samples[index] for name, samples in posterior_samples.items()}
        conditioned = poutine.condition(model, data=data)
        collapsed = poutine.trace(collapse_conjugate(conditioned)).get_trace(*args, **kwargs)
        runs.append(poutine.trace(uncollapse_conjugate(model, trace=collapsed)).get_trace(*args, **kwargs))
    latent = [
        name
        for name, site in runs[0].nodes.items()
        if site["type"] == "sample" and not site["is_observed"] and not site_is_subsample(site)
    ]
    return {name: torch.stack([run.nodes[name]["value"] for run in runs]) for name in latent}
