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
