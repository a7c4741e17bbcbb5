"""The base of likelihoods."""

from __future__ import annotations

from typing import Any

from torch import Tensor

import ember.distributions as dist
from ember.contrib.gp.parameterized import Parameterized
from ember.primitives import sample


class Likelihood(Parameterized):
    """Data, given mean and variance of a function at their inputs."""

    def forward(self, f_loc: Tensor, f_var: Tensor, y: Tensor | None = None) -> Any:
        """The site "y".

        Args:
            f_loc: means.
            f_var: variances, of the same shape.
            y: the data; drawn if None.
        """
        raise NotImplementedError(f"{type(self).__name__} is a base: its subclasses define forward")

    def _function(self, f_loc: Tensor, f_var: Tensor) -> Tensor:
        """A draw of the function's values."""
        f: Tensor = dist.Normal(f_loc, f_var.sqrt())()
        return f

    def _observe(self, y_dist: Any, y: Tensor | None) -> Any:
        if y is not None:
            y_dist = y_dist.expand_by(y.shape[: y.dim() - len(y_dist.batch_shape)]).to_event(y.dim())
        return sample(self._pyro_get_fullname("y"), y_dist, obs=y)
