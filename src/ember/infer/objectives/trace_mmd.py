"""Likelihood, and the maximum mean discrepancy between the guide's samples and the prior's in the place of the divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.infer.objectives import hooks
from ember.infer.objectives.composition import Composition
from ember.infer.objectives.elbo import ELBO, Program
from ember.infer.terms.estimate import Combination, Estimate, Terms, Worth
from ember.infer.traces.importance_trace import Traces
from ember.infer.traces.run import Run, runner_of
from ember.infer.traces.settings import Settings, nesting_by_old_name
from ember.poutine.trace_struct import Trace

Kernel = Callable[..., Tensor]
"""``kernel(X)``, ``kernel(X, Z)``: the similarities of rows, ``(n, n)`` and ``(n, m)`` for ``(n, d)`` and ``(m, d)``."""


class _SameForAll(dict[str, Any]):
    """A dict that has one value for all keys but its own."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def __missing__(self, key: str) -> Any:
        return self.value

    def __reduce__(self) -> Any:
        return (_SameForAll, (self.value,))


def _compute_mmd(X: Tensor, Z: Tensor, kernel: Kernel) -> Tensor:
    return kernel(X).mean() + kernel(Z).mean() - 2 * kernel(X, Z).mean()


@dataclass(frozen=True)
class LikelihoodTerms(Terms):
    """The likelihood alone."""

    def estimate(self, model_trace: Trace, guide_trace: Trace, settings: Settings) -> Estimate:
        likelihood = _log_likelihood(model_trace, guide_trace)
        return Estimate(likelihood, likelihood)


@dataclass(frozen=True)
class Discrepancy(Combination):
    """The mean likelihood less the discrepancy of all samples of the guide from as many of the prior."""

    kernel: Mapping[str, Kernel]
    scale: Mapping[str, float]

    def estimates(
        self, pairs: Iterator[Traces], run: Run, settings: Settings, worth: Worth
    ) -> Iterator[tuple[Traces | tuple[()], Estimate]]:
        likelihood, penalty, traces = self.parts(pairs, run, settings)
        value = likelihood - penalty
        yield traces, Estimate(value, value)

    def parts(self, pairs: Iterator[Traces], run: Run, settings: Settings) -> tuple[Any, Any, Traces]:
        """The log likelihood, the scaled discrepancies, and the last pair of traces."""
        if settings.vectorize_particles:
            run = run.in_particle_plate(settings)
        likelihood: Any = 0.0
        samples: dict[str, list[tuple[Tensor, Tensor]]] = {}
        traces = None
        for traces in pairs:
            prior_trace = poutine.trace(run.model).get_trace(*run.args, **run.kwargs)
            likelihood = likelihood + _log_likelihood(*traces) / settings.num_particles
            for name in _latents(*traces):
                pair = _samples(name, prior_trace, traces[1], settings)
                samples.setdefault(name, []).append(pair)
        penalty: Any = 0.0
        for name, columns in samples.items():
            prior, posterior = (torch.cat(column) for column in zip(*columns, strict=True))
            penalty = penalty + self.scale[name] * _compute_mmd(prior, posterior, self.kernel[name])
        assert traces is not None
        return likelihood, penalty, traces


class Trace_MMD(ELBO):
    """Computes the loss ``-E[log p(x | z)] + mmd_scale * MMD(q(z), p(z))``, with an MMD for each latent.

    MMD is the maximum mean discrepancy.

    Only particles count as samples for the discrepancy, all other dims as one event: so it takes many
    particles. All latents must be reparameterised, in guide and model.

    Args:
        kernel: a callable ``kernel(X, Z=None)`` that returns the matrix of similarities of rows, such as a
            module from ``contrib.gp.kernels``, or a dict of them by latent. Modules have their parameters
            frozen.
        mmd_scale: a number, or a dict of numbers by latent.
        num_particles: how many samples.
        max_plate_nesting: how many dims from the right belong to plates.
        max_iarange_nesting: deprecated name of ``max_plate_nesting``.
        vectorize_particles: draw all particles in one run.
        strict_enumeration_warning: as for :class:`ELBO`.
        ignore_jit_warnings: without effect.
        retain_graph: keep the autograd graph of a step.

    Raises:
        TypeError: if a kernel is not callable or a scale no number.
        ValueError: if a latent is not reparameterised.

    References:
        S. Zhao, J. Song, S. Ermon (2019), "InfoVAE: Balancing Learning and Inference in Variational
        Autoencoders".

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def kernel(x, z=None):
    ...     return (-torch.cdist(x, x if z is None else z).square()).exp()
    >>> def model():
    ...     z = ember.sample("z", dist.Normal(0.0, 1.0))
    ...     ember.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(1.0))
    >>> def guide():
    ...     ember.sample("z", dist.Normal(0.5, 0.7))
    >>> ember.infer.Trace_MMD(kernel, num_particles=100).loss(model, guide) > 0
    True
    """

    def __init__(
        self,
        kernel: Kernel | dict[str, Kernel],
        mmd_scale: float | dict[str, float] = 1,
        num_particles: int = 10,
        max_plate_nesting: float = math.inf,
        max_iarange_nesting: float | None = None,
        vectorize_particles: bool = True,
        strict_enumeration_warning: bool = True,
        ignore_jit_warnings: bool = False,
        retain_graph: bool | None = None,
    ) -> None:
        super().__init__(
            num_particles,
            nesting_by_old_name(max_plate_nesting, max_iarange_nesting, stacklevel=2),
            vectorize_particles=vectorize_particles,
            strict_enumeration_warning=strict_enumeration_warning,
            ignore_jit_warnings=ignore_jit_warnings,
            retain_graph=retain_graph,
        )
        self.kernel = kernel
        self.mmd_scale = mmd_scale

    @property
    def kernel(self) -> dict[str, Kernel]:
        """The kernel of each latent."""
        return self._kernel

    @kernel.setter
    def kernel(self, kernel: Kernel | dict[str, Kernel]) -> None:
        kernels = list(kernel.values()) if isinstance(kernel, dict) else [kernel]
        for one in kernels:
            if not callable(one):
                raise TypeError(
                    f"`kernel` should be a callable kernel(X, Z=None) or a dict of them, got {one!r}"
                )
            if isinstance(one, torch.nn.Module):
                one.requires_grad_(False)
        self._kernel = kernel if isinstance(kernel, dict) else _SameForAll(kernel)

    @property
    def mmd_scale(self) -> dict[str, float]:
        """The factor of the discrepancy of each latent."""
        return self._mmd_scale

    @mmd_scale.setter
    def mmd_scale(self, mmd_scale: float | dict[str, float]) -> None:
        if isinstance(mmd_scale, dict):
            self._mmd_scale = mmd_scale
        elif isinstance(mmd_scale, (int, float)):
            self._mmd_scale = _SameForAll(float(mmd_scale))
        else:
            raise TypeError("`mmd_scale` should be either float, or a dict of floats")

    def composition(self) -> Composition:
        return Composition(
            runner_of(self.settings),
            LikelihoodTerms(),
            combination=Discrepancy(self._kernel, self._mmd_scale),
        )

    @hooks.own
    def _differentiable_loss_parts(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        """The log likelihood and the scaled discrepancies."""
        pairs = self._get_traces(model, guide, args, kwargs)
        run = self._run(model, guide, args, kwargs)
        return Discrepancy(self._kernel, self._mmd_scale).parts(pairs, run, self.settings)[:2]


def _samples(name: str, prior_trace: Trace, guide_trace: Trace, settings: Settings) -> tuple[Tensor, Tensor]:
    """One row a particle: the samples of prior and guide."""
    found = []
    for role, trace in (("Model", prior_trace), ("Guide", guide_trace)):
        site = trace.nodes[name]
        if not site.fn.has_rsample:
            raise ValueError(f"{role} site {name} is not reparameterizable")
        # The plate of particles stands left of all others.
        found.append(site.value.reshape(settings.num_particles if settings.vectorize_particles else 1, -1))
    return found[0], found[1]


def _latents(model_trace: Trace, guide_trace: Trace) -> list[str]:
    return [
        name
        for name, site in model_trace.nodes.items()
        if site.type == "sample" and not site.is_observed and name in guide_trace
    ]


def _log_likelihood(model_trace: Trace, guide_trace: Trace) -> Any:
    latents = set(_latents(model_trace, guide_trace))
    result: Any = 0.0
    for name, site in model_trace.nodes.items():
        if site.type == "sample" and name not in latents:
            result = result + site.log_prob_sum
    return result
