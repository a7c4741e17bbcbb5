"""What a model computes of its latent sites: the values of deterministic sites at draws."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ember.capture.rows.function import WORTH_A_PROGRAM, rows
from ember.infer.density.structure import is_determined
from ember.infer.enumeration.given_marginals import Given
from ember.infer.traces.validate_all import switches
from ember.ops.draws import number_of
from ember.report.posterior import Posterior

_MOST_NUMBERS = 1 << 25


def determined(posterior: Posterior, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values of deterministic sites at draws, and of sites that a reparameterisation computes.

    Those that depend on a discrete site that is summed out have no value of their own, and are left out; so
    are all where so many numbers would not fit.

    Args:
        posterior: a model at its data.
        draws: of its latent sites, along dim 0.

    Raises:
        ModelError: for continuous sites without draws.
    """
    first = posterior.first()
    shapes = {site.name: site.value.shape for site in first.samples() if is_determined(site)}
    number = number_of(draws)
    if not number or not shapes or number * sum(shape.numel() for shape in shapes.values()) > _MOST_NUMBERS:
        return {}
    latent = posterior.latent(draws, first)
    with torch.no_grad(), posterior.store.active():
        at_first = {name: value[0] for name, value in latent.items()}
        given = Given.of(posterior.whole, posterior.args, posterior.kwargs, at_first)

    def one(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with posterior.store.active():
            trace = given.traced(values)
        found = {name: torch.as_tensor(trace.nodes[name].value) for name in shapes}
        return {name: value for name, value in found.items() if value.shape == shapes[name]}

    run = rows(one, reads=posterior.reads, facts=switches, compile=number >= WORTH_A_PROGRAM)
    found: dict[str, Tensor] = run(latent, num_rows=number)
    return found
