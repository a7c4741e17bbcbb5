"""Sampling what a program observes."""

from __future__ import annotations

from ember.poutine.messenger import Messenger
from ember.poutine.site import Site


class UnconditionMessenger(Messenger):
    """Samples observed sites anew; their ``infer`` keeps the observation (``was_observed``, ``obs``).

    >>> import torch, ember
    >>> def model():
    ...     return ember.sample("x", ember.distributions.Normal(0.0, 1.0), obs=torch.tensor(100.0))
    >>> bool(ember.poutine.uncondition(model)() < 50)
    True
    """

    def _pyro_sample(self, msg: Site) -> None:
        if msg.is_observed:
            msg.is_observed = False
            msg.was_observed = True
            msg.observation = msg.value
            msg.value = None
            msg.done = False
