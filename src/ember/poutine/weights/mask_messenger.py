"""Leaving log densities out."""

from __future__ import annotations

import torch

from ember.poutine.messenger import Messenger
from ember.poutine.site import Site


class MaskMessenger(Messenger):
    """Counts log densities only where a mask is true; nested masks are combined with "and".

    Args:
        mask: a bool, or a tensor of bools that broadcasts with the sites' batch shapes.

    Raises:
        ValueError: for a mask of another type.

    >>> import torch, ember
    >>> def model():
    ...     x = torch.tensor([1.0, 2.0, 3.0])
    ...     with ember.plate("rows", 3), ember.poutine.mask(mask=x < 3):
    ...         ember.sample("x", ember.distributions.Exponential(1.0), obs=x)
    >>> ember.poutine.trace(model).get_trace().log_prob_sum()
    tensor(-3.)
    """

    def __init__(self, mask: bool | torch.Tensor) -> None:
        if isinstance(mask, torch.Tensor):
            if mask.dtype != torch.bool:
                raise ValueError(
                    f"Expected mask to be a BoolTensor but got {type(mask)} of dtype {mask.dtype}"
                )
        elif mask not in (True, False):
            raise ValueError(f"Expected mask to be a boolean but got {type(mask)}")
        super().__init__()
        self.mask = mask

    def _process_message(self, msg: Site) -> None:
        outer = msg["mask"]
        msg["mask"] = self.mask if outer is None else outer & self.mask
