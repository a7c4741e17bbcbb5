"""Ordered categories, cut from a logistic variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.categorical import Categorical


class OrderedLogistic(Categorical):
    """The interval between cutpoints into which a logistic variable around ``predictor`` falls.

    Args:
        predictor: the location; its shape is the batch shape.
        cutpoints: increasing along the last dim, one fewer than categories; the other dims broadcast with
            ``predictor``.

    >>> import torch
    >>> from ember.distributions import OrderedLogistic
    >>> OrderedLogistic(torch.tensor(0.0), torch.tensor([0.0])).probs
    tensor([0.5000, 0.5000])
    """

    arg_constraints: dict[str, Any] = {
        "predictor": constraints.real,
        "cutpoints": constraints.ordered_vector,
    }

    def __init__(self, predictor: Tensor, cutpoints: Tensor, validate_args: bool | None = None) -> None:
        below = torch.sigmoid(cutpoints - predictor.unsqueeze(-1))
        self.predictor = predictor.expand(below.shape[:-1])
        self.cutpoints = cutpoints.expand(below.shape)
        ends = torch.zeros_like(below[..., :1])
        super().__init__(torch.diff(below, prepend=ends, append=ends + 1), validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the parameters."""
        new = self._get_checked_instance(OrderedLogistic, _instance)
        batch_shape = Size(batch_shape)
        new.predictor = self.predictor.expand(batch_shape)
        new.cutpoints = self.cutpoints.expand(batch_shape + self.cutpoints.shape[-1:])
        expanded: Self = super().expand(batch_shape, _instance=new)  # type: ignore[no-untyped-call]
        return expanded
