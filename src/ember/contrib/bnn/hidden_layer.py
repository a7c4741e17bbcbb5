"""A layer of a neural network whose weights are normal, as a distribution over its outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import kl_divergence
from torch.nn.functional import relu

from ember.contrib.bnn.utils import adjoin_ones_vector
from ember.distributions import Normal, TorchDistribution


class HiddenLayer(TorchDistribution):
    """The outputs ``f(X @ A)`` of a layer with weights ``A ~ Normal(A_mean, A_scale)``.

    The pre-activations ``X @ A`` are drawn, and not the weights: local reparameterisation, D. P. Kingma,
    T. Salimans and M. Welling (2015), *Variational dropout and the local reparameterization trick*. In place
    of a density, ``log_prob`` is minus the divergence of the weights from their prior, so that a guide's layer
    under an ELBO adds it.

    Args:
        X: inputs, (batch, D).
        A_mean, A_scale: mean and scale of the weights, (D, H).
        non_linearity: the function ``f``.
        KL_factor: what the divergence is multiplied by, such as size of the batch / size of the data.
        A_prior_scale: scale of the prior of the weights, of mean zero.
        include_hidden_bias: add a column of ones to the outputs, for the bias of the next layer.
        weight_space_sampling: draw the weights, one set for all inputs.

    Raises:
        AssertionError: if the shapes do not match.

    >>> layer = HiddenLayer(torch.ones(5, 3), torch.zeros(3, 2), torch.ones(3, 2))
    >>> layer.sample().shape, layer.log_prob(layer.sample())
    (torch.Size([5, 3]), tensor(-0.))
    """

    has_rsample = True
    arg_constraints: dict[str, Any] = {}

    def __init__(
        self,
        X: Any = None,
        A_mean: Any = None,
        A_scale: Any = None,
        non_linearity: Callable[[Tensor], Tensor] = relu,
        KL_factor: float = 1.0,
        A_prior_scale: float | Tensor = 1.0,
        include_hidden_bias: bool = True,
        weight_space_sampling: bool = False,
    ) -> None:
        match = A_mean.dim() == 2 and A_mean.shape == A_scale.shape and X.shape[-1] == A_mean.shape[0]
        assert match, (
            "The dimensions of X and A_mean and A_scale must match accordingly; see documentation: X is (batch, D), "
            f"the others (D, H), but they are {tuple(X.shape)}, {tuple(A_mean.shape)}, {tuple(A_scale.shape)}"
        )
        self.X = X
        self.A_mean = A_mean
        self.A_scale = A_scale
        self.non_linearity = non_linearity
        self.KL_factor = KL_factor
        self.A_prior_scale = A_prior_scale
        self.include_hidden_bias = include_hidden_bias
        self.weight_space_sampling = weight_space_sampling
        width = A_mean.shape[1] + include_hidden_bias
        super().__init__(Size(), Size((*X.shape[:-1], width)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus the weighted divergence, whatever the value."""
        out: Tensor = -self.KL_factor * self.KL
        return out

    @cached_property
    def KL(self) -> Tensor:
        """The divergence of all weights from their prior."""
        prior_scale = torch.as_tensor(self.A_prior_scale, dtype=self.A_mean.dtype, device=self.A_mean.device)
        prior = Normal(torch.zeros_like(prior_scale), prior_scale)
        divergence: Tensor = kl_divergence(Normal(self.A_mean, self.A_scale), prior)
        return divergence.sum()

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Outputs of shape ``sample_shape + (batch, H)``, with the column of ones if there is to be one."""
        if self.weight_space_sampling:
            weights = Normal(self.A_mean, self.A_scale).rsample(Size(sample_shape))
            before = torch.matmul(self.X, weights)
        else:
            loc = torch.matmul(self.X, self.A_mean)
            scale = torch.matmul(self.X.pow(2.0), self.A_scale.pow(2.0)).sqrt()
            before = Normal(loc, scale, validate_args=False).rsample(Size(sample_shape))
        outputs = self.non_linearity(before)
        return adjoin_ones_vector(outputs) if self.include_hidden_bias else outputs
