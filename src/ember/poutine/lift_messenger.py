"""Turning parameters into random variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from ember.distributions.distribution import Distribution
from ember.poutine.messenger import Messenger
from ember.poutine.name_check import NameCheck
from ember.poutine.site import Site

Prior = Distribution | Callable[..., Any]


class LiftMessenger(Messenger):
    """Samples parameters from a prior instead of reading them from the store.

    Args:
        prior: a distribution for all parameters; or a function of the initial value, which is called and not recorded; or
            a dict of these by name (for parameters of modules, the part after ``$$$``), which leaves other parameters alone.
    """

    def __init__(self, prior: Prior | Mapping[str, Prior]) -> None:
        super().__init__()
        self.prior = prior
        self._sampled: dict[str, Site] = {}
        self._names = NameCheck("prior", prior if isinstance(prior, Mapping) else ())

    def __enter__(self) -> Self:
        self._sampled = {}
        self._names.start()
        return super().__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._sampled = {}
        super().__exit__(exc_type, exc_value, traceback)
        # Last: where warnings are errors, it must not leave the handler behind on the stack.
        self._names.finish(exc_type)

    def _pyro_param(self, msg: Site) -> None:
        name = msg["name"]
        prior = self.prior
        if isinstance(prior, Mapping):
            key = self._names.look_up(name)
            if key is None:
                return
            prior = prior[key]
        elif not isinstance(prior, Distribution):
            msg["stop"] = True
        msg["fn"] = prior
        if isinstance(prior, Distribution):
            msg["args"], msg["kwargs"], msg["infer"] = (), {}, {}
        else:
            msg["args"] = msg["args"][1:]
        msg["type"] = "sample"
        # A second statement of the same parameter gets the first one's value and is no site of its own.
        first = self._sampled.setdefault(name, msg)
        msg["is_observed"] = first is not msg
        if first is not msg:
            msg["value"] = first["value"]
            msg["stop"] = True
