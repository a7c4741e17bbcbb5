"""Expanding distributions to the sizes of the plates around them."""

from __future__ import annotations

from typing import Any

from ember.distributions.torch_distribution import TorchDistributionMixin
from ember.errors import ModelError
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site
from ember.poutine.traced_sizes import as_int


def expand_to_plates(msg: Site) -> None:
    """Expand the distribution of a sample site to the plates on the site.

    Raises:
        ModelError: if the batch shape is neither 1 nor the plate's size at a plate's dim.
    """
    fn = msg["fn"]
    if msg["done"] or msg["type"] != "sample" or not isinstance(fn, TorchDistributionMixin):
        return
    actual = fn.batch_shape
    target = list(actual)
    changed = False
    for frame in msg["cond_indep_stack"]:
        dim, size = frame.dim, as_int(frame.size)
        if dim is None or size == -1:
            continue
        if len(target) < -dim:
            target[:0] = [1] * (-dim - len(target))
            changed = True
        present = as_int(target[dim])
        if present != size:
            # A size that an inner frame has set counts as fixed, even if it is 1.
            if present != 1:
                raise ModelError(
                    f"Shape mismatch inside plate('{frame.name}') at site {msg.name} dim {dim}, "
                    f"{size} vs {present}\n"
                    f"  Try .to_event({-dim}) on the distribution, where its rightmost dims belong to one row of the plate, "
                    f"or another dim for the plate"
                )
            target[dim] = frame.size
            changed = True
    if changed:
        msg.fn = _expanded(fn, target)


def _expanded(fn: Any, batch_shape: list[int]) -> Any:
    expanded = fn.expand(batch_shape)
    if expanded.has_rsample != fn.has_rsample:
        expanded.has_rsample = fn.has_rsample
    return expanded


class BroadcastMessenger(Messenger):
    """Expands distributions to the plates around them; every plate does so by itself already.

    Raises:
        ModelError: if a batch shape does not fit a plate.
    """

    @staticmethod
    def _pyro_sample(msg: Site) -> None:
        expand_to_plates(msg)
