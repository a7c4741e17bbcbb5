"""A linear Gaussian state space model, and a Gaussian process as noise of each column."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ember.contrib.timeseries.base import Moves, block_diagonal, check_initial, joined, positive
from ember.contrib.timeseries.lgssm import SteppingModel
from ember.nn.matern_kernel import MaternKernel


class GenericLGSSMWithGPNoiseModel(SteppingModel):
    """Columns ``y_i(t) = sum_j A_ij z_j(t) + f_i(t) + noise`` of a linear state and Matern processes.

    Args:
        obs_dim: how many columns.
        state_dim: dims of the state ``z``.
        nu: the smoothness of the processes, 0.5, 1.5 or 2.5.
        obs_noise_scale_init: (obs_dim,); 0.2 if None.
        length_scale_init: (obs_dim,); ones if None.
        kernel_scale_init: (obs_dim,); ones if None.
        learnable_observation_loc: learn what is added to the data; zero if not.

    Raises:
        NotImplementedError: for another smoothness.
        AssertionError: for other shapes.
    """

    trans_noise_scale_sq: Tensor
    init_noise_scale_sq: Tensor
    z_trans_matrix: Tensor
    z_obs_matrix: Tensor
    obs_loc: Tensor

    def __init__(
        self,
        obs_dim: int = 1,
        state_dim: int = 2,
        nu: float = 1.5,
        obs_noise_scale_init: Tensor | None = None,
        length_scale_init: Tensor | None = None,
        kernel_scale_init: Tensor | None = None,
        learnable_observation_loc: bool = False,
    ) -> None:
        self.obs_dim = obs_dim
        self.state_dim = state_dim
        self.nu = nu
        noise = check_initial("obs_noise_scale_init", obs_noise_scale_init, (obs_dim,), 0.2)
        super().__init__()
        self.kernel = MaternKernel(nu, obs_dim, length_scale_init, kernel_scale_init)
        self.dt = 1.0
        self.full_state_dim = obs_dim * self.kernel.state_dim + state_dim
        self.obs_noise_scale = positive(noise)
        self.trans_noise_scale_sq = positive(torch.ones(state_dim))
        self.z_trans_matrix = nn.Parameter(torch.eye(state_dim) + 0.03 * torch.randn(state_dim, state_dim))
        self.z_obs_matrix = nn.Parameter(0.3 * torch.randn(state_dim, obs_dim))
        self.init_noise_scale_sq = positive(torch.ones(state_dim))
        self.learnable_observation_loc = learnable_observation_loc
        if learnable_observation_loc:
            self.obs_loc = nn.Parameter(torch.zeros(obs_dim))

    def _start(self) -> Tensor:
        processes = block_diagonal(self.kernel.stationary_covariance())
        return joined(processes, torch.diag_embed(self.init_noise_scale_sq))

    def _step(self) -> Moves:
        matrix, noise_cov = self.kernel.transition_matrix_and_covariance(self.dt)
        z_noise = torch.diag_embed(self.trans_noise_scale_sq)
        return Moves(
            joined(block_diagonal(matrix), self.z_trans_matrix),
            joined(block_diagonal(noise_cov), z_noise),
        )

    def _seen(self) -> Tensor:
        own = torch.diag_embed(torch.ones_like(self.z_obs_matrix[0]))
        rest = own.new_zeros(self.obs_dim, self.kernel.state_dim - 1, self.obs_dim)
        processes = torch.cat([own.unsqueeze(1), rest], dim=1).reshape(-1, self.obs_dim)
        return torch.cat([processes, self.z_obs_matrix], dim=0)

    def _obs_loc(self) -> Tensor:
        return self.obs_loc if self.learnable_observation_loc else super()._obs_loc()
