"""Data of several classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

import ember.distributions as dist
from ember.contrib.gp.likelihoods.likelihood import Likelihood


class MultiClass(Likelihood):
    """Classes with probabilities that are a function of draws of one process each.

    Args:
        num_classes: how many.
        response_function: from vectors, along the last dim, to probabilities; the softmax if None.
    """

    def __init__(self, num_classes: int, response_function: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.response_function = response_function

    def forward(self, f_loc: Tensor, f_var: Tensor, y: Tensor | None = None) -> Any:
        """The site "y"; the second dim from the right of ``f_loc`` and ``f_var`` are the classes.

        Raises:
            ValueError: if there is not one process a class.
        """
        f = self._function(f_loc, f_var)
        if f.dim() < 2 or f.shape[-2] != self.num_classes:
            raise ValueError(
                "Number of Gaussian processes should be equal to the number of classes. "
                f"Expected {self.num_classes} but got {f.shape[-2] if f.dim() > 1 else 1}."
            )
        f = f.transpose(-2, -1)
        if self.response_function is None:
            return self._observe(dist.Categorical(logits=f), y)
        return self._observe(dist.Categorical(self.response_function(f)), y)
