"""Stein variational gradient descent: particles that move towards the posterior and away from one another.

Q. Liu and D. Wang (2016), *Stein variational gradient descent: a general purpose Bayesian inference
algorithm*.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to

import ember.distributions as dist
from ember import poutine
from ember.infer.autoguide.base.initialization import init_to_sample
from ember.infer.autoguide.packed.continuous import AutoContinuous
from ember.infer.objectives.trace_elbo import Trace_ELBO
from ember.optim.optim import PyroOptim
from ember.primitives import param, plate

Program = Callable[..., Any]
_MODES = ("univariate", "multivariate")
_PARTICLES = "svgd_particles"


def vectorize(fn: Program, num_particles: int, max_plate_nesting: int) -> Program:
    """The program in a plate of particles, left of its own plates.

    Args:
        fn: a program that broadcasts.
        num_particles: the size of the plate.
        max_plate_nesting: how many plates are nested in the program.
    """

    def vectorized(*args: object, **kwargs: object) -> Any:
        with plate("num_particles_vectorized", num_particles, dim=-max_plate_nesting - 1):
            return fn(*args, **kwargs)

    return vectorized


class _SVGDGuide(AutoContinuous):
    """All particles of all sites as one point."""

    def __init__(self, model: Program) -> None:
        super().__init__(model, init_loc_fn=init_to_sample)

    def get_posterior(self, *args: object, **kwargs: object) -> Any:
        return dist.Delta(param(_PARTICLES, self._init_loc), event_dim=1)


class SteinKernel(ABC):
    """Base of kernels between particles, one for each dim."""

    @abstractmethod
    def log_kernel_and_grad(self, particles: Tensor) -> tuple[Tensor, Tensor]:
        """Kernels in the log domain, and their derivatives.

        Args:
            particles: of shape (N, D).

        Returns:
            Logs of shape (N, N, D), and of the same shape, at ``[n, m, d]``, the derivative of the log by
                coordinate ``d`` of particle ``n``.
        """


def _bandwidth(norm_sq: Tensor, factor: float | None) -> Tensor:
    """The median of squared distances over ``log(N + 1)``, for each dim."""
    rows = norm_sq.size(0)
    if rows < 2:
        raise ValueError("a bandwidth needs at least two particles")
    above = torch.arange(rows).unsqueeze(-1) < torch.arange(rows)
    median = norm_sq[above].median(dim=0)[0]
    h = median / math.log(rows + 1)
    return h if factor is None else h * factor


class _Scaled(SteinKernel):
    def __init__(self, bandwidth_factor: float | None) -> None:
        self.bandwidth_factor = bandwidth_factor

    @property
    def bandwidth_factor(self) -> float | None:
        """What the bandwidth is multiplied by; one if None."""
        return self._bandwidth_factor

    @bandwidth_factor.setter
    def bandwidth_factor(self, factor: float | None) -> None:
        assert factor is None or factor > 0.0, "bandwidth_factor must be positive."
        self._bandwidth_factor = factor

    def _distances(self, particles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        differences = particles.unsqueeze(0) - particles.unsqueeze(1)
        norm_sq = differences.square()
        return differences, norm_sq, _bandwidth(norm_sq, self.bandwidth_factor)


class RBFSteinKernel(_Scaled):
    """Compares particles by ``exp(-(x - y)^2 / h)``, with the median heuristic for ``h``.

    Args:
        bandwidth_factor: what ``h`` is multiplied by; 1 if None.

    Raises:
        AssertionError: if it is not positive.

    >>> import torch
    >>> from ember.infer import RBFSteinKernel
    >>> log_kernel, gradient = RBFSteinKernel().log_kernel_and_grad(torch.randn(5, 2))
    >>> log_kernel.shape, gradient.shape
    (torch.Size([5, 5, 2]), torch.Size([5, 5, 2]))
    """

    def __init__(self, bandwidth_factor: float | None = None) -> None:
        super().__init__(bandwidth_factor)

    def log_kernel_and_grad(self, particles: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`SteinKernel.log_kernel_and_grad`."""
        differences, norm_sq, h = self._distances(particles)
        return -(norm_sq / h), 2.0 * differences / h


class IMQSteinKernel(_Scaled):
    """Compares particles by ``(alpha + (x - y)^2 / h)^beta``, with the median heuristic for ``h``.

    W. Y. Chen, L. Mackey, J. Gorham, F.-X. Briol and C. J. Oates (2018), *Stein points*.

    Args:
        alpha: a positive number.
        beta: a negative number.
        bandwidth_factor: what ``h`` is multiplied by; 1 if None.

    Raises:
        AssertionError: for numbers of the wrong sign.

    >>> import torch
    >>> from ember.infer import IMQSteinKernel
    >>> log_kernel, gradient = IMQSteinKernel().log_kernel_and_grad(torch.randn(5, 2))
    >>> log_kernel.shape, gradient.shape
    (torch.Size([5, 5, 2]), torch.Size([5, 5, 2]))
    """

    def __init__(self, alpha: float = 0.5, beta: float = -0.5, bandwidth_factor: float | None = None) -> None:
        assert alpha > 0.0, "alpha must be positive."
        assert beta < 0.0, "beta must be negative."
        self.alpha = alpha
        self.beta = beta
        super().__init__(bandwidth_factor)

    def log_kernel_and_grad(self, particles: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`SteinKernel.log_kernel_and_grad`."""
        differences, norm_sq, h = self._distances(particles)
        base = self.alpha + norm_sq / h
        return self.beta * base.log(), -2.0 * self.beta * differences / (h * base)


class SVGD:
    """Fits particles to the posterior of a model of continuous variables that broadcasts.

    Args:
        model: the program.
        kernel: what particles repel each other by, such as :class:`RBFSteinKernel`.
        optim: an optimizer, such as :class:`ember.optim.Adam`.
        num_particles: how many particles there are, at least two.
        max_plate_nesting: how many plates are nested in the model.
        mode: "multivariate", one kernel of all dims, or "univariate", one for each: R. Singhal, S. Lahlou and
            R. Ranganath (2019), *Kernelized complete conditional Stein discrepancy*.

    Raises:
        AssertionError: for a bad kernel, optimizer or mode.

    >>> import ember
    >>> from ember import distributions as dist
    >>> from ember.infer import RBFSteinKernel, SVGD
    >>> def model():
    ...     ember.sample("z", dist.Normal(3.0, 1.0))
    >>> ember.clear_param_store(); ember.set_rng_seed(0)
    >>> svgd = SVGD(model, RBFSteinKernel(), ember.optim.Adam({"lr": 0.1}), num_particles=20, max_plate_nesting=0)
    >>> for _ in range(200):
    ...     _ = svgd.step()
    >>> round(svgd.get_named_particles()["z"].mean().item(), 1)
    3.0
    """

    def __init__(
        self,
        model: Program,
        kernel: SteinKernel,
        optim: PyroOptim,
        num_particles: int,
        max_plate_nesting: int,
        mode: str = "univariate",
    ) -> None:
        assert callable(model), f"model is a program, and not {type(model).__name__}"
        assert isinstance(kernel, SteinKernel), "Must provide a valid SteinKernel"
        assert isinstance(optim, PyroOptim), "Must provide a valid Pyro optimizer"
        assert num_particles > 1, "Must use at least two particles"
        assert max_plate_nesting >= 0, f"max_plate_nesting is at least 0, and not {max_plate_nesting}"
        assert mode in _MODES, "mode must be one of (univariate, multivariate)"
        self.model = vectorize(model, num_particles, max_plate_nesting)
        self.kernel = kernel
        self.optim = optim
        self.num_particles = num_particles
        self.max_plate_nesting = max_plate_nesting
        self.mode = mode
        self.loss = Trace_ELBO().differentiable_loss
        self.guide = _SVGDGuide(self.model)

    def get_named_particles(self) -> dict[str, Tensor]:
        """Site -> values, particles on the left.

        Raises:
            RuntimeError: before the first step.
        """
        if self.guide.prototype_trace is None:
            raise RuntimeError("there are no particles before the first step: call SVGD.step(...)")
        packed = param(_PARTICLES)
        return {
            site.name: biject_to(site.fn.support)(value) for site, value in self.guide.unpack_latent(packed)
        }

    def _matrix(self, packed: Tensor) -> Tensor:
        """Particles as rows, the sites' numbers one after the other."""
        parts = [value for _, value in self.guide.unpack_latent(packed)]
        return torch.cat([part.reshape(self.num_particles, -1) for part in parts], dim=-1)

    def _packed(self, matrix: Tensor, like: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The inverse of :meth:`_matrix`, and the parts of each site."""
        parts, start = {}, 0
        for site, value in self.guide.unpack_latent(like):
            width = value.numel() // self.num_particles
            parts[site.name] = matrix[:, start : start + width]
            start += width
        return torch.cat([part.reshape(-1) for part in parts.values()]), parts

    def _direction(self, particles: Tensor, score: Tensor) -> Tensor:
        """Where the particles are to go, negated: the gradient of the objective.

        Args:
            particles: of shape (N, D).
            score: the gradient of the negative log density at each.
        """
        log_kernel, kernel_grad = self.kernel.log_kernel_and_grad(particles)
        if self.mode == "multivariate":
            log_kernel = log_kernel.sum(-1, keepdim=True)
        kernel = log_kernel.exp()
        towards = (kernel * score.unsqueeze(0)).sum(1)
        apart = -(kernel * kernel_grad).sum(0)
        return (towards + apart) / self.num_particles

    def step(self, *args: object, **kwargs: object) -> dict[str, float]:
        """Move the particles once.

        Args:
            args: what the model takes.
            kwargs: likewise.

        Returns:
            Site -> the mean of its squared gradients, which goes to zero.
        """
        with poutine.trace(param_only=True) as captured:
            loss: Any = self.loss(self.model, self.guide, *args, **kwargs)
        loss.backward()
        params = {name: site["value"].unconstrained() for name, site in captured.trace.nodes.items()}
        packed = params[_PARTICLES]
        with torch.no_grad():
            direction = self._direction(self._matrix(packed), self._matrix(packed.grad))
            packed.grad, parts = self._packed(direction, packed)
        self.optim(params.values())
        for value in params.values():
            value.grad = torch.zeros_like(value)
        return {name: part.square().mean().item() for name, part in parts.items()}
