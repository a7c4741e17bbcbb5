"""Time series by their coefficients: of latent variables in the time plate, and of gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ember.infer.reparam import DiscreteCosineReparam, HaarReparam
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site

TIME = "time"
"""The name of the plate over time."""


def _along_time(msg: Site, reparam: Callable[..., Any]) -> Any:
    """A reparameteriser along the time of a site; None if it is observed, or not in the time plate."""
    if msg["is_observed"]:
        return None
    dims = [frame.dim for frame in msg["cond_indep_stack"] if frame.name == TIME]
    return reparam(dim=dims[0] - msg["fn"].event_dim, experimental_allow_batch=True) if dims else None


def time_reparam_dct(msg: Site) -> HaarReparam | None:
    """A configuration of ``poutine.reparam`` for all latent sites in the plate ``"time"``: Haar wavelets.

    The names of this and of :func:`time_reparam_haar` are exchanged, as they are in Pyro 1.9.2: so the names of
    sites and parameters, and the numbers, are the same from both.

    Returns:
        A reparameteriser, None for a site that stays as it is.
    """
    return _along_time(msg, HaarReparam)  # type: ignore[no-any-return]


def time_reparam_haar(msg: Site) -> DiscreteCosineReparam | None:
    """A configuration of ``poutine.reparam`` for all latent sites in the plate ``"time"``: the cosine transform.

    See :func:`time_reparam_dct` about the names.

    Returns:
        A reparameteriser, None for a site that stays as it is.

    >>> import ember, torch
    >>> from ember.distributions import Normal
    >>> with ember.poutine.reparam(config=time_reparam_haar), ember.poutine.trace() as tr:
    ...     with ember.plate("time", 8, dim=-1):
    ...         x = ember.sample("x", Normal(torch.zeros(8), 1.0))
    >>> [name for name in tr.trace.nodes if "x" in name], x.shape
    (['x_dct', 'x'], torch.Size([8]))
    """
    return _along_time(msg, DiscreteCosineReparam)  # type: ignore[no-any-return]


class MarkDCTParamMessenger(Messenger):
    """Marks parameters inside a plate as time series, which :func:`ember.optim.DCTAdam` then heeds.

    Args:
        name: the name of the plate over time.

    A parameter needs an ``event_dim``, without which it has no batch dims.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def _pyro_post_param(self, msg: Site) -> None:
        event_dim = msg["kwargs"].get("event_dim")
        dims = [frame.dim for frame in msg["cond_indep_stack"] if frame.name == self.name]
        if event_dim is None or not dims:
            return
        value = msg["value"]
        leaf = value.unconstrained()
        # A constraint may add or remove dims, of the event's.
        leaf._pyro_dct_dim = dims[0] - event_dim - (leaf.dim() - value.dim())
