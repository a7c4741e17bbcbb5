"""By how much a guide changes with each of its parameters: units in which errors of parameters can be compared.

The Kullback-Leibler divergence of a guide from itself with one parameter changed by ``d`` is ``F d^2 / 2``, with the Fisher
information ``F = E (d log q / d parameter)^2`` (S. Amari, 1998). So ``sqrt(F)`` turns a change into guide units: for the location
of a normal these are its standard deviations, for the log of its scale ``sqrt(2)`` is a change by one. That holds for guides of
any kind, written by hand or made of networks. Parameters that the guide does not depend on, those of the model, have ``F = 0``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ember.infer.traces.broadcasting import follows
from ember.poutine.handlers import block, replay, trace
from ember.poutine.prune import prune_subsample_sites
from ember.rng import fork_torch_rng

Program = Callable[..., Any]
_SEED = 20_261_130


def guide_units(
    guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any], leaves: Sequence[Tensor], draws: int = 16
) -> Tensor:
    """The square roots of the Fisher information of a guide, by draws of its own; torch's random states stay as they are.

    Rows of a subsample stand for all rows.

    Args:
        guide: any guide.
        args: its arguments.
        kwargs: its keyword arguments.
        leaves: unconstrained parameters.
        draws: how many; the result is good to some 20 %.

    Returns:
        One for each entry of the leaves, flat, ``(P,)``; 0 for parameters without influence on the density of its draws.
    """
    total = [torch.zeros(leaf.shape, dtype=torch.float64, device=leaf.device) for leaf in leaves]
    with fork_torch_rng(), block():
        torch.manual_seed(_SEED)
        for _ in range(draws):
            with torch.no_grad():
                drawn = trace(guide).get_trace(*args, **kwargs)
            with torch.enable_grad():
                log_q = _log_density(replay(guide, trace=drawn), args, kwargs)
                if not log_q.requires_grad:
                    break
                grads = torch.autograd.grad(log_q, list(leaves), allow_unused=True)
            for sum_of_squares, grad in zip(total, grads, strict=True):
                if grad is not None:
                    sum_of_squares += (grad.to_dense() if grad.is_sparse else grad).double().square()
    flat = [(each / draws).sqrt().reshape(-1) for each in total]
    return torch.cat(flat) if flat else torch.zeros(0, dtype=torch.float64)


def _log_density(guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The log density of what is replayed; a row of a subsample counts so that squares of gradients add up to those of all."""
    total = torch.zeros(())
    for site in prune_subsample_sites(trace(guide).get_trace(*args, **kwargs)).samples():
        if site.is_observed or follows(site):
            continue
        log_q = site.fn.log_prob(site.value.detach())
        scale = torch.as_tensor(site.scale)
        if isinstance(site.mask, bool):
            log_q = log_q if site.mask else 0.0 * log_q
        elif site.mask is not None:
            log_q = torch.where(site.mask, log_q, 0.0)
        total = total + (scale.sqrt() * log_q).sum()
    return total


__all__ = ["guide_units"]
