"""Groups of normal observations whose means are normal, too, and integrated out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.normal import Normal
from ember.distributions.torch_distribution import TorchDistribution
from ember.ops.information_form import LOG_2PI


class GroupedNormalNormal(TorchDistribution):
    """A data set in groups.

    The model is ``m[g] ~ Normal(prior_loc, prior_scale)`` and ``x[i] ~ Normal(m[g[i]], obs_scale)``.

    The means of the groups are integrated out, in time linear in the data. A value is all data, as one dim of
    a batch; its log density is one number.

    Args:
        prior_loc: mean of the means, of shape ``(groups,)``.
        prior_scale: standard deviation of the means, of shape ``(groups,)`` or ``(1,)``.
        obs_scale: standard deviation of observations, of shape ``(data,)`` or one number.
        group_idx: the group of each observation, of shape ``(data,)``, from zero to ``groups - 1``.
        validate_args: whether to check arguments and values.

    Raises:
        ValueError: if shapes do not fit.

    References:
        D. V. Lindley, A. F. M. Smith (1972), "Bayes Estimates for the Linear Model".

    >>> import torch
    >>> from ember.distributions import GroupedNormalNormal
    >>> fn = GroupedNormalNormal(torch.zeros(2), torch.ones(2), torch.ones(1), torch.tensor([0, 0, 1]))
    >>> fn.log_prob(torch.zeros(3))
    tensor(-3.6527)
    >>> fn.get_posterior(torch.ones(3)).loc
    tensor([0.6667, 0.5000])
    """

    arg_constraints: dict[str, Any] = {
        "prior_loc": constraints.real,
        "prior_scale": constraints.positive,
        "obs_scale": constraints.positive,
    }
    support = constraints.real

    def __init__(
        self,
        prior_loc: Tensor,
        prior_scale: Tensor,
        obs_scale: Tensor,
        group_idx: Tensor,
        validate_args: bool | None = None,
    ) -> None:
        if prior_loc.dim() != 1 or prior_scale.dim() > 1 or prior_scale.numel() not in (1, prior_loc.numel()):
            raise ValueError(
                "prior_loc and prior_scale must be broadcastable to 1D tensors of the same shape, got "
                f"{tuple(prior_loc.shape)} and {tuple(prior_scale.shape)}"
            )
        if group_idx.dim() != 1 or group_idx.is_floating_point():
            raise ValueError(
                f"group_idx must be a 1-dimensional tensor of indices, got shape {tuple(group_idx.shape)} of {group_idx.dtype}"
            )
        if obs_scale.dim() > 1 or obs_scale.numel() not in (1, group_idx.numel()):
            raise ValueError(
                f"obs_scale must be a number or have one entry for each of {len(group_idx)} observations, got shape "
                f"{tuple(obs_scale.shape)}"
            )
        self.num_groups = prior_loc.numel()
        self.prior_loc, self.prior_scale = prior_loc, prior_scale.expand(self.num_groups)
        self.obs_scale = obs_scale.expand(len(group_idx))
        self.group_idx = group_idx
        self.num_data_per_batch = len(group_idx)
        super().__init__(Size(), Size(), validate_args=validate_args)
        if self._validate_args and bool((group_idx < 0).any() | (group_idx >= self.num_groups).any()):
            raise ValueError(
                f"group_idx must be at least 0 and less than the number of groups, {self.num_groups}"
            )

    def expand(self, batch_shape: Any, _instance: object = None) -> Any:
        """There is one data set.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("GroupedNormalNormal has no batches: it is the density of one data set")

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """It is a likelihood.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "GroupedNormalNormal is for observed data; draw the means of groups and the data by two sample statements"
        )

    def _sums(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """For each group, the precision of its mean given the data, and the sum of deviations times precisions."""
        if value.shape != self.group_idx.shape:
            raise ValueError(
                "GroupedNormalNormal.log_prob only supports values that have the same shape as group_idx, "
                f"{tuple(self.group_idx.shape)}, got {tuple(value.shape)}."
            )
        precision = self.obs_scale.pow(-2)
        away = (value - self.prior_loc[self.group_idx]) * precision
        zero = torch.zeros_like(self.prior_loc)
        total = zero.index_add(0, self.group_idx, precision) + self.prior_scale.pow(-2)
        return total, zero.index_add(0, self.group_idx, away)

    def get_posterior(self, value: Tensor) -> Normal:
        """Return the distribution of the means of groups given the data."""
        precision, away = self._sums(value)
        return Normal(self.prior_loc + away / precision, precision.rsqrt())

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of all data, a number."""
        if self._validate_args:
            self._validate_sample(value)
        precision, away = self._sums(value)
        z = (value - self.prior_loc[self.group_idx]) / self.obs_scale
        # By the matrix determinant lemma and the Woodbury identity, group by group.
        log_det = 2 * self.obs_scale.log().sum() + (precision * self.prior_scale.square()).log().sum()
        quadratic = z.square().sum() - (away.square() / precision).sum()
        return -0.5 * (len(value) * LOG_2PI + log_det + quadratic)
