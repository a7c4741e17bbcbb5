"""Posteriors as bags of weighed traces, and the marginal distributions of their sites."""

from __future__ import annotations

import numbers
import warnings
from abc import ABC, abstractmethod
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import Tensor

from ember import poutine
from ember.distributions import Categorical, Empirical
from ember.ops.stats import waic
from ember.poutine.trace_struct import RETURN, Trace

Weighed = tuple[Trace, Any] | tuple[Trace, Any, int]


class EmpiricalMarginal(Empirical):
    """Holds the marginal distribution of a site, or of several of one shape, in a :class:`TracePosterior`.

    Args:
        trace_posterior: a posterior that has been run.
        sites: a name, or a list of names whose values are stacked; what the model returns if None.
        validate_args: whether the distribution checks its arguments.

    Raises:
        AssertionError: if the first argument is no :class:`TracePosterior`.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def model():
    ...     z = ember.sample("z", dist.Normal(0.0, 1.0))
    ...     ember.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(1.0))
    >>> posterior = ember.infer.Importance(model, num_samples=2000).run()
    >>> round(ember.infer.EmpiricalMarginal(posterior, sites="z").mean.item(), 1)
    0.5
    """

    def __init__(
        self,
        trace_posterior: TracePosterior,
        sites: str | list[str] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        assert isinstance(trace_posterior, TracePosterior), (
            "trace_dist must be trace posterior distribution object"
        )
        self._num_chains = 1
        self._samples_buffer: dict[int, list[Tensor]] = defaultdict(list)
        self._weights_buffer: dict[int, list[Any]] = defaultdict(list)
        self._populate_traces(trace_posterior, RETURN if sites is None else sites)
        samples, weights = self._get_samples_and_weights()
        super().__init__(samples, weights, validate_args=validate_args)

    def _get_samples_and_weights(self) -> tuple[Tensor, Tensor]:
        by_chain = []
        for chain in range(len(self._samples_buffer)):
            samples = torch.stack(self._samples_buffer[chain])
            dtype = samples.dtype if samples.dtype.is_floating_point else torch.float32
            weights = torch.as_tensor(self._weights_buffer[chain], device=samples.device, dtype=dtype)
            by_chain.append((samples, weights))
        if len(by_chain) == 1:
            return by_chain[0]
        return torch.stack([samples for samples, _ in by_chain]), torch.stack([w for _, w in by_chain])

    def _add_sample(self, value: Tensor, log_weight: Any = None, chain_id: int = 0) -> None:
        """Add a draw, with weight 1 by default."""
        log_weight = 0.0 if log_weight is None else log_weight
        if self._validate_args and not isinstance(log_weight, numbers.Number) and log_weight.dim() > 0:
            raise ValueError("``weight.dim() > 0``, but weight should be a scalar.")
        self._samples_buffer[chain_id].append(value)
        self._weights_buffer[chain_id].append(log_weight)
        self._num_chains = max(self._num_chains, chain_id + 1)

    def _populate_traces(self, trace_posterior: TracePosterior, sites: str | list[str]) -> None:
        assert isinstance(sites, (list, str)), f"expected a name or a list of names, got {sites!r}"
        bag = zip(
            trace_posterior.exec_traces, trace_posterior.log_weights, trace_posterior.chain_ids, strict=True
        )
        for recorded, log_weight, chain_id in bag:
            if isinstance(sites, str):
                value = recorded.nodes[sites].value
            else:
                value = torch.stack([recorded.nodes[site].value for site in sites], 0)
            self._add_sample(value, log_weight=log_weight, chain_id=chain_id)


class Marginals:
    """The marginal distributions of several sites in a :class:`TracePosterior`.

    Args:
        trace_posterior: a posterior that has been run.
        sites: a name or a list of names; what the model returns if None.
    """

    def __init__(
        self,
        trace_posterior: TracePosterior,
        sites: str | list[str] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        assert isinstance(trace_posterior, TracePosterior), (
            "trace_dist must be trace posterior distribution object"
        )
        assert sites is None or isinstance(sites, (str, list)), f"expected a list of names, got {sites!r}"
        self.sites = [RETURN] if sites is None else [sites] if isinstance(sites, str) else sites
        self._marginals: dict[str, EmpiricalMarginal] = OrderedDict()
        self._diagnostics: dict[str, Any] = OrderedDict()
        self._trace_posterior = trace_posterior
        self._populate_traces(trace_posterior, validate_args)

    def _populate_traces(self, trace_posterior: TracePosterior, validate: bool | None) -> None:
        self._marginals = {site: EmpiricalMarginal(trace_posterior, site, validate) for site in self.sites}

    def support(self, flatten: bool = False) -> dict[str, Tensor]:
        """All draws by site.

        Args:
            flatten: put the draws of several chains into one dim.
        """
        draws = OrderedDict((site, value.enumerate_support()) for site, value in self._marginals.items())
        if flatten and self._trace_posterior.num_chains > 1:
            return OrderedDict((site, value.flatten(0, 1)) for site, value in draws.items())
        return draws

    @property
    def empirical(self) -> dict[str, EmpiricalMarginal]:
        """The marginals by site."""
        return self._marginals


class TracePosterior(ABC):
    """Holds a posterior as weighed traces, which :meth:`run` collects; the base of :class:`Importance`.

    Args:
        num_chains: how many chains of traces there are.

    Called, it returns one of the traces at random, without what was observed.
    """

    def __init__(self, num_chains: int = 1) -> None:
        self.num_chains = num_chains
        self._reset()

    def _reset(self) -> None:
        self.log_weights: Any = []
        self.exec_traces: list[Trace] = []
        self.chain_ids: list[int] = []
        self._idx_by_chain: list[list[int]] = [[] for _ in range(self.num_chains)]
        self._choice: Any = None

    def marginal(self, sites: str | list[str] | None = None) -> Marginals:
        """Return the marginal distributions of sites; of what the model returns if None."""
        return Marginals(self, sites)

    @abstractmethod
    def _traces(self, *args: object, **kwargs: object) -> Iterator[Weighed]:
        """Yields ``(trace, log_weight)`` or ``(trace, log_weight, chain_id)``."""

    def __call__(self, *args: object, **kwargs: object) -> Trace:
        index = int(self._choice.sample().item())
        chosen = self._idx_by_chain[index % self.num_chains][index // self.num_chains]
        recorded = self.exec_traces[chosen].copy()
        for name in recorded.observation_nodes:
            recorded.remove_node(name)
        return recorded

    def run(self, *args: object, **kwargs: object) -> Self:
        """Collect traces anew.

        Args:
            args: passed on to the model.
            kwargs: passed on to the model.
        """
        self._reset()
        with poutine.block():
            for i, (recorded, logit, *chain) in enumerate(self._traces(*args, **kwargs)):
                chain_id = chain[0] if chain else 0
                assert chain_id < self.num_chains, f"chain {chain_id} of {self.num_chains}"
                self.exec_traces.append(recorded)
                self.log_weights.append(torch.as_tensor(logit).detach())
                self.chain_ids.append(chain_id)
                self._idx_by_chain[chain_id].append(i)
        self._choice = Categorical(logits=torch.stack(self.log_weights))
        return self

    def information_criterion(self, pointwise: bool = False) -> dict[str, Tensor]:
        """Compute WAIC and the effective number of parameters (Vehtari, Gelman and Gabry, 2017).

        Args:
            pointwise: leave out the sum over observations.

        Returns:
            The two under ``"waic"`` and ``"p_waic"``; nothing without traces.

        Raises:
            ValueError: if the model does not observe one site.
        """
        if not self.exec_traces:
            return {}
        observed: str | None = None
        log_likelihoods = []
        for recorded in self.exec_traces:
            names = recorded.observation_nodes
            if len(names) != 1:
                raise ValueError(
                    "Infomation criterion calculation only works for models "
                    f"with one observation node. There are: {names}"
                )
            observed = names[0] if observed is None else observed
            if observed != names[0]:
                raise ValueError(f"Observation node has been changed, expected {observed} but got {names[0]}")
            site = recorded.nodes[observed]
            log_likelihoods.append(site.fn.log_prob(site.value))
        likelihood = torch.stack(log_likelihoods)
        weights = torch.stack([torch.as_tensor(w) for w in self.log_weights]).to(likelihood.device)
        value, num_params = waic(likelihood, weights, pointwise)
        return OrderedDict([("waic", value), ("p_waic", num_params)])


class TracePredictive(TracePosterior):
    """Runs the model with latents of a posterior. Deprecated: use :class:`~ember.infer.Predictive`.

    Args:
        model: the program to run.
        posterior: where latents come from.
        num_samples: how many traces are made.
        keep_sites: the sites that are taken from the posterior; all if None.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        posterior: TracePosterior,
        num_samples: int,
        keep_sites: list[str] | None = None,
    ) -> None:
        self.model = model
        self.posterior = posterior
        self.num_samples = num_samples
        self.keep_sites = keep_sites
        super().__init__()
        warnings.warn(
            "The `TracePredictive` class is deprecated and will be removed "
            "in a future release. Use the `infer.Predictive` class instead.",
            FutureWarning,
            stacklevel=2,
        )

    def _traces(self, *args: object, **kwargs: object) -> Iterator[Weighed]:
        if not self.posterior.exec_traces:
            self.posterior.run(*args, **kwargs)
        data_trace = poutine.trace(self.model).get_trace(*args, **kwargs)
        for _ in range(self.num_samples):
            model_trace = self.posterior().copy()
            self._remove_dropped_nodes(model_trace)
            self._adjust_to_data(model_trace, data_trace)
            resampled = poutine.trace(poutine.replay(self.model, trace=model_trace))
            yield resampled.get_trace(*args, **kwargs), 0.0, 0

    def _remove_dropped_nodes(self, trace: Trace) -> None:
        if self.keep_sites is not None:
            for name in [name for name in trace.nodes if name not in self.keep_sites]:
                trace.remove_node(name)

    def _adjust_to_data(self, trace: Trace, data_trace: Trace) -> None:
        """Fit latents to plates of other sizes: rows of a plate are exchangeable, so take some at random."""
        rows: dict[str, Tensor] = {}
        for name, site in trace.iter_stochastic_nodes():
            new = data_trace.nodes[name]
            if site.is_subsample:
                site.fn, site.value = new.fn, new.value
            before, after = site.cond_indep_stack, new.cond_indep_stack
            site.cond_indep_stack, site.fn = after, new.fn
            for old, frame in zip(before, after, strict=True):
                assert old.name == frame.name, f"plates of site {name!r}: {old.name} and {frame.name}"
                assert not site.is_subsample
                assert frame.dim is not None
                if frame.name not in rows:
                    rows[frame.name] = torch.randint(0, old.size, (frame.size,), device=site.value.device)
                dim = frame.dim - site.fn.event_dim
                site.value = site.value.index_select(dim, rows[frame.name])

    def marginal(self, sites: str | list[str] | None = None) -> Marginals:
        """Return the marginal distributions of sites; of what the model returns if None."""
        return Marginals(self, sites)
