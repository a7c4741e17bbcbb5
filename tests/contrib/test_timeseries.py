"""Models of time series against the joint normal distribution of all data."""

from __future__ import annotations

import pytest
import torch

import ember
from ember.contrib import timeseries as ts
from ember.contrib.timeseries.base import block_diagonal
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam

T = torch.tensor([[0.1, 0.5], [0.3, -0.2], [1.0, 0.4], [0.7, 0.2]], dtype=torch.float64)


@pytest.fixture(autouse=True)
def doubles():
    torch.set_default_dtype(torch.float64)
    ember.clear_param_store()
    ember.set_rng_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def matern(nu: float, x: torch.Tensor) -> torch.Tensor:
    r = (2 * nu) ** 0.5 * x.abs()
    polynomial = {0.5: torch.ones_like(r), 1.5: 1 + r, 2.5: 1 + r + r**2 / 3}[nu]
    return polynomial * torch.exp(-r)


def at_times(length: int, dt: float, ahead: torch.Tensor) -> torch.Tensor:
    times = torch.arange(length) * dt
    return torch.cat([times, times[-1] + ahead])


def conditional(cov: torch.Tensor, values: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    known, cross, ahead = cov[:count, :count], cov[count:, :count], cov[count:, count:]
    weights = torch.linalg.solve(known, cross.T).T
    return weights @ values, ahead - weights @ cross.T


@pytest.mark.parametrize("nu", [0.5, 1.5, 2.5])
def test_independent_processes_are_exact_regression(nu: float) -> None:
    lengths, scales, noise = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.6]), torch.tensor([0.1, 0.3])
    model = ts.IndependentMaternGP(nu, 0.5, 2, lengths, scales, noise)
    ahead = torch.tensor([0.5, 1.0, 2.5])
    times = at_times(4, 0.5, ahead)
    with torch.no_grad():
        log_prob, forecast = model.log_prob(T), model.forecast(T, ahead)
    for column in range(2):
        apart = (times[:, None] - times) / lengths[column]
        cov = scales[column] ** 2 * matern(nu, apart) + noise[column] ** 2 * torch.eye(7)
        exact = torch.distributions.MultivariateNormal(torch.zeros(4), cov[:4, :4])
        torch.testing.assert_close(log_prob[column], exact.log_prob(T[:, column]))
        mean, rest = conditional(cov, T[:, column], 4)
        torch.testing.assert_close(forecast.mean[:, column], mean)
        torch.testing.assert_close(forecast.variance[:, column], rest.diagonal())


@pytest.mark.parametrize("nu", [0.5, 1.5, 2.5])
def test_coupled_processes_are_exact_regression(nu: float) -> None:
    model = ts.LinearlyCoupledMaternGP(nu, 0.5, 2, 3, torch.tensor([1.0, 2.0, 0.5]))
    ahead = torch.tensor([0.5, 2.5])
    times = at_times(4, 0.5, ahead)
    apart = times[:, None] - times
    kernels = torch.stack([matern(nu, apart / length) for length in (1.0, 2.0, 0.5)])
    with torch.no_grad():
        cov = torch.einsum("gst,gi,gj->sitj", kernels, model.A, model.A).reshape(12, 12) + 0.04 * torch.eye(
            12
        )
        exact = torch.distributions.MultivariateNormal(torch.zeros(8), cov[:8, :8])
        torch.testing.assert_close(model.log_prob(T), exact.log_prob(T.reshape(-1)))
        mean, rest = conditional(cov, T.reshape(-1), 8)
        forecast = model.forecast(T, ahead)
        torch.testing.assert_close(forecast.mean.reshape(-1), mean)
        torch.testing.assert_close(forecast.covariance_matrix[1], rest[2:, 2:])


def state_space_joint(model, steps: int) -> torch.Tensor:
    """The covariance of data by sums over the states' noise."""
    with torch.no_grad():
        start, (F, Q), H = model._start(), model._step(), model._seen()
        covs = [F.T @ start @ F + Q]
        for _ in range(steps - 1):
            covs.append(F.T @ covs[-1] @ F + Q)
        size = H.shape[-1]
        joint = torch.zeros(steps * size, steps * size)
        for i in range(steps):
            for j in range(i, steps):
                block = H.T @ covs[i] @ torch.linalg.matrix_power(F, j - i) @ H
                joint[i * size : (i + 1) * size, j * size : (j + 1) * size] = block
                joint[j * size : (j + 1) * size, i * size : (i + 1) * size] = block.T
        return joint + torch.eye(steps * size) * model.obs_noise_scale.square().repeat(steps)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ts.GenericLGSSM(2, 3),
        lambda: ts.GenericLGSSM(2, 3, torch.tensor([0.1, 0.3]), True),
        lambda: ts.GenericLGSSMWithGPNoiseModel(2, 3, 1.5),
        lambda: ts.GenericLGSSMWithGPNoiseModel(
            2, 1, 0.5, torch.tensor([0.1, 0.3]), torch.tensor([1.0, 2.0])
        ),
    ],
)
def test_state_space_models_are_their_joint_distribution(make) -> None:
    model = make()
    loc = torch.zeros(2)
    if model.learnable_observation_loc:
        loc = torch.tensor([0.3, -0.1])
        with torch.no_grad():
            model.obs_loc.copy_(loc)
    cov = state_space_joint(model, 7)
    with torch.no_grad():
        exact = torch.distributions.MultivariateNormal(loc.repeat(4), cov[:8, :8])
        torch.testing.assert_close(model.log_prob(T), exact.log_prob(T.reshape(-1)))
        forecast = model.forecast(T, 3)
        mean, rest = conditional(cov, (T - loc).reshape(-1), 8)
        torch.testing.assert_close(forecast.mean, mean.reshape(3, 2) + loc)
        for step in range(3):
            block = slice(2 * step, 2 * step + 2)
            torch.testing.assert_close(forecast.covariance_matrix[step], rest[block, block])


@pytest.mark.parametrize("coupled", [False, True])
def test_dependent_processes_have_the_covariance_of_their_noise(coupled: bool) -> None:
    model = ts.DependentMaternGP(
        dt=0.7, obs_dim=2, linearly_coupled=coupled, length_scale_init=torch.tensor([1.0, 2.0])
    )
    with torch.no_grad():
        # The integral over the past, as a sum.
        tril, rate = model.wiener_noise_tril, 3**0.5 / torch.tensor([1.0, 2.0])
        s = torch.arange(0.0, 40.0, 1e-3) + 5e-4
        left = torch.stack(
            [s * torch.exp(-rate[:, None] * s), (1 - rate[:, None] * s) * torch.exp(-rate[:, None] * s)], 1
        )
        expected = torch.einsum("iat,ij,jbt->iajb", left, tril @ tril.T, left).reshape(4, 4) * 1e-3
        torch.testing.assert_close(model._start(), expected, rtol=1e-4, atol=1e-5)
        step = model._step()
        torch.testing.assert_close(
            step.matrix.T @ model._start() @ step.matrix + step.noise_cov, model._start()
        )
        assert torch.linalg.eigvalsh(step.noise_cov).min() > 0
        cov = state_space_joint(model, 5)
        exact = torch.distributions.MultivariateNormal(torch.zeros(8), cov[:8, :8])
        torch.testing.assert_close(model.log_prob(T), exact.log_prob(T.reshape(-1)))
        mean, rest = conditional(cov, T.reshape(-1), 8)
        forecast = model.forecast(T, torch.tensor([0.7]))
        torch.testing.assert_close(forecast.mean[0], mean)
        torch.testing.assert_close(forecast.covariance_matrix[0], rest)


def test_a_process_is_fitted_in_a_model() -> None:
    series = torch.sin(torch.arange(20.0) / 3).unsqueeze(-1)
    process = ts.IndependentMaternGP(obs_dim=1, length_scale_init=torch.tensor([3.0]))

    def model() -> None:
        ember.factor("y", process.log_prob(series).sum())

    svi = SVI(model, lambda: None, Adam({"lr": 0.05}), Trace_ELBO())
    losses = [svi.step() for _ in range(20)]
    assert losses[-1] < losses[0]
    forecast = process.forecast(series, torch.tensor([1.0]))
    assert (forecast.mean - torch.sin(torch.tensor(20.0 / 3))).abs() < 0.3


def test_draws_have_the_length_that_is_asked_for() -> None:
    assert ts.IndependentMaternGP(obs_dim=2).get_dist(duration=6).sample().shape == (2, 6, 1)
    assert ts.GenericLGSSM(2, 3).get_dist(duration=6).sample().shape == (6, 2)


def test_bad_input_is_named() -> None:
    with pytest.raises(NotImplementedError, match=r"got 1\.0"):
        ts.IndependentMaternGP(nu=1.0)
    with pytest.raises(NotImplementedError, match=r"got 0\.5"):
        ts.DependentMaternGP(nu=0.5)
    with pytest.raises(AssertionError, match=r"\(T, 2\), and not \(4, 1\)"):
        ts.GenericLGSSM(2, 3).log_prob(T[:, :1])
    with pytest.raises(AssertionError, match=r"\(2,\), and not \(3,\)"):
        ts.IndependentMaternGP(obs_dim=2, obs_noise_scale_init=torch.ones(3))
    with pytest.raises(NotImplementedError, match="TimeSeriesModel is a base"):
        ts.TimeSeriesModel().log_prob(T)
    assert block_diagonal(torch.ones(3, 2, 2)).sum() == 12
