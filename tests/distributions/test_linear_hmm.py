"""Linear state space models against one dense normal distribution, the sequential Kalman filter, and integrals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, tensor
from torch.testing import assert_close

import ember
import ember.distributions as dist
from ember import poutine
from ember.distributions.gamma_gaussian import GammaGaussian, gamma_gaussian_tensordot, scale_mvn
from ember.distributions.linear_hmm import linear_chain
from ember.infer.reparam import LinearHMMReparam, StableReparam, StudentTReparam

pytestmark = pytest.mark.usefixtures("float64")
TIME, HIDDEN, SEEN = 5, 2, 3


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def mvn(n: int, *batch: int) -> Any:
    root = torch.randn(*batch, n, n)
    return dist.MultivariateNormal(torch.randn(*batch, n), root @ root.mT + torch.eye(n))


def diagonal(n: int, *batch: int) -> Any:
    return dist.Normal(torch.randn(*batch, n), torch.rand(*batch, n) + 0.5).to_event(1)


def parts(noise: Any = mvn, time: int = TIME) -> tuple[Any, ...]:
    moves, looks = 0.6 * torch.randn(time, HIDDEN, HIDDEN), torch.randn(time, HIDDEN, SEEN)
    return noise(HIDDEN), moves, noise(HIDDEN, time), looks, noise(SEEN, time)


def moments(fn: Any) -> tuple[Tensor, Tensor]:
    if isinstance(fn, torch.distributions.Independent):
        return fn.mean, fn.variance.diag_embed()
    return fn.loc, fn.covariance_matrix


def dense(initial: Any, moves: Tensor, transition: Any, looks: Tensor, noise: Any) -> tuple[Any, Any]:
    """The joint normal of all that is seen, step by step, and the filtered last state, as a function of it."""
    mean, cov = moments(initial)
    means, cross = [], []  # of states; covariances of the states so far with the present one
    for t in range(len(moves)):
        move_mean, move_cov = (m[t] for m in moments(transition))
        cross = [c @ moves[t] for c in cross]
        mean, cov = mean @ moves[t] + move_mean, moves[t].mT @ cov @ moves[t] + move_cov
        means.append(mean)
        cross.append(cov)
    look_mean, look_cov = moments(noise)
    n = len(moves)
    total = torch.zeros(n, n, HIDDEN, HIDDEN)
    for s in range(n):
        total[s, s] = state_cov(initial, moves, transition, s)
        for t in range(s + 1, n):
            total[s, t] = total[s, t - 1] @ moves[t]
            total[t, s] = total[s, t].mT
    loc = torch.stack(means).unsqueeze(-2) @ looks
    covariance = torch.einsum("sia,stij,tjb->satb", looks, total, looks)
    for t in range(n):
        covariance[t, :, t] += look_cov[t]
    seen = dist.MultivariateNormal(
        (loc.squeeze(-2) + look_mean).flatten(), covariance.reshape(n * SEEN, n * SEEN)
    )
    with_last = torch.einsum("sia,sij->saj", looks, total[:, -1]).reshape(n * SEEN, HIDDEN)

    def last(value: Tensor) -> tuple[Tensor, Tensor]:
        gain = torch.linalg.solve(seen.covariance_matrix, with_last).mT
        return means[-1] + gain @ (value.flatten() - seen.loc), total[-1, -1] - gain @ with_last

    return seen, last


def state_cov(initial: Any, moves: Tensor, transition: Any, t: int) -> Tensor:
    cov = moments(initial)[1]
    for k in range(t + 1):
        cov = moves[k].mT @ cov @ moves[k] + moments(transition)[1][k]
    return cov


@pytest.mark.parametrize("noise", [mvn, diagonal])
def test_density_and_filter_are_those_of_the_joint_normal(noise: Any) -> None:
    given = parts(noise)
    model = dist.GaussianHMM(*given)
    seen, last = dense(*given)
    value = torch.randn(7, TIME, SEEN)
    assert_close(model.log_prob(value), seen.log_prob(value.flatten(1)))
    filtered = model.filter(value)
    for i in range(7):
        mean, cov = last(value[i])
        assert_close(filtered.loc[i], mean)
        assert_close(filtered.covariance_matrix[i], cov)


@pytest.mark.parametrize("noise", [mvn, diagonal])
def test_draws_have_the_moments_of_the_joint_normal(noise: Any) -> None:
    given = parts(noise)
    seen, last = dense(*given)
    draws = dist.GaussianHMM(*given).sample((20000,)).flatten(1)
    sd = seen.variance.sqrt()
    assert_close(
        (draws.mean(0) - seen.loc) / sd, torch.zeros(TIME * SEEN), atol=0.04, rtol=0
    )  # 5 standard errors
    assert_close(
        draws.mT.cov() / sd / sd[:, None], seen.covariance_matrix / sd / sd[:, None], atol=0.06, rtol=0
    )
    value = torch.randn(TIME, SEEN)
    states = dist.GaussianHMM(*given).rsample_posterior(value, (20000,))
    mean, cov = last(value)
    assert states.shape == (20000, TIME, HIDDEN)
    assert_close((states[:, -1].mean(0) - mean) / cov.diagonal().sqrt(), torch.zeros(2), atol=0.04, rtol=0)
    assert_close(states[:, -1].mT.cov(), cov, atol=0.06 * cov.diagonal().max().item(), rtol=0)


def test_posterior_draws_follow_bayes_rule() -> None:
    """Density of the states given the sequence, from the joint density and that of the sequence, at draws of one step."""
    given = parts(mvn, 1)
    model, value = dist.GaussianHMM(*given, duration=1), torch.randn(1, SEEN)
    states = model.rsample_posterior(value, (5000,)).squeeze(1)
    _, last = dense(*given)
    mean, cov = last(value)
    z = torch.linalg.solve_triangular(torch.linalg.cholesky(cov), (states - mean).mT, upper=False)
    assert_close(z.square().sum(0).mean(), tensor(2.0), atol=0.15, rtol=0)


@pytest.mark.parametrize("noise", [mvn, diagonal])
def test_a_sequence_in_two_parts(noise: Any) -> None:
    model = dist.GaussianHMM(*parts(noise))
    value = model.sample((4,))
    rest = model.prefix_condition(value[:, :2])
    assert rest.batch_shape == (4,) and rest.event_shape == (3, SEEN)
    beginning = dist.GaussianHMM(
        *[part[:2] if isinstance(part, Tensor) else part for part in _first(model, noise, 2)]
    )
    assert_close(beginning.log_prob(value[:, :2]) + rest.log_prob(value[:, 2:]), model.log_prob(value))
    assert rest.rsample().shape == (4, 3, SEEN)
    with pytest.raises(AssertionError, match="no shorter than the whole, 5"):
        model.prefix_condition(value)


def _first(model: Any, noise: Any, time: int) -> tuple[Any, ...]:
    torch.manual_seed(0)
    initial, moves, transition, looks, seen = parts(noise)

    def cut(fn: Any) -> Any:
        if isinstance(fn, torch.distributions.Independent):
            return dist.Normal(fn.base_dist.loc[:time], fn.base_dist.scale[:time]).to_event(1)
        return dist.MultivariateNormal(fn.loc[:time], fn.covariance_matrix[:time])

    return initial, moves[:time], cut(transition), looks[:time], cut(seen)


@pytest.mark.parametrize("noise", [mvn, diagonal])
def test_conjugate_update(noise: Any) -> None:
    model = dist.GaussianHMM(*parts(noise))
    evidence = dist.Normal(torch.randn(3, TIME, SEEN), torch.rand(3, TIME, SEEN) + 0.3).to_event(2)
    updated, log_normalizer = model.conjugate_update(evidence)
    value = torch.randn(3, TIME, SEEN)
    assert updated.batch_shape == (3,) and log_normalizer.shape == (3,)
    assert_close(model.log_prob(value) + evidence.log_prob(value), updated.log_prob(value) + log_normalizer)
    assert updated.rsample((2,)).shape == (2, 3, TIME, SEEN)
    with pytest.raises(AssertionError, match="expected an Independent"):
        model.conjugate_update(dist.Normal(0.0, 1.0))


def test_one_model_for_sequences_of_any_length() -> None:
    walk = dist.GaussianHMM(mvn(2), 0.5 * torch.randn(2, 2), mvn(2), torch.randn(2, 1), mvn(1))
    assert walk.duration is None and walk.event_shape == (1, 1)
    assert walk.log_prob(torch.randn(6, 9, 1)).shape == (6,)
    assert walk.rsample_posterior(torch.randn(9, 1)).shape == (9, 2)
    with pytest.raises(AssertionError, match="needs a duration"):
        walk.sample()
    with pytest.raises(ValueError, match="duration, event_shape mismatch"):
        dist.GaussianHMM(*parts(), duration=3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({1: torch.zeros(2)}, "transition_matrix to have at least two dims"),
        ({1: torch.zeros(3, 3)}, r"transition_matrix has an event of shape \(3, 3\)"),
        ({0: dist.Normal(torch.zeros(3), 1.0).to_event(1)}, "initial_dist has an event"),
        ({4: dist.Normal(torch.zeros(2), 1.0).to_event(1)}, r"observation_dist has an event of shape \(2,\)"),
    ],
)
def test_sizes_that_do_not_fit(change: dict[int, Any], words: str) -> None:
    given = [change.get(i, part) for i, part in enumerate(parts())]
    for kind in (dist.GaussianHMM, dist.LinearHMM):
        with pytest.raises(ValueError, match=words):
            kind(*given)


def test_independent_models_side_by_side() -> None:
    each = dist.GaussianHMM(mvn(2, 4), 0.5 * torch.randn(4, 6, 2, 2), mvn(2, 6), torch.randn(2, 1), mvn(1))
    together = dist.IndependentHMM(each)
    assert together.event_shape == (6, 4) and together.batch_shape == () and together.duration == 6
    value = torch.randn(3, 6, 4)
    alone = each.log_prob(value.mT.unsqueeze(-1))
    assert_close(together.log_prob(value), alone.sum(-1))
    assert together.expand([5]).rsample((2,)).shape == (2, 5, 6, 4)
    with pytest.raises(ValueError, match="observations of size 1"):
        dist.IndependentHMM(dist.GaussianHMM(*parts()))


# ---- with a scale


def test_a_random_scale_is_integrated_out() -> None:
    given = parts()
    a, b = tensor(3.0), tensor(2.0)
    model = dist.GammaGaussianHMM(dist.Gamma(a, b), *given)
    seen, _ = dense(*given)
    heavy = dist.MultivariateStudentT(2 * a, seen.loc, seen.scale_tril * (b / a).sqrt())
    value = torch.randn(7, TIME, SEEN) * 3
    assert_close(model.log_prob(value), heavy.log_prob(value.flatten(1)))
    draws = model.sample((20000,)).flatten(1)
    spread = (draws - seen.loc) @ torch.linalg.inv(seen.scale_tril).mT
    # Squares of n standard normals over s: their mean is n times that of 1/s, b / (a - 1).
    assert_close(spread.square().sum(-1).mean() / (TIME * SEEN), tensor(1.0), atol=0.05, rtol=0)
    with pytest.raises(ValueError, match="initial_dist is a MultivariateNormal"):
        dist.GammaGaussianHMM(dist.Gamma(a, b), *parts(diagonal))
    with pytest.raises(ValueError, match="scale_dist is a Gamma"):
        dist.GammaGaussianHMM(dist.Exponential(a), *given)


def test_filtering_scale_and_state_goes_on_with_the_rest() -> None:
    initial, moves, transition, looks, seen = parts()
    scale = dist.Gamma(tensor(3.0), tensor(2.0))
    whole = dist.GammaGaussianHMM(scale, initial, moves, transition, looks, seen)
    value = torch.randn(TIME, SEEN)

    def cut(fn: Any, where: slice) -> Any:
        return dist.MultivariateNormal(fn.loc[where], fn.covariance_matrix[where])

    head, tail = slice(0, 2), slice(2, None)
    first = dist.GammaGaussianHMM(
        scale, initial, moves[head], cut(transition, head), looks[head], cut(seen, head)
    )
    scale_then, state_then = first.filter(value[:2])
    rest = dist.GammaGaussianHMM(
        scale_then, state_then, moves[tail], cut(transition, tail), looks[tail], cut(seen, tail)
    )
    assert_close(first.log_prob(value[:2]) + rest.log_prob(value[2:]), whole.log_prob(value))


def test_gamma_gaussian_factors() -> None:
    def factor(n: int) -> GammaGaussian:
        root = torch.randn(3, n, n)
        one = torch.rand(3) + 2
        return GammaGaussian(torch.randn(3), torch.randn(3, n), root @ root.mT + torch.eye(n), one, one + 3)

    f, s = factor(3), torch.rand(3) + 0.5
    x = torch.randn(3, 3)
    assert_close(f.condition(x[:, 1:]).log_density(x[:, :1], s), f.log_density(x, s))
    order = tensor([2, 0, 1])
    assert_close(f.event_permute(order).log_density(x[:, order], s), f.log_density(x, s))
    assert_close((f + f).log_density(x, s), 2 * f.log_density(x, s))
    assert_close(f.event_pad(right=1).log_density(torch.cat([x, x[:, :1]], -1), s), f.log_density(x, s))
    # Against an integral over a grid of one entry.
    grid = torch.linspace(-30, 30, 20001)[:, None]
    points = torch.cat([grid[:, None].expand(-1, 3, 1), x[:, 1:].expand(len(grid), 3, 2)], -1)
    by_grid = f.log_density(points, s).logsumexp(0) + tensor(60 / 20000).log()
    assert_close(f.marginalize(left=1).log_density(x[:, 1:], s), by_grid)
    # The compound of vectors, from the density of vectors and scale.
    gamma = f.event_logsumexp()
    joint = f.marginalize(left=2).condition(x[:, :1])
    alone = (
        joint.log_normalizer + torch.lgamma(joint.alpha + 1) - (joint.alpha + 1) * joint.beta.log()
    ) - gamma.logsumexp()
    assert_close(f.marginalize(left=2).compound().log_prob(x[:, :1]), alone)
    g = factor(4)
    y = torch.randn(3, 3)
    product = gamma_gaussian_tensordot(f, g, dims=2)
    both = f.event_pad(right=2) + g.event_pad(left=1)
    assert_close(
        product.log_density(y, s),
        both.event_permute(tensor([1, 2, 0, 3, 4])).marginalize(left=2).log_density(y, s),
    )
    normal = mvn(2)
    assert_close(scale_mvn(normal, tensor(4.0)).covariance_matrix * 4, normal.covariance_matrix)


# ---- a field


def test_a_field_is_the_normalised_product_of_its_factors() -> None:
    initial, transition, observation = mvn(1), mvn(2, 2), mvn(3, 2)
    field = dist.GaussianMRF(initial, transition, observation)
    assert field.event_shape == (2, 2)
    value = torch.randn(4, 2, 2)
    # All three states on a grid.
    grid = torch.linspace(-10, 10, 51)
    z = torch.stack(torch.meshgrid(grid, grid, grid, indexing="ij"), -1)
    chain = initial.log_prob(z[..., :1])
    for t in range(2):
        chain = (
            chain
            + transition.expand([2]).log_prob(z[..., None, t : t + 2].expand(*z.shape[:-1], 2, 2))[..., t]
        )
    cell = 3 * (grid[1] - grid[0]).log()
    alone = dist.MultivariateNormal(observation.loc[:, :1], observation.covariance_matrix[:, :1, :1])
    unseen, seen = chain, chain.expand(4, *chain.shape)
    for t in range(2):
        at = z[..., t + 1 : t + 2]
        unseen = unseen + alone.log_prob(at.unsqueeze(-2).expand(*at.shape[:-1], 2, 1))[..., t]
        both = torch.cat(
            [at.expand(4, *at.shape), value[:, t].reshape(4, 1, 1, 1, 2).expand(*seen.shape, 2)], -1
        )
        one = dist.MultivariateNormal(observation.loc[t], observation.covariance_matrix[t])
        seen = seen + one.log_prob(both)
    total = unseen.flatten().logsumexp(0) + cell
    assert_close(field.log_prob(value), seen.flatten(1).logsumexp(-1) + cell - total, atol=1e-3, rtol=0)
    assert field.expand([4]).log_prob(value).shape == (4,)
    with pytest.raises(NotImplementedError):
        field.sample()
    with pytest.raises(
        ValueError, match="transition_dist has 4 and observation_dist more than 2, got 2 and 3"
    ):
        dist.GaussianMRF(mvn(2), transition, observation)


# ---- noise of any family


@pytest.mark.parametrize("time", [1, 2, 3, 7, 8])
def test_chains_of_linear_maps(time: int) -> None:
    init, matrices, shifts = torch.randn(2, 3), torch.randn(2, time, 3, 3), torch.randn(2, time, 3)
    states, state = [], init
    for t in range(time):
        state = (state.unsqueeze(-2) @ matrices[:, t]).squeeze(-2) + shifts[:, t]
        states.append(state)
    assert_close(linear_chain(init, matrices, shifts), torch.stack(states, 1))


def test_draws_of_a_linear_model() -> None:
    given = parts(diagonal)
    seen, _ = dense(*given)
    draws = dist.LinearHMM(*given).sample((20000,)).flatten(1)
    sd = seen.variance.sqrt()
    assert_close((draws.mean(0) - seen.loc) / sd, torch.zeros(TIME * SEEN), atol=0.04, rtol=0)
    assert_close(draws.var(0) / sd**2, torch.ones(TIME * SEEN), atol=0.06, rtol=0)
    with pytest.raises(NotImplementedError, match="LinearHMMReparam"):
        dist.LinearHMM(*given).log_prob(draws[:1])


def test_observations_may_be_transformed() -> None:
    noise = dist.LogNormal(torch.zeros(TIME, SEEN), 1.0).to_event(1)
    model = dist.LinearHMM(*parts()[:4], noise)
    value = model.rsample((4,))
    assert (value > 0).all() and model.support.check(value).all()
    wide = model.expand([6])
    assert wide.rsample((2,)).shape == (2, 6, TIME, SEEN) and wide.batch_shape == (6,)


def heavy(*shape: int) -> Any:
    return dist.StudentT(4.0, torch.randn(*shape), 1.0).to_event(1)


def test_heavy_tails_become_normal_of_random_scale() -> None:
    moves, looks = 0.6 * torch.randn(HIDDEN, HIDDEN), torch.randn(HIDDEN, SEEN)
    model = dist.LinearHMM(heavy(HIDDEN), moves, heavy(TIME, HIDDEN), looks, heavy(TIME, SEEN))
    config = {"x": LinearHMMReparam(StudentTReparam(), StudentTReparam(), StudentTReparam())}
    with ember.plate("draws", 20000), poutine.trace() as tr, poutine.reparam(config=config):
        value = ember.sample("x", model)
    assert {"x_init_gamma", "x_trans_gamma", "x_obs_gamma"} <= set(tr.trace.nodes)
    assert isinstance(tr.trace.nodes["x"]["fn"], dist.GaussianHMM)
    plain = model.sample((20000,))
    levels = torch.linspace(0.1, 0.9, 5)
    assert_close(value.quantile(levels, dim=0), plain.quantile(levels, dim=0), atol=0.15, rtol=0.05)


def test_stable_noise_side_by_side_and_transformed() -> None:
    stable = dist.Stable(1.8, 0.1, torch.ones(4, 1, 1)).to_event(1)
    normal = dist.Normal(torch.zeros(4, 1, 1), 1.0).to_event(1)
    start = dist.Normal(torch.zeros(4, 1), 1.0).to_event(1)
    model = dist.IndependentHMM(
        dist.LinearHMM(start, torch.eye(1), normal, torch.eye(1), stable, duration=TIME)
    )
    config = {"x": LinearHMMReparam(obs=StableReparam())}
    observed = model.sample()
    with poutine.trace() as tr, poutine.reparam(config=config):
        ember.sample("x", model, obs=observed)
    assert tr.trace.nodes["x_obs_z_uniform"]["fn"].event_shape == (4, TIME, 1)
    assert isinstance(tr.trace.nodes["x"]["fn"], dist.IndependentHMM) and tr.trace.log_prob_sum().isfinite()
    noise = dist.LogNormal(torch.zeros(TIME, SEEN), 1.0).to_event(1)
    positive = dist.LinearHMM(*parts()[:4], noise)
    with poutine.trace() as tr, poutine.reparam(config={"x": LinearHMMReparam()}):
        ember.sample("x", positive)
    fn = tr.trace.nodes["x"]["fn"]
    assert isinstance(fn, dist.TransformedDistribution) and isinstance(fn.base_dist, dist.GaussianHMM)


def test_refusals_of_the_reparameteriser() -> None:
    model = dist.LinearHMM(
        heavy(HIDDEN), torch.eye(HIDDEN), mvn(HIDDEN), torch.eye(HIDDEN), mvn(HIDDEN), duration=3
    )
    with (
        pytest.raises(AssertionError, match="init is StudentT"),
        poutine.reparam(config={"x": LinearHMMReparam()}),
    ):
        ember.sample("x", model)
    with (
        pytest.raises(AssertionError, match="expected a LinearHMM"),
        poutine.reparam(config={"x": LinearHMMReparam()}),
    ):
        ember.sample("x", dist.Normal(0.0, 1.0))
    with pytest.raises(AssertionError, match="reparameteriser for trans"):
        LinearHMMReparam(trans=3)  # type: ignore[arg-type]
