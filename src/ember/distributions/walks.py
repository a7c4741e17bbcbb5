"""Paths over time: random walks, autoregressions, and stochastic differential equations in small steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution

_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


def _normal(residual: Tensor, scale: Tensor) -> Tensor:
    return -0.5 * (residual / scale).square() - scale.log() - _HALF_LOG_2_PI


class GaussianRandomWalk(TorchDistribution):
    """Sums of independent normal steps; the first value is a step from zero.

    Args:
        scale: the standard deviation of a step.
        num_steps: the length of the path.

    Shapes:
        event: ``(num_steps,)``.

    Raises:
        ValueError: if ``num_steps`` is no positive integer.

    >>> import torch
    >>> from ember.distributions import GaussianRandomWalk
    >>> GaussianRandomWalk(1.0, 3).log_prob(torch.tensor([0.0, 0.0, 0.0]))
    tensor(-2.7568)
    """

    arg_constraints: dict[str, Any] = {"scale": constraints.positive}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, scale: Tensor | float = 1.0, num_steps: int = 1, *, validate_args: bool | None = None
    ) -> None:
        if isinstance(num_steps, bool) or not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(f"num_steps must be a positive integer, got {num_steps!r}")
        self.scale = torch.as_tensor(scale)
        self.num_steps = num_steps
        super().__init__(self.scale.shape, Size((num_steps,)), validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the scale."""
        new = self._get_checked_instance(GaussianRandomWalk, _instance)
        new.scale = self.scale.expand(Size(batch_shape))
        new.num_steps = self.num_steps
        return self._completed(new, Size(batch_shape), self.event_shape)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Sums of steps."""
        shape = self._extended_shape(Size(sample_shape))
        noise = torch.randn(shape, dtype=self.scale.dtype, device=self.scale.device)
        return (noise * self.scale.unsqueeze(-1)).cumsum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the sum of the log densities of the steps."""
        if self._validate_args:
            self._validate_sample(value)
        steps = torch.cat([value[..., :1], value.diff(dim=-1)], -1)
        return _normal(steps, self.scale.unsqueeze(-1)).sum(-1)

    @property
    def mean(self) -> Tensor:
        """Zero."""
        return self.scale.new_zeros(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """``scale^2 t`` after ``t`` steps."""
        steps = torch.arange(1, self.num_steps + 1, dtype=self.scale.dtype, device=self.scale.device)
        return self.scale.square().unsqueeze(-1) * steps


class GaussianAR(TorchDistribution):
    """An autoregression: each value is a weighted sum of the values before it, and normal noise.

    Before the path the values are zero, less ``intercept``'s: the first ones rest on those that there are.

    Args:
        coefficients: of the value before, the one before that, and so on; ``batch_shape + (p,)``.
        scale: the standard deviation of the noise.
        num_steps: the length of the path.
        intercept: added to each value.

    Shapes:
        event: ``(num_steps,)``.

    Raises:
        ValueError: if ``num_steps`` is no positive integer, or ``coefficients`` is a number.

    References:
        G. Box and G. Jenkins (1970), "Time series analysis", chapter 3.

    >>> import torch
    >>> from ember.distributions import GaussianAR
    >>> GaussianAR(torch.tensor([0.5]), 1.0, 3).log_prob(torch.tensor([2.0, 1.0, 0.5]))
    tensor(-4.7568)
    """

    arg_constraints: dict[str, Any] = {
        "coefficients": constraints.real_vector,
        "scale": constraints.positive,
        "intercept": constraints.real,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        coefficients: Tensor,
        scale: Tensor | float,
        num_steps: int,
        *,
        intercept: Tensor | float = 0.0,
        validate_args: bool | None = None,
    ) -> None:
        if coefficients.dim() < 1:
            raise ValueError("coefficients must have a dim for the lags, (p,); got a number")
        if isinstance(num_steps, bool) or not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(f"num_steps must be a positive integer, got {num_steps!r}")
        scale, intercept = torch.as_tensor(scale), torch.as_tensor(intercept)
        batch_shape = Size(broadcast_shape(coefficients.shape[:-1], scale.shape, intercept.shape))
        self.coefficients = coefficients.expand(batch_shape + coefficients.shape[-1:])
        self.scale, self.intercept = scale.expand(batch_shape), intercept.expand(batch_shape)
        super().__init__(batch_shape, Size((num_steps,)), validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the parameters."""
        new = self._get_checked_instance(GaussianAR, _instance)
        batch_shape = Size(batch_shape)
        new.coefficients = self.coefficients.expand(batch_shape + self.coefficients.shape[-1:])
        new.scale, new.intercept = self.scale.expand(batch_shape), self.intercept.expand(batch_shape)
        return self._completed(new, batch_shape, self.event_shape)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Step by step."""
        shape = self._extended_shape(Size(sample_shape))
        noise = torch.randn(shape, dtype=self.coefficients.dtype, device=self.coefficients.device)
        path: list[Tensor] = []
        for step in range(shape[-1]):
            value = self.intercept + self.scale * noise[..., step]
            for lag in range(min(step, self.coefficients.shape[-1])):
                value = value + self.coefficients[..., lag] * path[step - 1 - lag]
            path.append(value)
        return torch.stack(path, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the sum of the log densities of the noise."""
        if self._validate_args:
            self._validate_sample(value)
        expected = self.intercept.unsqueeze(-1)
        for lag in range(min(self.coefficients.shape[-1], value.shape[-1] - 1)):
            earlier = torch.nn.functional.pad(value[..., : value.shape[-1] - 1 - lag], (lag + 1, 0))
            expected = expected + self.coefficients[..., lag, None] * earlier
        return _normal(value - expected, self.scale.unsqueeze(-1)).sum(-1)


class EulerMaruyama(TorchDistribution):
    """A path of a stochastic differential equation ``dx = f(x, t) dt + g(x, t) dW``, in small steps (Maruyama, 1955).

    Args:
        t: the times, ``(n,)``, increasing; the first is that of the start.
        sde_fn: from a state and a time to ``f`` and ``g``, of the state's shape.
        init_dist: of the first state.

    Shapes:
        event: ``(n,)`` and the shape of a state.

    Raises:
        ValueError: if ``t`` does not have the shape ``(n,)``.

    >>> from ember.distributions import Normal
    >>> import torch
    >>> from ember.distributions import EulerMaruyama
    >>> path = EulerMaruyama(torch.linspace(0, 1, 5), lambda x, t: (-x, torch.ones_like(x)), Normal(0.0, 1.0))
    >>> path.event_shape
    torch.Size([5])
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = True

    def __init__(
        self,
        t: Tensor,
        sde_fn: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        init_dist: Any,
        *,
        validate_args: bool | None = None,
    ) -> None:
        if t.dim() != 1 or len(t) < 1:
            raise ValueError(f"t must have the shape (n,), got {tuple(t.shape)}")
        self.t, self.sde_fn, self.init_dist = t, sde_fn, init_dist
        super().__init__(
            init_dist.batch_shape, Size((len(t), *init_dist.event_shape)), validate_args=validate_args
        )

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        """Real numbers."""
        some: Any = constraints
        return some.independent(constraints.real, self.event_dim)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the first state."""
        new = self._get_checked_instance(EulerMaruyama, _instance)
        new.t, new.sde_fn = self.t, self.sde_fn
        new.init_dist = self.init_dist.expand(Size(batch_shape))
        return self._completed(new, Size(batch_shape), self.event_shape)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Step by step."""
        state: Tensor = self.init_dist(Size(sample_shape))
        path = [state]
        for step in range(len(self.t) - 1):
            width = self.t[step + 1] - self.t[step]
            drift, diffusion = self.sde_fn(state, self.t[step])
            state = state + drift * width + diffusion * width.sqrt() * torch.randn_like(state)
            path.append(state)
        return torch.stack(path, -1 - len(self.init_dist.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the density of the first state, and of each step from the one before."""
        if self._validate_args:
            self._validate_sample(value)
        event_dims = len(self.init_dist.event_shape)
        states = value.unbind(-1 - event_dims)
        log_prob: Tensor = self.init_dist.log_prob(states[0])
        for step, (before, after) in enumerate(pairwise(states)):
            width = self.t[step + 1] - self.t[step]
            drift, diffusion = self.sde_fn(before, self.t[step])
            term = _normal(after - before - drift * width, diffusion * width.sqrt())
            log_prob = log_prob + (term.flatten(-event_dims).sum(-1) if event_dims else term)
        return log_prob
