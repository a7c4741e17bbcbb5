"""Linear state space models whose noise has a random scale, one for a whole sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.gamma_gaussian import (
    GammaGaussian,
    gamma_and_mvn_to_gamma_gaussian,
    gamma_gaussian_tensordot,
    matrix_and_mvn_to_gamma_gaussian,
)
from ember.distributions.gaussian_hmm import linear_shape
from ember.distributions.hidden_markov import HiddenMarkovModel
from ember.distributions.linear_hmm import linear_chain
from ember.distributions.multivariate import MultivariateNormal
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch import Gamma
from ember.ops.gaussian_chains import chain_product
from ember.ops.small_matrices import cholesky_solve, safe_cholesky


class GammaGaussianHMM(HiddenMarkovModel):
    """A :class:`GaussianHMM` whose precisions are all multiplied by one gamma variable ``s``, which is integrated out, too.

    So sequences follow a multivariate Student's t-distribution: ``s ~ scale_dist``, and then ``z[0]``,
    transitions and observations have covariances over ``s``, and means as given.

    Args:
        scale_dist: a ``Gamma`` distribution of ``s``.
        initial_dist: of the state before the first transition.
        transition_matrix: ``(..., time, hidden_dim, hidden_dim)``.
        transition_dist: noise of the transitions; its batch shape ends in the time.
        observation_matrix: ``(..., time, hidden_dim, obs_dim)``.
        observation_dist: noise of the observations.
        validate_args: whether to check arguments and values.
        duration: the length of sequences, needed for sampling if no parameter has it.

    The noise is ``MultivariateNormal``.

    Raises:
        ValueError: if an argument lacks a dim, or sizes do not fit, or noise is of another family.

    References:
        F. J. Giron, J. C. Rojano (1994), "Bayesian Kalman filtering with elliptically contoured errors".
        S. Sarkka, A. Garcia-Fernandez (2019), "Temporal parallelization of Bayesian smoothers".

    >>> from ember.distributions import MultivariateNormal
    >>> import torch
    >>> from ember.distributions import Gamma, GammaGaussianHMM
    >>> noise = MultivariateNormal(torch.zeros(1), torch.eye(1))
    >>> walk = GammaGaussianHMM(Gamma(2.0, 2.0), noise, torch.eye(1), noise, torch.eye(1), noise)
    >>> walk.log_prob(torch.zeros(3, 1))
    tensor(-4.1178)
    """

    arg_constraints: dict[str, Any] = {}
    support = constraints.independent(constraints.real, 2)  # type: ignore[no-untyped-call]

    def __init__(
        self,
        scale_dist: Any,
        initial_dist: Any,
        transition_matrix: Tensor,
        transition_dist: Any,
        observation_matrix: Tensor,
        observation_dist: Any,
        validate_args: bool | None = None,
        duration: int | None = None,
    ) -> None:
        if not isinstance(scale_dist, torch.distributions.Gamma):
            raise ValueError(f"scale_dist is a Gamma distribution, got {type(scale_dist).__name__}")
        for name, noise in (
            ("initial_dist", initial_dist),
            ("transition_dist", transition_dist),
            ("observation_dist", observation_dist),
        ):
            if not isinstance(noise, torch.distributions.MultivariateNormal):
                raise ValueError(f"{name} is a MultivariateNormal distribution, got {type(noise).__name__}")
        shape = broadcast_shape(
            (*scale_dist.batch_shape, 1),
            linear_shape(
                initial_dist, transition_matrix, transition_dist, observation_matrix, observation_dist
            ),
        )
        self.hidden_dim, self.obs_dim = observation_matrix.shape[-2:]
        super().__init__(duration, shape[:-1], (shape[-1], self.obs_dim), validate_args)
        self._init = gamma_and_mvn_to_gamma_gaussian(scale_dist, initial_dist).expand(self.batch_shape)
        self._trans = matrix_and_mvn_to_gamma_gaussian(transition_matrix, transition_dist)
        self._obs = matrix_and_mvn_to_gamma_gaussian(observation_matrix, observation_dist)
        self._drawn_from = (
            scale_dist,
            initial_dist,
            transition_matrix,
            transition_dist,
            observation_matrix,
            observation_dist,
        )

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the initial distribution alone: the transitions are multiplied before the batch shows."""
        new = self._get_checked_instance(GammaGaussianHMM, _instance)
        shape = Size(broadcast_shape(self.batch_shape, batch_shape))
        new.hidden_dim, new.obs_dim = self.hidden_dim, self.obs_dim
        new._init = self._init.expand(shape)
        new._trans, new._obs, new._drawn_from = self._trans, self._obs, self._drawn_from
        return self._completed(new, shape, self.event_shape).last_for(self.duration)

    def _last(self, value: Tensor) -> GammaGaussian:
        """The factor of the last state and the scale, given a sequence."""
        if self._validate_args:
            self._validate_sample(value)
        steps = self._trans + self._obs.condition(value).event_pad(left=self.hidden_dim)
        return gamma_gaussian_tensordot(self._init, chain_product(steps), dims=self.hidden_dim)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of a sequence ``(..., time, obs_dim)``."""
        return self._last(value).event_logsumexp().logsumexp()

    def filter(self, value: Tensor) -> tuple[Gamma, MultivariateNormal]:
        """The distributions of ``s``, and of the last state where ``s`` is 1, given a sequence ``(..., time, obs_dim)``.

        They can start another model.
        """
        last = self._last(value)
        scale = last.event_logsumexp()
        loc = cholesky_solve(last.info_vec.unsqueeze(-1), safe_cholesky(last.precision)).squeeze(-1)
        return (
            Gamma(scale.concentration, scale.rate, validate_args=self._validate_args),
            MultivariateNormal(loc, precision_matrix=last.precision, validate_args=self._validate_args),
        )

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw the scale, then all noise with covariances over it, then the states and what is observed of them.

        Raises:
            AssertionError: if the duration is not known.
        """
        assert self.duration is not None, "GammaGaussianHMM needs a duration to be sampled"
        fns: tuple[Any, ...] = self._drawn_from
        scale, initial, matrix, transition, observation, noise = fns
        batch, time = self.batch_shape, Size([self.duration])
        away = scale.expand(batch).sample(sample_shape).rsqrt()[..., None]

        def drawn(fn: Any, shape: Size, away: Tensor) -> Tensor:
            loc: Tensor = fn.loc
            value: Tensor = fn.expand(shape).sample(sample_shape)
            return loc + (value - loc) * away

        init = drawn(initial, batch, away)
        shifts = drawn(transition, batch + time, away.unsqueeze(-1))
        states = linear_chain(init, matrix.expand((*batch, *time, *matrix.shape[-2:])), shifts)
        seen = (states.unsqueeze(-2) @ observation).squeeze(-2)
        x: Tensor = seen + drawn(noise, batch + time, away.unsqueeze(-1))
        return x
