"""The same maths written by hand in eager torch: tensor formulas, one Adam, nothing in between.

Noise is drawn in the order and shapes of the guides in ``programs.py``, so that the same seed gives the same losses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import torch
from torch.distributions.dirichlet import _Dirichlet
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks import data
from benchmarks.programs import SCALARS, Decoder, Encoder

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
Leaves = list[torch.Tensor]


class ByHand(NamedTuple):
    """The negative ELBO as a function without arguments, and the leaves that it depends on."""

    loss: Callable[[], torch.Tensor]
    leaves: Leaves


def _leaf(value: torch.Tensor) -> torch.Tensor:
    return value.clone().requires_grad_()


def _log_normal(x: torch.Tensor, loc: torch.Tensor | float, scale: float) -> torch.Tensor:
    return -0.5 * ((x - loc) / scale).square() - (math.log(scale) + HALF_LOG_TAU)


def _entropy_term(noise: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """log q(z) of ``z = loc + exp(log_scale) * noise``, where the path through z cancels."""
    return -0.5 * noise.square() - log_scale - HALF_LOG_TAU


def beta_bernoulli() -> ByHand:
    flips = torch.tensor(data.FLIPS)
    heads, tails = flips.sum(), (1 - flips).sum()
    log_alpha, log_beta = (_leaf(torch.tensor(15.0).log()) for _ in range(2))
    log_norm_prior = 2 * math.lgamma(10.0) - math.lgamma(20.0)

    def loss() -> torch.Tensor:
        concentration = torch.stack([log_alpha, log_beta]).exp()
        log_f, log_1mf = _Dirichlet.apply(concentration).log()
        log_q = (
            ((concentration - 1) * torch.stack([log_f, log_1mf])).sum()
            - torch.lgamma(concentration).sum()
            + torch.lgamma(concentration.sum())
        )
        log_p = (9.0 + heads) * log_f + (9.0 + tails) * log_1mf - log_norm_prior
        return log_q - log_p

    return ByHand(loss, [log_alpha, log_beta])


def eight_schools() -> ByHand:
    effects, errors = torch.tensor(data.EFFECTS), torch.tensor(data.ERRORS)
    mu_loc, mu_log = _leaf(torch.tensor(0.0)), _leaf(torch.tensor(0.0))
    tau_loc, tau_log = _leaf(torch.tensor(0.0)), _leaf(torch.tensor(0.5).log())
    theta_loc, theta_log = _leaf(torch.zeros(8)), _leaf(torch.zeros(8))
    constant = errors.log().sum() + 8 * HALF_LOG_TAU

    def loss() -> torch.Tensor:
        mu_noise, tau_noise, theta_noise = torch.randn(()), torch.randn(()), torch.randn(8)
        mu = mu_loc + mu_log.exp() * mu_noise
        log_tau = tau_loc + tau_log.exp() * tau_noise
        theta = theta_loc + theta_log.exp() * theta_noise
        log_q = (
            _entropy_term(mu_noise, mu_log)
            + _entropy_term(tau_noise, tau_log)
            + _entropy_term(theta_noise, theta_log).sum()
        )
        log_theta = -0.5 * ((theta - mu) * (-log_tau).exp()).square().sum() - 8 * (log_tau + HALF_LOG_TAU)
        log_effects = -0.5 * ((effects - theta) / errors).square().sum() - constant
        return log_q - _log_normal(mu, 0.0, 5.0) - _log_normal(log_tau, 0.0, 1.0) - log_theta - log_effects

    return ByHand(loss, [mu_loc, mu_log, tau_loc, tau_log, theta_loc, theta_log])


def logistic_regression(rows_in_batch: int | None = None) -> ByHand:
    x, y = (torch.tensor(values) for values in data.covariates())
    w_loc, b_loc = _leaf(torch.zeros(x.shape[1])), _leaf(torch.tensor(0.0))
    w_log = _leaf(torch.full_like(w_loc, 0.1).log())
    b_log = _leaf(torch.tensor(0.1).log())

    def loss() -> torch.Tensor:
        w_noise, b_noise = torch.randn(x.shape[1]), torch.randn(())
        weight, bias = w_loc + w_log.exp() * w_noise, b_loc + b_log.exp() * b_noise
        chosen_x, chosen_y, scale = x, y, 1.0
        if rows_in_batch is not None:
            rows = torch.randperm(len(x))[:rows_in_batch]
            chosen_x, chosen_y, scale = x[rows], y[rows], len(x) / rows_in_batch
        logits = torch.addmv(bias, chosen_x, weight)
        log_q = _entropy_term(w_noise, w_log).sum() + _entropy_term(b_noise, b_log)
        log_prior = _log_normal(weight, 0.0, 1.0).sum() + _log_normal(bias, 0.0, 1.0)
        return log_q - log_prior + scale * binary_cross_entropy_with_logits(logits, chosen_y, reduction="sum")

    return ByHand(loss, [w_loc, w_log, b_loc, b_log])


def linear_mixed() -> ByHand:
    x, group, y = (torch.tensor(values) for values in data.grouped())
    groups = int(group.max()) + 1
    locs = [_leaf(torch.tensor(0.0)) for _ in SCALARS]
    logs = [_leaf(torch.tensor(0.1).log()) for _ in SCALARS]
    offset_loc, offset_log = _leaf(torch.zeros(groups)), _leaf(torch.full((groups,), 0.1).log())

    def loss() -> torch.Tensor:
        noise = [torch.randn(()) for _ in SCALARS]
        offset_noise = torch.randn(groups)
        z = [loc + log.exp() * e for loc, log, e in zip(locs, logs, noise, strict=True)]
        log_ratio = sum(
            _entropy_term(e, log) - _log_normal(value, 0.0, 1.0)
            for e, log, value in zip(noise, logs, z, strict=True)
        )
        intercept, slope, log_tau, log_sigma = z
        offset = offset_loc + offset_log.exp() * offset_noise
        log_offset = -0.5 * (offset * (-log_tau).exp()).square().sum() - groups * (log_tau + HALF_LOG_TAU)
        residual = (y - (intercept + slope * x + offset[group])) * (-log_sigma).exp()
        log_y = -0.5 * residual.square().sum() - len(y) * (log_sigma + HALF_LOG_TAU)
        return log_ratio + _entropy_term(offset_noise, offset_log).sum() - log_offset - log_y

    scalars = [leaf for pair in zip(locs, logs, strict=True) for leaf in pair]
    return ByHand(loss, [*scalars, offset_loc, offset_log])


def many_parameters() -> ByHand:
    x = torch.tensor(data.observations(data.PARAMETERS))
    leaves = [_leaf(torch.tensor(0.0)) for _ in range(data.PARAMETERS)]

    def loss() -> torch.Tensor:
        noise = torch.randn(data.PARAMETERS)
        z = torch.stack(leaves) + 0.5 * noise
        log_q = -0.5 * noise.square() - (math.log(0.5) + HALF_LOG_TAU)
        return (log_q - _log_normal(z, 0.0, 1.0) - _log_normal(x, z, 1.0)).sum()

    return ByHand(loss, leaves)


def scalar_sites(sites: int = data.SITES) -> ByHand:
    x = torch.tensor(data.observations(sites))
    locs = [_leaf(torch.tensor(0.0)) for _ in range(sites)]
    logs = [_leaf(torch.tensor(0.5).log()) for _ in range(sites)]

    def loss() -> torch.Tensor:
        total, z = 0.0, []
        for loc, log_scale in zip(locs, logs, strict=True):
            noise = torch.randn(())
            z.append(loc + log_scale.exp() * noise)
            total = total + _entropy_term(noise, log_scale) - _log_normal(z[-1], 0.0, 1.0)
        return total - _log_normal(x, torch.stack(z), 1.0).sum()

    return ByHand(loss, [leaf for pair in zip(locs, logs, strict=True) for leaf in pair])


def scalar_sites_as_a_vector() -> ByHand:
    """What one would write who knows that all sites are alike; no contender, but shown beside them."""
    x = torch.tensor(data.observations())
    loc, log_scale = _leaf(torch.zeros(data.SITES)), _leaf(torch.full((data.SITES,), 0.5).log())

    def loss() -> torch.Tensor:
        noise = torch.randn(data.SITES)
        z = loc + log_scale.exp() * noise
        return (_entropy_term(noise, log_scale) - _log_normal(z, 0.0, 1.0) - _log_normal(x, z, 1.0)).sum()

    return ByHand(loss, [loc, log_scale])


def vae() -> ByHand:
    torch.manual_seed(0)
    encoder, decoder = Encoder(), Decoder()
    x = torch.tensor(data.images())

    def loss() -> torch.Tensor:
        noise = torch.randn(data.BATCH, data.LATENT)
        h = torch.tanh(encoder.hidden(x))
        log_scale = encoder.log_scale(h)
        z = encoder.loc(h) + log_scale.exp() * noise
        log_ratio = (0.5 * (z.square() - noise.square()) - log_scale).sum()
        return log_ratio + binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")

    return ByHand(loss, [*encoder.parameters(), *decoder.parameters()])


MODELS: dict[str, Callable[[], ByHand]] = {
    "beta_bernoulli": beta_bernoulli,
    "eight_schools": eight_schools,
    "logistic_regression": logistic_regression,
    "scalar_sites": scalar_sites,
    "scalar_sites_as_a_vector": scalar_sites_as_a_vector,
    "vae": vae,
    "logistic_batches": partial(logistic_regression, data.ROWS_IN_BATCH),
    "linear_mixed": linear_mixed,
    "scalar_sites_300": partial(scalar_sites, data.MANY_SITES),
    "scalar_sites_1000": partial(scalar_sites, data.MOST_SITES),
    "many_parameters": many_parameters,
}


def eager_step(by_hand: ByHand, rate: float) -> Callable[[], float]:
    """A training loop's body: loss, backward, torch's Adam."""
    adam = torch.optim.Adam(by_hand.leaves, lr=rate)

    def step() -> float:
        loss = by_hand.loss()
        loss.backward()
        adam.step()
        adam.zero_grad()
        return loss.item()

    return step


def compiled_step(by_hand: ByHand, rate: float) -> Callable[[], float]:
    """Loss, gradients and an Adam in tensors, all in one ``torch.compile``, which draws torch's own random numbers."""

    @cache
    def compiled() -> Callable[[], torch.Tensor]:
        import torch._dynamo
        import torch._inductor.config

        torch._dynamo.config.trace_autograd_ops = True
        torch._inductor.config.fallback_random = True
        return torch.compile(_whole_step(by_hand, rate), fullgraph=True, dynamic=False)

    return lambda: compiled()().item()


def _whole_step(by_hand: ByHand, rate: float) -> Callable[[], torch.Tensor]:
    loss_of, leaves = by_hand
    means, squares = ([torch.zeros_like(leaf) for leaf in leaves] for _ in range(2))
    count = torch.zeros(())

    def step() -> torch.Tensor:
        loss = loss_of()
        grads = torch.autograd.grad(loss, leaves)
        with torch.no_grad():
            count.add_(1)
            size, root = rate / (1 - 0.9**count), (1 - 0.999**count).sqrt()
            for leaf, grad, mean, square in zip(leaves, grads, means, squares, strict=True):
                mean.lerp_(grad, 0.1)
                square.mul_(0.999).addcmul_(grad, grad, value=0.001)
                leaf.sub_(size * mean / (square.sqrt() / root + 1e-8))
        return loss.detach()

    return step
