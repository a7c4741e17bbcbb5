"""Turning parameters into random variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ember.distributions.distribution import Distribution
from ember.poutine.site import Site
from ember.poutine.values.name_check import NamedParamMessenger

Prior = Distribution | Callable[..., Any]


class LiftMessenger(NamedParamMessenger):
    """Samples parameters from a prior instead of reading them from the store.

    Args:
        prior: a distribution for all parameters; or a function of the initial value, which is called and not
            recorded; or a dict of these by name (for parameters of modules, the part after ``$$$``), which
            leaves other parameters alone.

    >>> import torch, ember
    >>> def model():
    ...     return ember.param("loc", torch.tensor(0.0))
    >>> lifted = ember.poutine.lift(model, prior={"loc": ember.distributions.Normal(0.0, 1.0)})
    >>> ember.poutine.trace(lifted).get_trace().nodes["loc"].type
    'sample'
    """

    def __init__(self, prior: Prior | Mapping[str, Prior]) -> None:
        super().__init__("prior", prior if isinstance(prior, Mapping) else ())
        self.prior = prior

    def _pyro_param(self, msg: Site) -> None:
        name = msg.name
        prior = self.prior
        if isinstance(prior, Mapping):
            key = self._names.look_up(name)
            if key is None:
                return
            prior = prior[key]
        elif not isinstance(prior, Distribution):
            msg.stop = True
        msg.fn = prior
        if isinstance(prior, Distribution):
            msg.args, msg.kwargs, msg.infer = (), {}, {}
        else:
            msg.args = msg.args[1:]
        msg.type = "sample"
        # A second statement of the same parameter gets the first one's value and is no site of its own.
        first = self._settled.setdefault(name, msg)
        msg.is_observed = first is not msg
        if first is not msg:
            msg.value = first.value
            msg.stop = True
