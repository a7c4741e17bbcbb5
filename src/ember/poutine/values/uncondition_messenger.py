"""Sampling what a program observes."""

from __future__ import annotations

from ember.poutine.messenger import Messenger
from ember.poutine.site import Site


class UnconditionMessenger(Messenger):
    """Samples observed sites anew; their ``infer`` keeps the observation (``was_observed``, ``obs``)."""

    def _pyro_sample(self, msg: Site) -> None:
        if msg.is_observed:
            msg.is_observed = False
            msg.was_observed = True
            msg.observation = msg.value
            msg.value = None
            msg.done = False
