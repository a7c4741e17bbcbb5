"""Linear Gaussian state space models as distributions over sequences."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.hidden_markov import HiddenMarkovModel
from ember.distributions.multivariate import MultivariateNormal
from ember.distributions.shapes import broadcast_shape
from ember.ops.affine_normal import AffineNormal, matrix_and_mvn_to_gaussian
from ember.ops.gaussian_chains import (
    gaussian_tensordot,
    sequential_gaussian_filter_sample,
    sequential_gaussian_tensordot,
)
from ember.ops.information_form import Gaussian, mvn_to_gaussian
from ember.ops.small_matrices import cholesky_solve, safe_cholesky

_REAL_MATRIX = constraints.independent(constraints.real, 2)  # type: ignore[no-untyped-call]


def linear_shape(
    initial_dist: Any,
    transition_matrix: Tensor,
    transition_dist: Any,
    observation_matrix: Tensor,
    observation_dist: Any,
) -> tuple[int, ...]:
    """The batch shape, with the time on the right, of a model with linear transitions and observations.

    Raises:
        ValueError: if dims are missing or sizes do not fit; it names the argument.
    """
    for name, matrix in (
        ("transition_matrix", transition_matrix),
        ("observation_matrix", observation_matrix),
    ):
        if matrix.dim() < 2:
            raise ValueError(
                f"expected {name} to have at least two dims, actual shape = {tuple(matrix.shape)}"
            )
    hidden, observed = observation_matrix.shape[-2:]
    wanted = {
        "initial_dist": (tuple(initial_dist.event_shape), (hidden,)),
        "transition_matrix": (tuple(transition_matrix.shape[-2:]), (hidden, hidden)),
        "transition_dist": (tuple(transition_dist.event_shape), (hidden,)),
        "observation_dist": (tuple(observation_dist.event_shape), (observed,)),
    }
    for name, (actual, expected) in wanted.items():
        if actual != expected:
            raise ValueError(
                f"{name} has an event of shape {actual}, but observation_matrix, of shape (..., {hidden}, {observed}), asks for "
                f"{expected}"
            )
    return broadcast_shape(
        (*initial_dist.batch_shape, 1),
        transition_matrix.shape[:-2],
        transition_dist.batch_shape,
        observation_matrix.shape[:-2],
        observation_dist.batch_shape,
    )


def _double(x: Tensor, event: int) -> Tensor:
    return x.double()


class GaussianHMM(HiddenMarkovModel):
    """Sequences of noisy linear observations of a state that moves linearly with noise.

    States are integrated out in parallel.

    ``z[t] = z[t-1] @ transition_matrix + transition noise`` and
    ``x[t] = z[t] @ observation_matrix + observation noise``. The first observation is made after the first
    transition. Where nothing changes with time, its dim may have size 1; sequences of any length are then
    scored.

    Args:
        initial_dist: of the state before the first transition.
        transition_matrix: ``(..., time, hidden_dim, hidden_dim)``.
        transition_dist: noise of the transitions; its batch shape ends in the time.
        observation_matrix: ``(..., time, hidden_dim, obs_dim)``.
        observation_dist: noise of the observations.
        validate_args: whether to check arguments and values.
        duration: the length of sequences, needed for sampling if no parameter has it.

    All distributions are a ``MultivariateNormal`` or an ``Independent`` ``Normal``.

    Raises:
        ValueError: if an argument lacks a dim, or sizes do not fit.

    References:
        S. Sarkka, A. Garcia-Fernandez (2019), "Temporal parallelization of Bayesian smoothers".

    >>> from ember.distributions import Normal
    >>> import torch
    >>> from ember.distributions import GaussianHMM
    >>> noise = Normal(torch.zeros(1), 1.0).to_event(1)
    >>> walk = GaussianHMM(noise, torch.eye(1), noise, torch.eye(1), noise)
    >>> walk.log_prob(torch.zeros(3, 1))
    tensor(-4.2791)
    """

    has_rsample = True
    arg_constraints: dict[str, Any] = {}
    support = _REAL_MATRIX

    _init: Gaussian
    _trans: Gaussian | AffineNormal
    _obs: Gaussian | AffineNormal

    def __init__(
        self,
        initial_dist: Any,
        transition_matrix: Tensor,
        transition_dist: Any,
        observation_matrix: Tensor,
        observation_dist: Any,
        validate_args: bool | None = None,
        duration: int | None = None,
    ) -> None:
        shape = linear_shape(
            initial_dist, transition_matrix, transition_dist, observation_matrix, observation_dist
        )
        self.hidden_dim, self.obs_dim = observation_matrix.shape[-2:]
        super().__init__(duration, shape[:-1], (shape[-1], self.obs_dim), validate_args)
        self._init = mvn_to_gaussian(initial_dist).expand(self.batch_shape)
        self._trans = matrix_and_mvn_to_gaussian(transition_matrix, transition_dist)
        self._obs = matrix_and_mvn_to_gaussian(observation_matrix, observation_dist)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the initial distribution alone: the transitions are multiplied before the batch shows."""
        new = self._get_checked_instance(GaussianHMM, _instance)
        shape = Size(broadcast_shape(self.batch_shape, batch_shape))
        new.hidden_dim, new.obs_dim = self.hidden_dim, self.obs_dim
        new._init = self._init.expand(shape)
        new._trans, new._obs = self._trans, self._obs
        return self._completed(new, shape, self.event_shape).last_for(self.duration)

    def reshaped(self, batch_shape: Sequence[int]) -> GaussianHMM:
        """Return the same sequences with another batch shape of as many elements."""
        old, new = self.batch_shape, self._get_checked_instance(GaussianHMM)
        new.hidden_dim, new.obs_dim = self.hidden_dim, self.obs_dim
        new._init = self._init.reshape(batch_shape)

        def steps(x: Gaussian | AffineNormal) -> Gaussian | AffineNormal:
            if len(x.batch_shape) <= 1:
                return x  # the same for the whole batch
            time = x.batch_shape[-1:]
            return x.expand(old + time).reshape((*batch_shape, *time))

        new._trans, new._obs = steps(self._trans), steps(self._obs)
        return self._completed(new, new._init.batch_shape, self.event_shape).last_for(self.duration)

    def _in_double(self, value: Tensor) -> tuple[GaussianHMM, Tensor]:
        """The same with factors in double precision, and a value.

        Where observations say much, their log densities are large and cancel: in single precision the
        gradient by a noise of 0.01 has no correct digit.
        """
        if value.device.type == "mps":  # it has no double precision
            return self, value
        wide = copy.copy(self)
        wide._init = self._init.changed(_double)
        wide._trans, wide._obs = self._trans.changed(_double), self._obs.changed(_double)
        return wide, value.double()

    def _steps(self, evidence: Gaussian) -> Gaussian:
        """The factors of neighbouring states, with evidence of the later one."""
        return self._trans + evidence.event_pad(left=self.hidden_dim)

    def _given(self, value: Tensor) -> Gaussian:
        if self._validate_args:
            self._validate_sample(value)
        return self._steps(self._obs.condition(value))

    def _unseen(self) -> Gaussian:
        """The factors of neighbouring states, with nothing observed."""
        assert self.duration is not None, f"{type(self).__name__} needs a duration to be sampled"
        steps = self._steps(self._obs.marginalize(right=self.obs_dim))
        return steps.expand((*steps.batch_shape[:-1], self.duration))

    def _last(self, steps: Gaussian) -> Gaussian:
        """The factor of the last state, not normalised."""
        return gaussian_tensordot(self._init, sequential_gaussian_tensordot(steps), dims=self.hidden_dim)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of a sequence ``(..., time, obs_dim)``."""
        dtype = torch.promote_types(value.dtype, self._init.info_vec.dtype)
        wide, value = self._in_double(value)
        return wide._last(wide._given(value)).event_logsumexp().to(dtype)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw all states, then what is observed of them.

        Raises:
            AssertionError: if the duration is not known.
        """
        states = sequential_gaussian_filter_sample(self._init, self._unseen(), sample_shape)[..., 1:, :]
        return self._obs.left_condition(states).rsample()

    def rsample_posterior(self, value: Tensor, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draws of the states ``(..., time, hidden_dim)`` given a sequence ``(..., time, obs_dim)``."""
        return sequential_gaussian_filter_sample(self._init, self._given(value), sample_shape)[..., 1:, :]

    def filter(self, value: Tensor) -> MultivariateNormal:
        """The distribution of the last state given a sequence ``(..., time, obs_dim)``.

        It can start another model.
        """
        dtype = torch.promote_types(value.dtype, self._init.info_vec.dtype)
        wide, value = self._in_double(value)
        last = wide._last(wide._given(value))
        loc = cholesky_solve(last.info_vec.unsqueeze(-1), safe_cholesky(last.precision)).squeeze(-1)
        return MultivariateNormal(
            loc.to(dtype), precision_matrix=last.precision.to(dtype), validate_args=self._validate_args
        )

    def conjugate_update(self, other: Any) -> tuple[GaussianHMM, Tensor]:
        """Fuse with a distribution of the observations.

        It is an ``Independent`` ``Normal`` over ``(time, obs_dim)``.

        Returns:
            ``(updated, log_normalizer)`` with ``self.log_prob(x) + other.log_prob(x) == updated.log_prob(x) +
                log_normalizer``.
        """
        assert isinstance(other, torch.distributions.Independent), (
            f"expected an Independent distribution of normals, got {type(other).__name__}"
        )
        new = self.expand(broadcast_shape(self.batch_shape, other.batch_shape))
        evidence = mvn_to_gaussian(other.to_event(-1)).event_pad(left=self.hidden_dim)  # type: ignore[attr-defined]
        new._obs = self._obs + evidence
        new.last_for(other.event_shape[0])
        wide, _ = new._in_double(evidence.info_vec)
        log_normalizer = wide._last(wide._unseen()).event_logsumexp().to(evidence.info_vec.dtype)
        new._init = new._init - log_normalizer
        return new, log_normalizer

    def prefix_condition(self, data: Tensor) -> GaussianHMM:
        """Return the distribution of the rest of a sequence, given its beginning ``(..., earlier, obs_dim)``.

        Raises:
            AssertionError: if the duration is not known, or not longer than the beginning.
        """
        assert self.duration is not None, "prefix_condition() needs a duration"
        assert data.dim() >= 2
        seen = data.size(-2)
        assert seen < self.duration, f"the beginning, {seen}, is no shorter than the whole, {self.duration}"
        shape = Size(broadcast_shape(data.shape[:-2], self.batch_shape))
        trans, obs = (x.expand((*x.batch_shape[:-1], self.duration)) for x in (self._trans, self._obs))
        new = self.expand(shape)
        new._trans, new._obs = trans[..., :seen], obs[..., :seen]
        wide, known = new._in_double(data)
        last = wide._last(wide._steps(wide._obs.condition(known)))
        first = (last - last.event_logsumexp()).expand(shape)
        new._init = first.changed(lambda x, event: x.to(self._init.info_vec.dtype))
        new._trans, new._obs = trans[..., seen:], obs[..., seen:]
        return new.last_for(self.duration - seen)
