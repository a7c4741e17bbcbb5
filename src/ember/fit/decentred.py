"""The same model in other coordinates: sites whose prior depends on other sites, drawn through standard noise.

Where data say little, the posterior of such a site follows its scale: a funnel, which no normal fits (Papaspiliopoulos,
Roberts and Sköld, 2007). In the noise the two are nearly independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ember import poutine
from ember.infer.density.structure import started
from ember.infer.reparam.reparam import Reparam
from ember.infer.reparam.strategies import AutoReparam
from ember.poutine.site import Site
from ember.structure.dependencies import get_dependencies

Program = Callable[..., Any]


class OnlySites(AutoReparam):
    """An :class:`AutoReparam` for some sites, and for those that it makes of them."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(centered=0.0)
        self.names = names

    def configure(self, msg: Site) -> Reparam | None:
        """A reparameteriser for the sites concerned."""
        mine = any(msg.name == name or msg.name.startswith(f"{name}_") for name in self.names)
        return super().configure(msg) if mine and not msg.is_observed else None


@dataclass(frozen=True)
class Decentred:
    """A model whose dependent sites are drawn through noise."""

    model: Program
    sites: tuple[str, ...]
    """The sites that are, of the model as it was written."""
    advice: str
    """How the user writes it."""


def decentred(model: Program, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Decentred | None:
    """The model in noise coordinates; None if no latent site has a location and scale that depend on others.

    >>> import ember
    >>> from ember import distributions as dist
    >>> def model():
    ...     tau = ember.sample("tau", dist.HalfNormal(1.0))
    ...     with ember.plate("schools", 8):
    ...         ember.sample("theta", dist.Normal(0.0, tau))
    >>> decentred(model, (), {}).sites
    ('theta',)
    """
    with torch.random.fork_rng(devices=[]), poutine.block():
        edges = get_dependencies(started(model), args, kwargs)
        latent = set(edges["posterior_dependencies"])
        below = [name for name, on in edges["prior_dependencies"].items() if name in latent and len(on) > 1]
        if not below:
            return None
        strategy = OnlySites(below)
        changed: Program = strategy(model)
        poutine.trace(started(changed)).get_trace(*args, **kwargs)
    sites = tuple(name for name in below if strategy.config.get(name) is not None)
    if not sites:
        return None
    config = ", ".join(f'"{name}": {_written(strategy.config[name])}' for name in sites)
    return Decentred(changed, sites, f"ember.poutine.reparam(model, config={{{config}}})")


def _written(reparam: Reparam | None) -> str:
    name = type(reparam).__name__
    return "LocScaleReparam(0.0)" if name == "LocScaleReparam" else f"{name}()"
