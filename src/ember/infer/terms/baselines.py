"""Baselines: what is taken away from the cost of a score function to make its gradient less noisy.

They are options of a guide's site, ``infer={"baseline": {...}}`` (A. Mnih, K. Gregor (2014), "Neural Variational Inference and
Learning in Belief Networks").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ember.ops.provenance import detach_provenance
from ember.poutine.site import Site
from ember.primitives import param


@dataclass(frozen=True)
class Baseline:
    """The options of a site. The terms of all that are given are added up."""

    nn_baseline: Callable[..., Tensor] | None = None
    """Computes the baseline from ``nn_baseline_input`` (which is detached); fitted to the cost by least squares."""
    nn_baseline_input: Any = None
    use_decaying_avg_baseline: bool = False
    """The average of the costs of the steps so far, with weights that decay; kept as a parameter."""
    baseline_beta: float = 0.90
    """The weight of the old average."""
    baseline_value: Tensor | None = None
    """The baseline itself; fitted as ``nn_baseline`` is."""

    @property
    def is_used(self) -> bool:
        return (
            self.nn_baseline is not None or self.use_decaying_avg_baseline or self.baseline_value is not None
        )


_OPTIONS = tuple(field.name for field in fields(Baseline))


def baseline_of(site: Site) -> Baseline:
    """The options of a guide's site.

    Raises:
        ValueError: for options that there are not.
        AssertionError: if ``nn_baseline`` and ``baseline_value`` are both given.
    """
    options = site.baseline or {}
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise ValueError(
            f"Unrecognized baseline options: {unknown} (at site {site.name!r}); there are: {', '.join(_OPTIONS)}"
        )
    baseline = Baseline(**options)
    assert baseline.nn_baseline is None or baseline.baseline_value is None, (
        f"cannot use baseline_value and nn_baseline simultaneously (at site {site.name!r})"
    )
    return baseline


def apply_baseline(name: str, site: Site, cost: Tensor, healthy: Tensor) -> tuple[Tensor, Any]:
    """The cost less the site's baseline, and the loss that trains the baseline (0.0 if nothing is to be trained).

    Args:
        name: of the site.
        site: of the guide.
        cost: downstream cost, in the plates of the site.
        healthy: a bool; if false, an average stays as it is.

    Raises:
        ValueError: if the baseline does not have the shape of the cost.
    """
    options = baseline_of(site)
    if not options.is_used:
        return cost, 0.0
    terms: list[Tensor] = []
    if options.use_decaying_avg_baseline:
        terms.append(_decaying_average(name, cost.detach(), options.baseline_beta, healthy))
    trained = None
    if options.nn_baseline is not None:
        trained = options.nn_baseline(_detached(detach_provenance(options.nn_baseline_input)))
    elif options.baseline_value is not None:
        trained = options.baseline_value
    if trained is not None:
        terms.append(detach_provenance(trained))
    baseline = terms[0] if len(terms) == 1 else terms[0] + terms[1]
    if cost.shape != baseline.shape:
        raise ValueError(f"Expected baseline at site {name} to be {cost.shape} instead got {baseline.shape}")
    fit = 0.0 if trained is None else (cost.detach() - baseline).square().sum()
    return cost - baseline, fit


def _decaying_average(name: str, cost: Tensor, beta: float, healthy: Tensor) -> Tensor:
    """The average before this step; the parameter that holds it is updated in place, so that it stays one parameter."""
    average = param(f"__baseline_avg_downstream_cost_{name}", lambda: torch.zeros_like(cost))
    with torch.no_grad():
        old = average.detach().clone()
        if old.shape != cost.shape:
            raise ValueError(f"Expected baseline at site {name} to be {cost.shape} instead got {old.shape}")
        leaf = average.unconstrained()  # type: ignore[attr-defined]
        leaf.copy_(torch.where(healthy, (1 - beta) * cost + beta * old, old))
    return old


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, (list, tuple)):
        return type(value)(map(_detached, value))
    if isinstance(value, dict):
        return {key: _detached(item) for key, item in value.items()}
    return value
