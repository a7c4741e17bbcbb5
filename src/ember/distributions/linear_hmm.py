"""Linear state space models with noise of any family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, Self

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.distributions.gaussian_hmm import linear_shape
from ember.distributions.hidden_markov import HiddenMarkovModel
from ember.distributions.shapes import broadcast_shape


def linear_chain(init: Tensor, matrices: Tensor, shifts: Tensor) -> Tensor:
    """The states ``z[t] = z[t-1] @ matrices[t] + shifts[t]``, in a number of steps that grows with the logarithm of their length.

    Shapes: ``init`` is ``(..., n)``, ``matrices`` is ``(..., time, n, n)``, ``shifts`` and the result are
    ``(..., time, n)``.

    >>> linear_chain(torch.zeros(1), torch.full((3, 1, 1), 2.0), torch.ones(3, 1)).squeeze(-1)
    tensor([1., 3., 7.])
    """
    time = shifts.size(-2)
    if time == 1:
        return _moved(init.unsqueeze(-2), matrices, shifts)
    pairs = time // 2 * 2
    even, odd = matrices[..., 0:pairs:2, :, :], matrices[..., 1:pairs:2, :, :]
    # The states after each pair, from the pairs as single steps, then those in between.
    later = linear_chain(init, even @ odd, _moved(shifts[..., 0:pairs:2, :], odd, shifts[..., 1:pairs:2, :]))
    before = torch.cat([init.unsqueeze(-2).expand_as(later[..., :1, :]), later], -2)
    count = (time + 1) // 2
    between = _moved(before[..., :count, :], matrices[..., 0::2, :, :], shifts[..., 0::2, :])
    joined = torch.stack([between[..., : pairs // 2, :], later], -2).flatten(-3, -2)
    return torch.cat([joined, between[..., pairs // 2 :, :]], -2)


def _moved(states: Tensor, matrices: Tensor, shifts: Tensor) -> Tensor:
    return (states.unsqueeze(-2) @ matrices).squeeze(-2) + shifts


class LinearHMM(HiddenMarkovModel):
    """Sequences of linear observations of a state that moves linearly, with noise of any family.

    It has no density.

    ``z[t] = z[t-1] @ transition_matrix + transition noise``,
    ``x[t] = z[t] @ observation_matrix + observation noise``, and then the transforms of the observation
    noise, if it is a ``TransformedDistribution``. Use :class:`~ember.infer.reparam.LinearHMMReparam` where a
    density is needed: noise that it makes normal gives a :class:`GaussianHMM`.

    Args:
        initial_dist: of the state before the first transition.
        transition_matrix: ``(..., time, hidden_dim, hidden_dim)``.
        transition_dist: noise of the transitions; its batch shape ends in the time.
        observation_matrix: ``(..., time, hidden_dim, obs_dim)``.
        observation_dist: noise of the observations.
        validate_args: whether to check arguments and values.
        duration: the length of sequences, needed for sampling if no parameter has it.

    Raises:
        ValueError: if an argument lacks a dim, or sizes do not fit.

    >>> from ember.distributions import StudentT
    >>> import torch
    >>> from ember.distributions import LinearHMM
    >>> noise = StudentT(4.0, torch.zeros(1), 1.0).to_event(1)
    >>> LinearHMM(noise, torch.eye(1), noise, torch.eye(1), noise, duration=5).rsample((2,)).shape
    torch.Size([2, 5, 1])
    """

    has_rsample = True
    arg_constraints: dict[str, Any] = {}

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
        self.transforms, noise = _untransformed(observation_dist)
        time = self.event_shape[:1]
        self.initial_dist = initial_dist.expand(self.batch_shape)
        self.transition_matrix = transition_matrix
        self.transition_dist = transition_dist.expand(self.batch_shape + time)
        self.observation_matrix = observation_matrix
        self.observation_dist = noise.expand(self.batch_shape + time)

    @constraints.dependent_property(event_dim=2)
    def support(self) -> Constraint:
        """What the last transform maps to, or the support of real matrices."""
        noise = self.observation_dist.support
        last: Constraint = self.transforms[-1].codomain if self.transforms else noise
        return constraints.independent(last, 2 - last.event_dim)  # type: ignore[no-untyped-call]

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand all noise: each element of the batch has draws of its own."""
        new = self._get_checked_instance(LinearHMM, _instance)
        shape = Size(broadcast_shape(self.batch_shape, batch_shape))
        time = self.event_shape[:1]
        new.hidden_dim, new.obs_dim = self.hidden_dim, self.obs_dim
        new.transforms = self.transforms
        new.initial_dist = self.initial_dist.expand(shape)
        new.transition_matrix, new.observation_matrix = self.transition_matrix, self.observation_matrix
        new.transition_dist = self.transition_dist.expand(shape + time)
        new.observation_dist = self.observation_dist.expand(shape + time)
        return self._completed(new, shape, self.event_shape).last_for(self.duration)

    def log_prob(self, value: Tensor) -> NoReturn:
        """There is none in closed form.

        Raises:
            NotImplementedError: always; it says what to use.
        """
        raise NotImplementedError(
            "LinearHMM.log_prob() is not implemented: the density has no closed form. Rewrite the site by "
            "poutine.reparam(model, config={name: LinearHMMReparam(...)}) with strategies that make its noise normal, or use "
            "GaussianHMM for normal noise"
        )

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw all noise, then the states and what is observed of them.

        Raises:
            AssertionError: if the duration is not known.
        """
        assert self.duration is not None, "LinearHMM needs a duration to be sampled"
        init = self.initial_dist.rsample(sample_shape)
        shifts = self.transition_dist.rsample(sample_shape)
        noise = self.observation_dist.rsample(sample_shape)
        matrices = self.transition_matrix.expand(
            (*self.transition_dist.batch_shape, *self.transition_matrix.shape[-2:])
        )
        states = linear_chain(init, matrices, shifts)
        x: Tensor = _moved(states, self.observation_matrix, noise)
        for transform in self.transforms:
            x = transform(x)
        return x


def _untransformed(fn: Any) -> tuple[list[Any], Any]:
    """The transforms of a distribution of vectors, and what is under them, as one of vectors."""
    transforms: list[Any] = []
    while isinstance(fn, (torch.distributions.Independent, torch.distributions.TransformedDistribution)):
        if isinstance(fn, torch.distributions.TransformedDistribution):
            transforms = [*fn.transforms, *transforms]
        fn = fn.base_dist
    return transforms, fn if fn.event_shape else fn.to_event(1)
