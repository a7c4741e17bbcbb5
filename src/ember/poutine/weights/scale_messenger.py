"""Weighting log densities."""

from __future__ import annotations

import torch

from ember.capture.recording.value_guard import is_recording
from ember.distributions.validation import all_valid
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site
from ember.poutine.validation import is_validation_enabled


class ScaleMessenger(Messenger):
    """Multiplies log densities by a positive factor; nested factors multiply.

    Args:
        scale: a number, or a tensor that broadcasts with the sites' batch shapes.

    Raises:
        ValueError: if the factor is not positive.

    >>> import torch, ember
    >>> def model():
    ...     ember.sample("x", ember.distributions.Exponential(1.0), obs=torch.tensor(2.0))
    >>> ember.poutine.trace(ember.poutine.scale(model, scale=10.0)).get_trace().log_prob_sum()
    tensor(-20.)
    """

    def __init__(self, scale: float | torch.Tensor) -> None:
        if isinstance(scale, torch.Tensor):
            if (is_validation_enabled() or is_recording()) and not all_valid(scale > 0):
                raise ValueError(
                    f"Expected scale > 0 but got {scale}. Consider using poutine.mask() instead of poutine.scale()."
                )
        elif not scale > 0:
            raise ValueError(f"Expected scale > 0 but got {scale}")
        super().__init__()
        self.scale = scale

    def _process_message(self, msg: Site) -> None:
        msg["scale"] = self.scale * msg["scale"]
