"""Linear Gaussian state space models whose matrices are all learned."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ember.contrib.timeseries.base import JointModel, Moves, check_initial, moved, positive
from ember.nn import pyro_method


class SteppingModel(JointModel):
    """A model that moves in steps, and is asked for some steps ahead."""

    @pyro_method
    def forecast(self, targets: Tensor, N_timesteps: int) -> Any:
        """Multivariate normal distributions of the data 1, 2, ... steps after the end of a series.

        Args:
            targets: of shape (T, obs_dim).
            N_timesteps: how many steps.
        """
        self._check(targets)
        state = self.get_dist().filter(targets)
        mean, cov = state.loc, state.covariance_matrix
        step = self._step()
        means, covs = [], []
        for _ in range(N_timesteps):
            mean, cov = moved(mean, cov, step)
            means.append(mean)
            covs.append(cov)
        return self._predicted(torch.stack(means), torch.stack(covs))


class GenericLGSSM(SteppingModel):
    """A linear Gaussian state space model.

    Args:
        obs_dim: how many columns.
        state_dim: dims of the state.
        obs_noise_scale_init: (obs_dim,); 0.2 if None.
        learnable_observation_loc: learn what is added to the data; zero if not.

    Raises:
        AssertionError: for other shapes.
    """

    trans_noise_scale_sq: Tensor
    init_noise_scale_sq: Tensor
    trans_matrix: Tensor
    obs_matrix: Tensor
    obs_loc: Tensor

    def __init__(
        self,
        obs_dim: int = 1,
        state_dim: int = 2,
        obs_noise_scale_init: Tensor | None = None,
        learnable_observation_loc: bool = False,
    ) -> None:
        self.obs_dim = obs_dim
        self.state_dim = state_dim
        noise = check_initial("obs_noise_scale_init", obs_noise_scale_init, (obs_dim,), 0.2)
        super().__init__()
        self.obs_noise_scale = positive(noise)
        self.trans_noise_scale_sq = positive(torch.ones(state_dim))
        self.trans_matrix = nn.Parameter(torch.eye(state_dim) + 0.03 * torch.randn(state_dim, state_dim))
        self.obs_matrix = nn.Parameter(0.3 * torch.randn(state_dim, obs_dim))
        self.init_noise_scale_sq = positive(torch.ones(state_dim))
        self.learnable_observation_loc = learnable_observation_loc
        if learnable_observation_loc:
            self.obs_loc = nn.Parameter(torch.zeros(obs_dim))

    def _start(self) -> Tensor:
        return torch.diag_embed(self.init_noise_scale_sq)

    def _step(self) -> Moves:
        return Moves(self.trans_matrix, torch.diag_embed(self.trans_noise_scale_sq))

    def _seen(self) -> Tensor:
        return self.obs_matrix

    def _obs_loc(self) -> Tensor:
        return self.obs_loc if self.learnable_observation_loc else super()._obs_loc()
