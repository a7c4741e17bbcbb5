"""What all models of time series share."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints

import ember.distributions as dist
from ember.nn import PyroModule, PyroParam, pyro_method


def positive(value: Tensor) -> Any:
    """A positive parameter."""
    return PyroParam(value, constraints.positive)


class Moves(NamedTuple):
    """How the state moves in a time: ``z @ matrix`` and normal noise."""

    matrix: Tensor
    noise_cov: Tensor


class TimeSeriesModel(PyroModule):
    """Base of models of series at equal intervals, (T, obs_dim)."""

    obs_dim: int

    @pyro_method
    def log_prob(self, targets: Tensor) -> Tensor:
        """The log density of a series; of each of its columns if they are independent.

        Args:
            targets: of shape (T, obs_dim).

        Raises:
            AssertionError: for another shape.
        """
        raise NotImplementedError(f"{type(self).__name__} is a base: its subclasses define log_prob")

    @pyro_method
    def forecast(self, targets: Tensor, dts: Any) -> Any:
        """The distribution of data after a series, at each of some times by itself.

        Args:
            targets: of shape (T, obs_dim).
            dts: how long after its end.

        Raises:
            AssertionError: for another shape.
        """
        raise NotImplementedError(f"{type(self).__name__} is a base: its subclasses define forecast")

    def get_dist(self) -> Any:
        """The distribution of a series."""
        raise NotImplementedError(f"{type(self).__name__} is a base: its subclasses define get_dist")

    def _check(self, targets: Tensor) -> None:
        assert targets.dim() == 2 and targets.size(-1) == self.obs_dim, (
            f"targets are of shape (T, {self.obs_dim}), and not {tuple(targets.shape)}"
        )


class JointModel(TimeSeriesModel):
    """A model whose state makes all columns. A subclass says how it starts, moves and is seen."""

    obs_noise_scale: Tensor

    def _start(self) -> Tensor:
        """The covariance of the state before the first step."""
        raise NotImplementedError

    def _step(self) -> Moves:
        """How the state moves from one datum to the next."""
        raise NotImplementedError

    def _seen(self) -> Tensor:
        """The matrix from states to data."""
        raise NotImplementedError

    def _obs_loc(self) -> Tensor:
        """What is added to the data."""
        return torch.zeros_like(self.obs_noise_scale)

    @pyro_method
    def get_dist(self, duration: int | None = None) -> Any:
        """The distribution of a series.

        Args:
            duration: its length, to draw from it.
        """
        start, step = self._start(), self._step()
        zero = torch.zeros_like(start[..., 0])
        return dist.GaussianHMM(
            dist.MultivariateNormal(zero, start),
            step.matrix.unsqueeze(-3),
            dist.MultivariateNormal(zero.unsqueeze(-2), step.noise_cov.unsqueeze(-3)),
            self._seen().unsqueeze(-3),
            dist.Normal(self._obs_loc().unsqueeze(-2), self.obs_noise_scale.unsqueeze(-2)).to_event(1),
            duration=duration,
        )

    @pyro_method
    def log_prob(self, targets: Tensor) -> Tensor:
        """The log density of a series, (T, obs_dim)."""
        self._check(targets)
        out: Tensor = self.get_dist().log_prob(targets)
        return out

    def _predicted(self, mean: Tensor, cov: Tensor) -> Any:
        """The distribution of data, given those of states."""
        H = self._seen()
        noise = torch.diag_embed(self.obs_noise_scale.square())
        return dist.MultivariateNormal(mean @ H + self._obs_loc(), H.mT @ cov @ H + noise)


def moved(mean: Tensor, cov: Tensor, by: Moves) -> tuple[Tensor, Tensor]:
    """Mean and covariance of a state after it has moved."""
    F = by.matrix
    return (mean.unsqueeze(-2) @ F).squeeze(-2), F.mT @ cov @ F + by.noise_cov


def check_initial(name: str, value: Tensor | None, shape: tuple[int, ...], default: float) -> Tensor:
    """A first value, or one that is the same everywhere.

    Raises:
        AssertionError: if it is of another shape.
    """
    if value is None:
        return torch.full(shape, default)
    assert value.shape == shape, f"{name} is of shape {shape}, and not {tuple(value.shape)}"
    return value


def block_diagonal(blocks: Tensor) -> Tensor:
    """Matrices, (..., k, n, n), as the diagonal of one, (..., k n, k n)."""
    k, n = blocks.shape[-3], blocks.shape[-1]
    eye = torch.eye(k, dtype=blocks.dtype, device=blocks.device)
    spread = eye[:, None, :, None] * blocks.unsqueeze(-2)
    return spread.reshape(blocks.shape[:-3] + (k * n, k * n))


def joined(first: Tensor, second: Tensor) -> Tensor:
    """Two matrices on the diagonal of one."""
    right, left = first.new_zeros(len(first), len(second)), first.new_zeros(len(second), len(first))
    return torch.cat([torch.cat([first, right], -1), torch.cat([left, second], -1)], -2)
