"""Observing latent sites from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ember.poutine.messenger import Messenger
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace


class ConditionMessenger(Messenger):
    """Turns the named sample sites into observed ones.

    Args:
        data: values by name, each of the shape that the site draws, or a trace to take them from. None leaves
            a site as it is.

    >>> import torch, ember
    >>> def model():
    ...     z = ember.sample("z", ember.distributions.Normal(0.0, 1.0))
    ...     return ember.sample("x", ember.distributions.Normal(z, 1.0))
    >>> observed = ember.poutine.condition(model, data={"x": torch.tensor(2.0)})
    >>> observed(), ember.poutine.trace(observed).get_trace().nodes["x"].is_observed
    (tensor(2.), True)
    """

    def __init__(self, data: Mapping[str, Any] | Trace) -> None:
        super().__init__()
        self.data = data

    def is_repeatable(self) -> bool:
        """Whether its data are no trace, whose changes nobody can see."""
        return not isinstance(self.data, Trace)

    def _pyro_sample(self, msg: Site) -> None:
        name = msg.name
        if name in self.data:
            msg.value = self.data.nodes[name].value if isinstance(self.data, Trace) else self.data[name]
            msg.is_observed = msg.value is not None
