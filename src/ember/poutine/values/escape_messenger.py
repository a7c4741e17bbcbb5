"""Leaving a program in the middle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ember.poutine.messenger import Messenger
from ember.poutine.runtime import NonlocalExit
from ember.poutine.site import Site


def _leave(msg: Site) -> None:
    raise NonlocalExit(msg)


class EscapeMessenger(Messenger):
    """Raises :class:`NonlocalExit` at the first site for which ``escape_fn`` is true.

    Args:
        escape_fn: a function from a site to a bool.

    Raises:
        NonlocalExit: in the program, at that site.

    >>> import ember
    >>> def model():
    ...     ember.sample("z", ember.distributions.Bernoulli(0.5))
    >>> try:
    ...     ember.poutine.escape(model, escape_fn=lambda site: site["name"] == "z")()
    ... except ember.poutine.runtime.NonlocalExit as left:
    ...     print(left.site["name"])
    z
    """

    def __init__(self, escape_fn: Callable[[Site], Any]) -> None:
        super().__init__()
        self.escape_fn = escape_fn

    def is_repeatable(self) -> bool:
        """No: it ends each run in the middle."""
        return False

    def _pyro_sample(self, msg: Site) -> None:
        if self.escape_fn(msg):
            msg.done = True
            msg.stop = True
            msg.continuation = _leave
