"""Setting inference options from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ember.poutine.messenger import Messenger
from ember.poutine.site import Site


class InferConfigMessenger(Messenger):
    """Updates ``site["infer"]`` of sample and param sites with what ``config_fn(site)`` returns.

    Args:
        config_fn: a function from a site to a dict of options for inference algorithms.

    >>> import ember
    >>> def model():
    ...     ember.sample("k", ember.distributions.Bernoulli(0.5))
    >>> marked = ember.poutine.infer_config(model, config_fn=lambda site: {"enumerate": "parallel"})
    >>> ember.poutine.trace(marked).get_trace().nodes["k"]["infer"]["enumerate"]
    'parallel'
    """

    def __init__(self, config_fn: Callable[[Site], dict[str, Any]]) -> None:
        super().__init__()
        self.config_fn = config_fn

    def _pyro_sample(self, msg: Site) -> None:
        msg.infer.update(self.config_fn(msg))

    def _pyro_param(self, msg: Site) -> None:
        msg.infer.update(self.config_fn(msg))
