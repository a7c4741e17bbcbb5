"""Whether the models of ``benchmarks.larger_models`` are the same in Ember and in NumPyro: log p(x, z) at the same latents.

python -m benchmarks.same_models [MODEL ...]
"""

from __future__ import annotations

import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from numpyro.infer.util import log_density

import ember
import ember.infer.autoguide
from benchmarks import data, in_numpyro, larger_models, programs

TOLERANCE = 1e-5
"""Relative."""


def log_joints(name: str) -> tuple[float, float]:
    """Ember's and NumPyro's log p(x, z) at latents that the guide of Ember's draws."""
    torch.manual_seed(0)
    ember.clear_param_store()
    written = programs.program(name, ember)
    trace = ember.poutine.trace(written.guide).get_trace(*written.args)
    drawn = {site: node["value"].detach() for site, node in trace.nodes.items() if _latent(node)}
    if name == "subsample_of_million":
        drawn["rows"] = torch.arange(0, data.MILLION, data.MILLION // data.ROWS_OF_MILLION)
    given = ember.poutine.condition(written.model, data=drawn)
    objective = getattr(ember.infer, written.objective)(**written.options)
    theirs = in_numpyro.program(name)
    values = {site: jnp.asarray(np.asarray(value)) for site, value in drawn.items()}
    density, _ = log_density(theirs.model, theirs.args, {}, values)
    return -objective.loss(given, _no_latents, *written.args), float(density)


def _latent(node: dict[str, Any]) -> bool:
    return bool(node["type"] == "sample" and not node["infer"].get("is_auxiliary"))


def _no_latents(*args: Any) -> None:
    """The guide of a model whose latents are all given: the ELBO is log p(x, z)."""


def main(argv: list[str]) -> int:
    """Print a line a model; 1 if any differs."""
    different = False
    for name in argv or larger_models.MODELS:
        ours, theirs = log_joints(name)
        difference = abs(ours - theirs) / abs(theirs)
        different |= not difference <= TOLERANCE
        print(f"{data.TITLES[name]}: {ours:,.3f} and {theirs:,.3f}, {difference:.1e} apart", flush=True)
    return int(different)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
