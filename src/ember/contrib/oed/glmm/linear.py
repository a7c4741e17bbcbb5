"""Bayesian linear regression with its responses and random effects, and the guide of its conjugate family."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Size, Tensor
from torch.nn.functional import softplus

import ember.distributions as dist
from ember.caller import stacklevel
from ember.contrib.util import iter_plates_to_shape, rmv
from ember.distributions import constraints
from ember.distributions.transforms import AffineTransform, SigmoidTransform
from ember.primitives import param, sample

# The distance of one to the next number, in float32: what programs keep probabilities away from 0 and 1 by.
epsilon = torch.tensor(2**-24)


def bayesian_linear_model(
    design: Tensor,
    w_means: Mapping[str, Tensor] = {},
    w_sqrtlambdas: Mapping[str, Tensor] = {},
    re_group_sizes: Mapping[str, int] = {},
    re_alphas: Mapping[str, Tensor] = {},
    re_betas: Mapping[str, Tensor] = {},
    obs_sd: Tensor | None = None,
    alpha_0: Tensor | None = None,
    beta_0: Tensor | None = None,
    response: str = "normal",
    response_label: str = "y",
    k: Tensor | None = None,
) -> Any:
    r"""Linear regression ``y ~ X w``, with normal coefficients whose scale is that of the noise.

    A fixed effect is drawn from ``Normal(w_mean, obs_sd / w_sqrtlambda)``. Random effects of a group are normal around zero, and
    the precision of a group is drawn from a Gamma distribution, at the site ``"G_" + name``. Without ``obs_sd``, the noise's
    precision is drawn from a Gamma distribution, at the site "tau".

    Args:
        design: ``(..., n, p)``, of n observations and all p coefficients in the order of their names below.
        w_means: prior means of fixed effects, by name.
        w_sqrtlambdas: the noise's standard deviation over that of the prior, by name.
        re_group_sizes: how many random effects share their precisions, by name.
        re_alphas: shapes of their Gamma distributions.
        re_betas: rates of these.
        obs_sd: the noise's standard deviation.
        alpha_0: the shape of the Gamma distribution of its precision, if it is not known.
        beta_0: the rate of this.
        response: "normal"; "bernoulli", with ``X w`` as log odds; or "sigmoid", of a normal response times ``k``.
        response_label: the site of the observations.
        k: slopes of the sigmoid, ``(..., n)``.

    Returns:
        The observations, ``(..., n)``.

    Raises:
        ValueError: for another response, or if what it needs is not given.
    """
    batch_shape = design.shape[:-2]
    with ExitStack() as stack:
        for plate in iter_plates_to_shape(batch_shape):
            stack.enter_context(plate)
        if obs_sd is None:
            noise = 1.0 / _precision(alpha_0, beta_0).sqrt()
        else:
            noise = obs_sd
            if alpha_0 is not None or beta_0 is not None:
                warnings.warn(
                    "alpha_0 and beta_0 are not used: obs_sd is given", UserWarning, stacklevel=stacklevel()
                )
        noise = noise.expand((*batch_shape, 1))
        w = [
            sample(name, dist.Normal(w_means[name], noise / sqrtlambda).to_event(1))
            for name, sqrtlambda in w_sqrtlambdas.items()
        ]
        for name, size in re_group_sizes.items():
            G = sample("G_" + name, dist.Gamma(re_alphas[name], re_betas[name]).to_event(1))
            scale = (1.0 / G.sqrt()).repeat((1,) * len(batch_shape) + (size,))
            w.append(sample(name, dist.Normal(torch.tensor(0.0), scale).to_event(1)))
        mean = rmv(design, broadcast_cat(w))
        return sample(response_label, _response(response, mean, noise, k))


def _precision(alpha_0: Tensor | None, beta_0: Tensor | None) -> Any:
    if alpha_0 is None or beta_0 is None:
        raise ValueError("the noise of a linear model: give obs_sd, or alpha_0 and beta_0")
    return sample("tau", precision_of_noise(alpha_0, beta_0))


def precision_of_noise(alpha: Tensor, beta: Tensor) -> Any:
    """The Gamma distribution of the noise's precision, one event of size 1 for each design."""
    return dist.Gamma(alpha.unsqueeze(-1), beta.unsqueeze(-1)).to_event(1)


def _response(response: str, mean: Tensor, noise: Tensor, k: Tensor | None) -> Any:
    if response == "normal":
        return dist.Normal(mean, noise).to_event(1)
    if response == "bernoulli":
        return dist.Bernoulli(logits=mean).to_event(1)
    if response == "sigmoid":
        if k is None:
            raise ValueError('response="sigmoid" needs k, the slopes')
        slope = AffineTransform(loc=torch.tensor(0.0), scale=k.expand(mean.shape))
        return dist.TransformedDistribution(dist.Normal(mean, noise).to_event(1), [slope, SigmoidTransform()])
    raise ValueError(f"Unknown response distribution: '{response}'; there are normal, bernoulli and sigmoid")


def normal_inv_gamma_family_guide(
    design: Tensor, obs_sd: Tensor | None, w_sizes: Mapping[str, Size], mf: bool = False
) -> None:
    """Multivariate normal coefficients whose scale is that of the noise, with parameters for each design.

    Parameters are ``<name>_guide_mean`` and ``<name>_guide_scale_tril``; if the noise is not known, also "invsoftplus_alpha" and
    "invsoftplus_beta", of the Gamma distribution of its precision "tau".

    Args:
        design: ``(..., n, p)``.
        obs_sd: the noise's standard deviation; None if it is not known.
        w_sizes: shapes ``(p,)`` of the coefficients, by name.
        mf: do not scale with the noise.
    """
    shape = design.shape[:-2]
    with ExitStack() as stack:
        for plate in iter_plates_to_shape(shape):
            stack.enter_context(plate)
        if obs_sd is None:
            noise = 1.0 / _guided_precision(shape).sqrt()
        else:
            noise = obs_sd.expand(shape).unsqueeze(-1)
        for name, size in w_sizes.items():
            loc = param(f"{name}_guide_mean", torch.zeros((*shape, *size)))
            scale_tril = param(
                f"{name}_guide_scale_tril",
                torch.eye(*size).expand((*shape, *size, *size)),
                constraint=constraints.lower_cholesky,
            )
            scaled = scale_tril if mf else noise.unsqueeze(-1) * scale_tril
            sample(name, dist.MultivariateNormal(loc, scale_tril=scaled))


def _guided_precision(shape: Size) -> Any:
    alpha, beta = (
        softplus(param(f"invsoftplus_{which}", 20.0 * torch.ones(shape))) for which in ("alpha", "beta")
    )
    return sample("tau", precision_of_noise(alpha, beta))


def analytic_posterior_cov(prior_cov: Tensor, x: Tensor, obs_sd: Tensor | float) -> Tensor:
    """The posterior covariance of coefficients in linear regression with known noise.

    Args:
        prior_cov: ``(p, p)``.
        x: the design, ``(n, p)``.
        obs_sd: the noise's standard deviation.

    >>> analytic_posterior_cov(torch.eye(1), torch.tensor([[3.0]]), torch.tensor(1.0))
    tensor([[0.1000]])
    """
    signal = prior_cov.mm(x.t().mm(x))
    noise = obs_sd**2 * torch.eye(len(prior_cov), dtype=prior_cov.dtype, device=prior_cov.device)
    covariance: Tensor = prior_cov - torch.linalg.solve(signal + noise, signal.mm(prior_cov))
    return covariance


def broadcast_cat(ws: Sequence[Tensor]) -> Tensor:
    """Tensors side by side along the last dim, the others broadcast.

    >>> broadcast_cat([torch.zeros(3, 1), torch.ones(2)]).shape
    torch.Size([3, 3])
    """
    batch = torch.broadcast_shapes(*(w.shape[:-1] for w in ws))  # type: ignore[no-untyped-call]
    return torch.cat([w.expand((*batch, w.shape[-1])) for w in ws], dim=-1)
