"""Running a program again with its samples held fixed, to tell the gradients of log densities from those of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ember.errors import ModelError
from ember.infer.traces.validation import is_validation_enabled
from ember.poutine.messenger import Messenger
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.site import Site
from ember.poutine.trace_messenger import TraceMessenger
from ember.poutine.trace_struct import Trace
from ember.poutine.values.replay_messenger import ReplayMessenger
from ember.rng import torch_states


class DetachSamples(Messenger):
    """Cuts every sample off from the parameters that it was drawn with, as soon as it is drawn."""

    def _pyro_post_sample(self, msg: Site) -> None:
        if isinstance(msg.value, Tensor) and not msg.is_observed:
            msg.value = msg.value.detach()


def with_fixed_samples(
    program: Callable[..., Any],
    recorded: Trace,
    plates: dict[str, Site],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    adjust: Callable[[Trace], None] | None = None,
) -> Trace:
    """A second run with the samples of the first, detached; with log densities.

    Args:
        program: a model or guide.
        recorded: the first run.
        plates: the hidden sites of its plates.
        args: of the first run.
        kwargs: of the first run.
        adjust: changes the second run's trace as the first one's was, before log densities are evaluated.

    Raises:
        ValueError: if the program draws random numbers elsewhere than at sample sites (under validation).
    """
    held = Trace()
    for name, site in (*plates.items(), *recorded.nodes.items()):
        copied = held.nodes[name] = Site(site)
        if site.type == "sample" and isinstance(site.value, Tensor):
            copied.value = site.value.detach()
    before = torch_states() if is_validation_enabled() else []
    again = TraceMessenger()(ReplayMessenger(trace=held)(program)).get_trace(*args, **kwargs)
    if is_validation_enabled() and not all(map(torch.equal, before, torch_states())):
        raise ModelError(
            "this gradient estimator runs the program twice with the same samples, but the second run drew random numbers: "
            "move dropout and other draws into sample sites, or choose another estimator"
        )
    if adjust is not None:
        adjust(again)
    again = prune_subsample_sites(again)
    again.add_log_probs()
    return again
