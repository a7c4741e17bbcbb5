"""The ELBO with discrete sites summed over exactly, in the guide or in the model."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Any

from opt_einsum import shared_intermediates

from ember.infer.enumeration.checks import check_tmc_elbo_constraint, warn_if_nothing_enumerated
from ember.infer.enumeration.dice import Dice
from ember.infer.enumeration.model_factors import ModelFactors, model_factors
from ember.infer.enumeration.posterior_marginals import posterior_marginals
from ember.infer.enumeration.posterior_sample import replay_posterior_sample
from ember.infer.enumeration.runner import Enumerated, Memory, NoMemory, PackedPairing
from ember.infer.objectives.composition import Composition
from ember.infer.objectives.elbo import ELBO, Program
from ember.infer.terms.estimate import Estimate, Terms
from ember.infer.terms.pairing import Check
from ember.infer.traces.settings import Settings
from ember.ops import packed
from ember.ops.contract import contract_tensor_tree
from ember.ops.rings import LogRing
from ember.poutine.handlers import block, replay
from ember.poutine.trace_struct import Trace


@dataclass(frozen=True)
class EnumTerms(Terms):
    """The ELBO with sums over what is enumerated and DiCE factors of what is sampled: derivatives of all orders are unbiased."""

    def estimate(self, model_trace: Trace, guide_trace: Trace, settings: Settings) -> Estimate:
        parts = model_factors(model_trace, guide_trace)
        costs = parts.costs
        for ordinal, terms in _marginalize(parts).items():
            costs.setdefault(ordinal, []).extend(
                packed.scale_and_mask(term, scale=parts.scale) for term in terms
            )
        for name, site in guide_trace.nodes.items():
            if site.type == "sample":
                cost = packed.neg(site.packed.log_prob)
                costs.setdefault(parts.ordering[name], []).append(cost)
        elbo = Dice(guide_trace, parts.ordering).compute_expectation(costs)
        return Estimate(elbo, elbo)


class TraceEnum_ELBO(ELBO):
    """Estimates the ELBO with sums over discrete sites instead of samples.

    Sites of the guide marked ``infer={"enumerate": "parallel"}`` or ``"sequential"`` are summed over with the
    guide's probabilities. Sites of the model marked ``"parallel"`` that the guide does not have are summed
    out of the model, by variable elimination over plates (Obermeyer, Bingham, Jankowiak, Chiu, Pradhan, Rush,
    Goodman, 2019, "Tensor variable elimination for plated factor graphs"). Sites of the guide that are
    sampled without reparameterisation have DiCE gradients. :func:`~ember.infer.config_enumerate` marks all
    sites at once, :func:`~ember.markov` keeps long chains tractable.

    Nothing outside of a plate may depend on what is enumerated inside of it. Arguments are those of
    :class:`ELBO`.

    Raises:
        ValueError: if sites enumerated together differ in their scale, dims conflict, or batch dims belong to
            no plate.
        NotImplementedError: if plates do not nest as a tree, or a site of the model is marked
            ``"sequential"``.

    >>> import ember, torch
    >>> import ember.distributions as dist
    >>> from ember.infer import TraceEnum_ELBO
    >>> def model(x):
    ...     k = ember.sample("k", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
    ...     ember.sample("x", dist.Bernoulli(0.2 + 0.5 * k), obs=x)
    >>> loss = TraceEnum_ELBO().loss(model, lambda x: None, torch.tensor(1.0))
    >>> round(loss, 4)  # -log(0.5 * 0.2 + 0.5 * 0.7)
    0.7985
    """

    memory: Memory = NoMemory()

    def composition(self) -> Composition:
        checks: tuple[Check, ...] = (check_tmc_elbo_constraint,)
        if self.strict_enumeration_warning:
            checks += (partial(warn_if_nothing_enumerated, "TraceEnum_ELBO f"),)
        return Composition(
            Enumerated(type(self).__name__),
            EnumTerms(),
            PackedPairing(checks, memory=self.memory),
            needs_gradient=True,
        )

    def compute_marginals(
        self, model: Program, guide: Program, *args: object, **kwargs: object
    ) -> OrderedDict[str, Any]:
        """Compute posterior marginals of the sites enumerated in the model, given a sample of the guide.

        Args:
            model: the model, with its data observed.
            guide: the guide.
            args: positional arguments of both.
            kwargs: keyword arguments of both.

        Returns:
            Distributions by name, of the sites' families and with the batch shapes of their plates. For
                families without a logit for each value, such as Binomial, it is a Categorical over the values
                in the order of the support.

        Raises:
            NotImplementedError: for several particles, or if the guide enumerates.
        """
        model_trace, guide_trace = self._one_particle("compute_marginals", model, guide, args, kwargs)
        sites = {
            name: site
            for name, site in model_trace.nodes.items()
            if site.type == "sample" and name not in guide_trace and site.enumerate_dim is not None
        }
        return posterior_marginals(model_trace, sites, model_factors(model_trace, guide_trace))

    def sample_posterior(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Any:
        """Run the model with a joint posterior sample of all sites enumerated in it.

        The other latent sites have a sample of the guide.

        Args:
            model: the model, with its data observed.
            guide: the guide.
            args: positional arguments of both.
            kwargs: keyword arguments of both.

        Returns:
            What the model returns.

        Raises:
            NotImplementedError: for several particles, or if the guide enumerates.
        """
        with block(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found vars in model but not guide")
            model_trace, guide_trace = self._one_particle("sample_posterior", model, guide, args, kwargs)
        replayed = replay(model, trace=guide_trace)
        return replay_posterior_sample(replayed, model_trace, 1, False, args, kwargs)

    def _one_particle(
        self, method: str, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Trace, Trace]:
        if self.num_particles != 1:
            raise NotImplementedError(
                f"TraceEnum_ELBO.{method}() is not compatible with multiple particles. "
                f"This objective has num_particles={self.num_particles}; use one with num_particles=1."
            )
        model_trace, guide_trace = next(self._get_traces(model, guide, args, kwargs))
        for name, site in guide_trace.nodes.items():
            if site.type == "sample" and not {"_enumerate_dim", "_enum_total"}.isdisjoint(site.infer):
                raise NotImplementedError(
                    f"TraceEnum_ELBO.{method}() is not compatible with guide enumeration. "
                    f"The guide enumerates site {name!r}; enumerate it in the model, or sample it in the guide."
                )
        return model_trace, guide_trace


def _marginalize(parts: ModelFactors) -> Any:
    """The factors with the model's enumerated sites summed out, by ordinal."""
    if not parts.factors:
        return {}
    with shared_intermediates() as cache:
        return contract_tensor_tree(parts.factors, parts.sum_dims, ring=LogRing(cache=cache))
