"""Handlers that go on, in time, with what is known of the first times: parameters, latent variables, observations."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import transform_to

from ember.caller import stacklevel
from ember.contrib.forecast.prefix_condition import prefix_condition
from ember.params.param_store import get_param_store
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace


def _time_dim(first: Tensor, whole: Tensor, what: str) -> int:
    """The dim along which the first of two tensors is a beginning of the other."""
    dims = [d for d, sizes in enumerate(zip(first.shape, whole.shape, strict=False)) if sizes[0] != sizes[1]]
    fits = first.dim() == whole.dim() and len(dims) == 1 and first.size(dims[0]) < whole.size(dims[0])
    assert fits, (
        f"{what}: values of shape {tuple(first.shape)} are no beginning, along one dim, of values of shape "
        f"{tuple(whole.shape)}"
    )
    return dims[0]


def spliced(first: Tensor, whole: Tensor, what: str) -> Tensor:
    """The values of the first times, then those of a longer tensor for the times after them.

    Args:
        first: the first times.
        whole: as many dims, of which one, that of the time, is longer.
        what: whose values they are, for the error.

    Raises:
        AssertionError: if more than one dim differs, or the second tensor is the shorter one.

    >>> spliced(torch.zeros(2), torch.ones(4), "x")
    tensor([0., 0., 1., 1.])
    """
    if first.shape == whole.shape:
        return first
    dim = _time_dim(first, whole, what)
    seen = first.size(dim)
    return torch.cat([first, whole.narrow(dim, seen, whole.size(dim) - seen)], dim)


class PrefixWarmStartMessenger(Messenger):
    """Starts parameters over a longer time from those that the parameter store has for its beginning.

    Later times get the initial values of the ``param`` statement. Constraints have to be the same at all times.

    Raises:
        AssertionError: at a parameter whose shapes differ otherwise than in the length of one dim.

    >>> import ember
    >>> store = ember.params.ParamStoreDict()
    >>> store["x"] = torch.ones(2)
    >>> with store.active(), PrefixWarmStartMessenger():
    ...     x = ember.param("x", torch.zeros(4))
    >>> x
    tensor([1., 1., 0., 0.], requires_grad=True)
    """

    def _pyro_param(self, msg: Site) -> None:
        store, name = get_param_store(), msg["name"]
        if name not in store:
            return
        init: Any = msg["args"][1] if len(msg["args"]) >= 2 else msg["kwargs"].get("init_tensor")
        if init is None:
            return
        old = store[name].detach()
        new = torch.as_tensor(init() if callable(init) else init)
        if new.shape == old.shape:
            return
        # Side by side as an optimizer sees them: in between, nothing is outside of the constraint.
        to_constrained = transform_to(store.constraint(name))
        leaf = spliced(to_constrained.inv(old), to_constrained.inv(new.detach()), f"param {name!r}")
        store[name] = to_constrained(leaf)


class PrefixReplayMessenger(Messenger):
    """Gives latent sites of a model the values that a guide has drawn, and lets the model draw those of later times.

    Args:
        trace: of the guide, over the first times.
        observed: of how many times there are data, if the guide may have been fitted to fewer.

    Raises:
        AssertionError: at a site whose shapes differ otherwise than in the length of one dim.

    Warns:
        UserWarning: at a site that the guide does not know at all of those times.
    """

    def __init__(self, trace: Trace, observed: int = 0) -> None:
        super().__init__()
        self.trace = trace
        self.observed = observed

    def _pyro_post_sample(self, msg: Site) -> None:
        name = msg["name"]
        if name not in self.trace or msg["is_observed"] or msg.is_subsample:
            return
        known, drawn, what = self.trace.nodes[name]["value"], msg["value"], f"site {name!r}"
        if known.shape != drawn.shape and known.size(_time_dim(known, drawn, what)) < self.observed:
            warnings.warn(
                f"{what} was fitted to {known.size(_time_dim(known, drawn, what))} times, and there are data of "
                f"{self.observed}: what those of later times say of it does not count. Fit a forecaster to all of them",
                UserWarning,
                stacklevel=stacklevel(),
            )
        msg["value"] = spliced(known, drawn, what)


class PrefixConditionMessenger(Messenger):
    """Conditions distributions over times on observations of the first of them; what is drawn then are the later ones.

    Args:
        data: observations by the names of sites; read at each site, so they may be put there later.

    Raises:
        AssertionError: at a site that has a value already.

    >>> import ember, torch
    >>> from ember.distributions import Normal
    >>> with PrefixConditionMessenger({"x": torch.zeros(2, 1)}):
    ...     ember.sample("x", Normal(torch.zeros(5, 1), 1.0).to_event(2)).shape
    torch.Size([3, 1])
    """

    def __init__(self, data: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.data = data

    def _pyro_sample(self, msg: Site) -> None:
        if msg["name"] in self.data:
            assert msg["value"] is None, (
                f"site {msg['name']!r} has a value, and cannot be conditioned on its beginning"
            )
            msg["fn"] = prefix_condition(msg["fn"], self.data[msg["name"]])
