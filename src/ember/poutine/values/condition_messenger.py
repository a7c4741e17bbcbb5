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
        data: values by name, or a trace to take them from; None leaves a site as it is.
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
