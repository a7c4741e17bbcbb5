"""Draws that are weighed again for each model, for tuning priors by hand without simulating again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.trace_struct import Trace
from ember.primitives import plate

Program = Callable[..., Any]


class Resampler:
    """Draws of a diffuse guide, extended by a simulator once, and resampled for models that are like it.

    Args:
        guide: a program without arguments that covers more than the models to come.
        simulator: a program with the guide's sites and more; the guide if None.
        num_guide_samples: how many draws; many more than are asked for later.
        max_plate_nesting: how many plates are nested; found by a run of the guide if None.
    """

    def __init__(
        self,
        guide: Program,
        simulator: Program | None = None,
        *,
        num_guide_samples: int,
        max_plate_nesting: int | None = None,
    ) -> None:
        if max_plate_nesting is None:
            max_plate_nesting = _plate_nesting(guide if simulator is None else simulator)
        self._particle_dim = -1 - max_plate_nesting
        self._num_draws = num_guide_samples
        self._gumbels = torch.empty((0, num_guide_samples))
        with torch.no_grad(), self._particles():
            guide_trace = prune_subsample_sites(poutine.trace(guide).get_trace())
            self._old_logp = self._log_prob_sum(guide_trace)
            if simulator is not None:
                replayed = poutine.replay(simulator, guide_trace)
                guide_trace = prune_subsample_sites(poutine.trace(replayed).get_trace())
        self._trace = guide_trace
        self._samples = {name: site["value"] for name, site in guide_trace.nodes.items() if _is_latent(site)}

    def _particles(self) -> Any:
        return plate("particles", self._num_draws, dim=self._particle_dim)

    def _log_prob_sum(self, trace: Trace) -> Tensor:
        """The log density of each draw."""
        trace.compute_log_prob()
        total: Any = 0.0
        depth = -self._particle_dim
        for site in trace.nodes.values():
            if site["type"] != "sample":
                continue
            log_prob = site["log_prob"]
            log_prob = log_prob.reshape((1,) * (depth - log_prob.dim()) + log_prob.shape)
            total = total + log_prob.reshape(log_prob.shape[0], -1).sum(-1).expand(self._num_draws)
        return torch.as_tensor(total).expand(self._num_draws)

    @torch.no_grad()
    def sample(self, model: Program, num_samples: int, stable: bool = True) -> dict[str, Tensor]:
        """Draws of a model: those of the guide, resampled by importance; nothing is run but the model once.

        Args:
            model: a program with the guide's sites.
            num_samples: how many draws.
            stable: with the same random numbers each time, so that draws change little with the model; for
                pictures, and not for averages.

        Returns:
            Site -> values, draws on the left.
        """
        with self._particles():
            replayed = poutine.replay(model, trace=self._trace)
            new_logp = self._log_prob_sum(prune_subsample_sites(poutine.trace(replayed).get_trace()))
        logits = new_logp - self._old_logp
        logits = logits - logits.max()
        if stable:
            # The largest of logits with Gumbel noise is a draw of their distribution.
            missing = num_samples - self._gumbels.size(0)
            if missing > 0:
                uniform = torch.rand(missing, self._num_draws)
                self._gumbels = torch.cat([self._gumbels, -(-uniform.log()).log()])
            index = (self._gumbels[:num_samples] + logits).max(-1).indices
        else:
            index = torch.multinomial(logits.exp(), num_samples, replacement=True)
        return {name: value[index] for name, value in self._samples.items()}


def _is_latent(site: Any) -> bool:
    return site["type"] == "sample" and not site["is_observed"]


def _plate_nesting(program: Program) -> int:
    with torch.no_grad(), poutine.block():
        trace = poutine.trace(program).get_trace()
    dims = [
        f.dim for site in trace.nodes.values() if site["type"] == "sample" for f in site["cond_indep_stack"]
    ]
    return -min((dim for dim in dims if dim is not None), default=0)
