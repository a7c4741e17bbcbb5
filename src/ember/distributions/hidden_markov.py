"""Hidden Markov models as distributions over sequences: the base, and the one with discrete states."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.distributions.categorical import Categorical
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution
from ember.ops.chain_products import compose_maps, sequential_logmatmulexp


class HiddenMarkovModel(TorchDistribution):
    """Base of hidden Markov models, whose events are sequences: ``event_shape[0]`` is the time.

    Args:
        duration: the length of sequences; found in ``event_shape`` if None. A model that is the same at all
            times has ``event_shape[0] == 1`` and takes sequences of any length if its duration is None.
        batch_shape: the batch shape.
        event_shape: the event shape.
        validate_args: whether to check arguments and values.

    Raises:
        ValueError: if duration and event shape contradict each other.
    """

    def __init__(
        self,
        duration: int | None,
        batch_shape: Sequence[int],
        event_shape: Sequence[int],
        validate_args: bool | None = None,
    ) -> None:
        event_shape = Size(event_shape)
        if duration is None:
            if event_shape[0] != 1:
                duration = event_shape[0]
        elif event_shape[0] == 1:
            event_shape = Size([duration, *event_shape[1:]])
        elif duration != event_shape[0]:
            raise ValueError(f"duration, event_shape mismatch: {duration} vs {event_shape}")
        self._duration = duration
        super().__init__(Size(batch_shape), event_shape, validate_args)

    @property
    def duration(self) -> int | None:
        """The length of sequences, None if any."""
        return self._duration

    def _validate_sample(self, value: Tensor) -> None:
        if value.dim() < self.event_dim:
            raise ValueError(f"value has too few dimensions: {value.shape}")
        checked = self if self.duration is not None else self._of_length(value.shape[-self.event_dim])
        super(HiddenMarkovModel, checked)._validate_sample(value)

    def _of_length(self, length: int) -> HiddenMarkovModel:
        """A copy whose sequences have this length."""
        new = copy.copy(self)
        new._set_length(length)
        return new

    def last_for(self, duration: int | None) -> Self:
        """Change, in place, how long sequences are; None leaves that open."""
        self._duration = duration
        if duration is not None:
            self._set_length(duration)
        return self

    def _set_length(self, length: int) -> None:
        self._event_shape = Size([length, *self._event_shape[1:]])


class DiscreteHMM(HiddenMarkovModel):
    """Sequences of observations that depend on a discrete state each, which is summed out in parallel over the time.

    The first observation is made after the first transition. Where neither transitions nor observations
    change with time, their dim of the time may have size 1; sequences of any length are then scored.

    Args:
        initial_logits: of the state before the first transition, ``(..., states)``.
        transition_logits: from old to new states, ``(..., time, states, states)``.
        observation_dist: given the state; its batch shape is ``(..., time, states)``.
        validate_args: whether to check arguments and values.
        duration: the length of sequences, needed for sampling if no parameter has it.

    Raises:
        ValueError: if an argument lacks a dim, or sizes do not fit.

    References:
        S. Sarkka, A. Garcia-Fernandez (2019), "Temporal parallelization of Bayesian smoothers".

    >>> from ember.distributions import Bernoulli
    >>> import torch
    >>> from ember.distributions import DiscreteHMM
    >>> states = DiscreteHMM(torch.zeros(2), torch.zeros(2, 2), Bernoulli(torch.tensor([0.1, 0.9])))
    >>> states.log_prob(torch.tensor([1.0, 0.0, 1.0])).exp()
    tensor(0.1250)
    """

    arg_constraints: dict[str, Any] = {
        "initial_logits": constraints.real,
        "transition_logits": constraints.real,
    }

    def __init__(
        self,
        initial_logits: Tensor,
        transition_logits: Tensor,
        observation_dist: Any,
        validate_args: bool | None = None,
        duration: int | None = None,
    ) -> None:
        _check_dims("initial_logits", initial_logits.shape, "one dim", 1, "shape")
        _check_dims("transition_logits", transition_logits.shape, "two dims", 2, "shape")
        _check_dims("observation_dist", observation_dist.batch_shape, "one batch dim", 1, ".batch_shape")
        shape = broadcast_shape(
            (*initial_logits.shape[:-1], 1),
            transition_logits.shape[:-2],
            observation_dist.batch_shape[:-1],
        )
        self.initial_logits = initial_logits.log_softmax(-1)
        self.transition_logits = transition_logits.log_softmax(-1)
        self.observation_dist = observation_dist
        event_shape = (*shape[-1:], *observation_dist.event_shape)
        super().__init__(duration, shape[:-1], event_shape, validate_args)

    @constraints.dependent_property(event_dim=2)
    def support(self) -> Constraint:
        """The support of the observations, at each time."""
        return constraints.independent(self.observation_dist.support, 1)  # type: ignore[no-untyped-call]

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the initial logits alone: the transitions are multiplied before the batch shows."""
        new = self._get_checked_instance(DiscreteHMM, _instance)
        shape = Size(broadcast_shape(self.batch_shape, batch_shape))
        new.initial_logits = self.initial_logits.expand((*shape, -1))
        new.transition_logits = self.transition_logits
        new.observation_dist = self.observation_dist
        new._duration = self.duration
        return self._completed(new, shape, self.event_shape)

    def _transitions(self, value: Tensor) -> Tensor:
        """The log probabilities of states and observations at the end, by states at the beginning."""
        if self._validate_args:
            self._validate_sample(value)
        seen = self.observation_dist.log_prob(value.unsqueeze(-1 - self.observation_dist.event_dim))
        return sequential_logmatmulexp(self.transition_logits + seen.unsqueeze(-2))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of a sequence.

        Shapes: ``value`` is ``(..., time) + observation_dist.event_shape``.
        """
        result: Tensor = (self.initial_logits + self._transitions(value).logsumexp(-1)).logsumexp(-1)
        return result

    def filter(self, value: Tensor) -> Any:
        """Return the distribution of the last state given a sequence; its ``logits`` can start another model.

        Shapes: ``value`` as for :meth:`log_prob`.
        """
        logits = (self.initial_logits.unsqueeze(-1) + self._transitions(value)).logsumexp(-2)
        return Categorical(logits=logits, validate_args=self._validate_args)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw states at all times, for each state before, then follow one path through them.

        Raises:
            AssertionError: if the duration is not known.
        """
        assert self.duration is not None, "DiscreteHMM needs a duration to be sampled"
        batch_shape = Size(sample_shape) + self.batch_shape
        states = self.initial_logits.shape[-1]
        first: Tensor = Categorical(logits=self.initial_logits.expand((*batch_shape, states))).sample()  # type: ignore[no-untyped-call]
        logits = self.transition_logits.expand((*batch_shape, self.duration, states, states))
        paths = compose_maps(Categorical(logits=logits).sample())  # type: ignore[no-untyped-call]
        path = paths.gather(-1, first[..., None, None].expand((*batch_shape, self.duration, 1)))
        observed = self.observation_dist.expand((*self.batch_shape, self.duration, states))
        drawn: Tensor = observed.sample(Size(sample_shape))
        event_shape = self.observation_dist.event_shape
        index = path.reshape(path.shape + (1,) * len(event_shape)).expand(path.shape + event_shape)
        dim = -1 - len(event_shape)
        return drawn.gather(dim, index).squeeze(dim)


def _check_dims(name: str, shape: Size, wanted: str, dims: int, what: str) -> None:
    if len(shape) < dims:
        raise ValueError(f"expected {name} to have at least {wanted}, actual {what} = {tuple(shape)}")
