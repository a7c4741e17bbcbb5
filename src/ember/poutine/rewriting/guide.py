"""Guides as handlers: the model runs once, and the guide replaces the distribution of each latent site on the way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ember.distributions.delta import Delta
from ember.distributions.distribution import Distribution
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.site import Site
from ember.poutine.trace_messenger import TraceMessenger
from ember.poutine.trace_struct import Trace


class GuideMessenger(TraceMessenger, ABC):
    """Base of guides that draw each latent site in the run of the model itself, where what is upstream is known.

    Subclasses define :meth:`get_posterior`. Sites keep the order and the plates that they have in the model.

    Args:
        model: the model; it is kept out of sight of :class:`torch.nn.Module`.

    >>> import ember
    >>> from ember import distributions as dist
    >>> def model():
    ...     x = ember.sample("x", dist.Normal(0.0, 1.0))
    ...     ember.sample("y", dist.Normal(x, 1.0))
    >>> class Narrow(GuideMessenger):
    ...     def get_posterior(self, name, prior):
    ...         return dist.Normal(prior.loc, 0.1)
    >>> sorted(Narrow(model)())
    ['x', 'y']
    """

    args_kwargs: tuple[tuple[Any, ...], dict[str, Any]]
    """What the guide was called with; there during a call only."""

    def __init__(self, model: Callable[..., Any]) -> None:
        super().__init__()
        self._model = (model,)

    @property
    def model(self) -> Callable[..., Any]:
        """The model."""
        return self._model[0]

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("trace", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.trace = Trace(self.graph_type)

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """Run the model with sites drawn from the guide.

        Returns:
            The values of all sample sites by name, observed and deterministic ones among them.
        """
        self.args_kwargs = args, kwargs
        try:
            with self:
                self.model(*args, **kwargs)
        finally:
            del self.args_kwargs
        model_trace, _ = self.get_traces()
        return {site.name: site.value for site in model_trace.samples()}

    def _pyro_sample(self, msg: Site) -> None:
        # Auxiliary sites are the guide's own: get_posterior has drawn them just now.
        if msg.is_observed or msg.is_subsample or msg.is_auxiliary:
            return
        prior = msg.fn
        msg.prior = prior
        posterior: Any = self.get_posterior(msg.name, prior)
        if isinstance(posterior, Tensor):
            posterior = Delta(posterior, event_dim=prior.event_dim)
        if posterior.batch_shape != prior.batch_shape:
            posterior = posterior.expand(prior.batch_shape)
        msg.fn = posterior

    def _pyro_post_sample(self, msg: Site) -> None:
        prior = msg.prior
        # Plates around the guide have expanded what is drawn from; the prior must stand in them too.
        if prior is not None and prior.batch_shape != msg.fn.batch_shape:
            msg.prior = prior.expand(msg.fn.batch_shape)
        super()._pyro_post_sample(msg)

    @abstractmethod
    def get_posterior(self, name: str, prior: Any) -> Distribution | Tensor:
        """The distribution to draw a latent site from, or a value for it.

        It may use ``param`` and ``sample`` statements, the latter with ``infer={"is_auxiliary": True}``; :meth:`upstream_value`;
        ``self.trace``, the trace so far; and ``self.args_kwargs``, the arguments of the model.

        Args:
            name: the site's name.
            prior: its distribution in the model, given the values drawn so far.
        """
        raise NotImplementedError

    def upstream_value(self, name: str) -> Any:
        """The value of a sample or deterministic site that has been drawn before; for use in :meth:`get_posterior`."""
        return self.trace.nodes[name].value

    def get_traces(self) -> tuple[Trace, Trace]:
        """The traces ``(model_trace, guide_trace)`` of the last call, as two runs would have given them."""
        recorded = prune_subsample_sites(self.trace)
        model_trace, guide_trace = recorded.copy(), recorded
        for name, site in list(recorded.nodes.items()):
            if not site.is_latent:
                del guide_trace.nodes[name]
            elif site.prior is not None:
                model_site = Site(site)
                model_site.fn = site.prior
                model_trace.nodes[name] = model_site
        for name, site in list(model_trace.nodes.items()):
            if site.is_latent and site.is_auxiliary:
                del model_trace.nodes[name]
        return model_trace, guide_trace
