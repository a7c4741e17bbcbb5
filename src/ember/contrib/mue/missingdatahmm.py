"""A hidden Markov model of one-hot observations, some of which may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.distributions import Categorical, OneHotCategorical, constraints
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution
from ember.ops.chain_products import sequential_logmatmulexp
from ember.ops.logspace import log_multiplication_by

_MOST_IN_PARALLEL = 16


class MissingDataDiscreteHMM(TorchDistribution):
    """Sequences of one-hot rows that depend on a discrete state each; a row of zeros is missing, and says nothing.

    The first row depends on the initial state itself (in :class:`~ember.distributions.DiscreteHMM`, on the state after one
    transition). Sequences of several lengths are filled up with zeros.

    Args:
        initial_logits: ``(..., states)``.
        transition_logits: from old to new states, ``(..., states, states)``.
        observation_logits: of the letters in each state, ``(..., states, letters)``.
        validate_args: whether to check arguments and values.

    Raises:
        ValueError: if an argument lacks a dim.

    >>> letters = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).log()
    >>> hmm = MissingDataDiscreteHMM(torch.zeros(2), torch.zeros(2, 2), letters)
    >>> hmm.log_prob(torch.tensor([[1.0, 0.0], [0.0, 0.0]])).exp()  # the second is missing
    tensor(0.5500)
    """

    arg_constraints: dict[str, Any] = {
        "initial_logits": constraints.real_vector,
        "transition_logits": constraints.independent(constraints.real, 2),  # type: ignore[no-untyped-call]
        "observation_logits": constraints.independent(constraints.real, 2),  # type: ignore[no-untyped-call]
    }
    support = constraints.independent(constraints.nonnegative_integer, 2)  # type: ignore[no-untyped-call]

    def __init__(
        self,
        initial_logits: Tensor,
        transition_logits: Tensor,
        observation_logits: Tensor,
        validate_args: bool | None = None,
    ) -> None:
        for name, logits, number, least in (
            ("initial_logits", initial_logits, "one dim", 1),
            ("transition_logits", transition_logits, "two dims", 2),
            ("observation_logits", observation_logits, "two dims", 2),
        ):
            if logits.dim() < least:
                raise ValueError(
                    f"expected {name} to have at least {number}, actual shape = {tuple(logits.shape)}"
                )
        batch_shape = broadcast_shape(
            initial_logits.shape[:-1], transition_logits.shape[:-2], observation_logits.shape[:-2]
        )
        self.initial_logits = initial_logits.log_softmax(-1)
        self.transition_logits = transition_logits.log_softmax(-1)
        self.observation_logits = observation_logits.log_softmax(-1)
        # A model without batch dims is a batch of one.
        shape = Size(batch_shape or (1,))
        super().__init__(shape, Size((1, observation_logits.shape[-1])), validate_args=validate_args)

    def _seen(self, value: Tensor) -> Tensor:
        """The log probability of each row by state, ``(..., time, states)``."""
        letters = self.event_shape[-1]
        assert value.shape[-1] == letters, (
            f"rows have {value.shape[-1]} letters, and the observation logits {letters}"
        )
        assert value.dim() > 1 and value.shape[-2] > 0, (
            f"a sequence is (time, letters), with one row or more; got {tuple(value.shape)}"
        )
        return value.to(self.observation_logits.dtype) @ _finite(self.observation_logits).mT

    def _start_and_steps(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """First states with their row, and each transition with the row after it."""
        return self._with_steps(self._seen(value))

    def _with_steps(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        steps = self.transition_logits.unsqueeze(-3) + seen[..., 1:, None, :]
        return self.initial_logits + seen[..., 0, :], steps

    def log_prob(self, value: Tensor) -> Tensor:
        """The log probability of sequences, all states summed out.

        In parallel over the time for few states. For many a product of two matrices takes longer than one of a vector and a
        matrix at each time.

        Args:
            value: one-hot rows, ``(..., time, letters)``.

        The result has the batch dims that the arguments have; none, where these have none.
        """
        seen = self._seen(value)
        if self.initial_logits.shape[-1] > _MOST_IN_PARALLEL or seen.shape[-2] == 1:
            return self._forward(seen).logsumexp(-1)
        start, steps = self._with_steps(seen)
        return (start + sequential_logmatmulexp(steps).logsumexp(-1)).logsumexp(-1)

    def _forward(self, seen: Tensor) -> Tensor:
        """The log probability of all rows with each last state (L. Rabiner, 1989, equations 19 to 21)."""
        move = log_multiplication_by(self.transition_logits)
        first, *later = seen.unbind(-2)
        state = self.initial_logits + first
        for row in later:
            state = move(state.unsqueeze(-2)).squeeze(-2) + row
        return state

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Sequences.

        Args:
            sample_shape: ends in the number of rows, and broadcasts to ``(batch_size, rows)``.
        """
        shape = broadcast_shape((*self.batch_shape, 1, 1), (*sample_shape, 1), (1, 1, self.event_shape[-1]))
        batch = shape[:-2]
        state = OneHotCategorical(logits=self.initial_logits.expand((*batch, -1))).sample()
        letters, transitions = _finite(self.observation_logits), _finite(self.transition_logits)
        rows = []
        for _ in range(shape[-2]):
            row = (state.unsqueeze(-2) @ letters).squeeze(-2)
            rows.append(OneHotCategorical(logits=row).sample())
            following = (state.unsqueeze(-2) @ transitions).squeeze(-2)
            state = OneHotCategorical(logits=following).sample()
        return torch.stack(rows, -2)

    def _filtered(self, value: Tensor) -> tuple[Tensor, Tensor]:
        start, steps = self._start_and_steps(value)
        batch = broadcast_shape(self.batch_shape, start.shape[:-1])
        states = [start.expand((*batch, -1)).log_softmax(-1)]
        for step in steps.unbind(-3):
            states.append((states[-1].unsqueeze(-1) + step).logsumexp(-2).log_softmax(-1))
        return torch.stack(states, -2), steps

    def filter(self, value: Tensor) -> Tensor:
        """The log probabilities of the states at each time given the rows until then.

        Args:
            value: one-hot rows, ``(..., time, letters)``.
        """
        return self._filtered(value)[0]

    def smooth(self, value: Tensor) -> Tensor:
        """The log probabilities of the states at each time given all rows.

        Args:
            value: one-hot rows, ``(..., time, letters)``.
        """
        filtered, steps = self._filtered(value)
        later = [torch.zeros_like(filtered[..., 0, :])]
        for step in reversed(steps.unbind(-3)):
            later.append((later[-1].unsqueeze(-2) + step).logsumexp(-1))
        return (filtered + torch.stack(later[::-1], -2)).log_softmax(-1)

    def sample_states(self, value: Tensor) -> Tensor:
        """Paths of states drawn given the rows: filter forward, draw backward.

        Args:
            value: one-hot rows, ``(..., time, letters)``.
        """
        filtered = self.filter(value)
        last, *earlier = reversed(filtered.unbind(-2))
        states = [Categorical(logits=last).sample()]  # type: ignore[no-untyped-call]
        for now in earlier:
            chosen = (now.unsqueeze(-1) + self.transition_logits).gather(
                -1, states[-1][..., None, None].expand((*now.shape, 1))
            )
            states.append(Categorical(logits=chosen.squeeze(-1)).sample())  # type: ignore[no-untyped-call]
        return torch.stack(states[::-1], -1)

    def map_states(self, value: Tensor) -> Tensor:
        """The most probable path of states given the rows (Viterbi, 1967).

        Args:
            value: one-hot rows, ``(..., time, letters)``.
        """
        start, steps = self._start_and_steps(value)
        batch = broadcast_shape(self.batch_shape, start.shape[:-1])
        best = start.expand((*batch, -1))
        came_from = []
        for step in steps.unbind(-3):
            best, source = (best.unsqueeze(-1) + step).max(-2)
            came_from.append(source)
        states = [best.argmax(-1)]
        for source in reversed(came_from):
            states.append(source.gather(-1, states[-1].unsqueeze(-1)).squeeze(-1))
        return torch.stack(states[::-1], -1)

    def given_states(self, states: Tensor) -> OneHotCategorical:
        """The distribution of the rows given states.

        Args:
            states: whole numbers, ``(..., time)``.
        """
        letters = self.observation_logits
        batch = broadcast_shape(self.batch_shape, states.shape[:-1])
        index = states.expand((*batch, -1)).unsqueeze(-1).expand((*batch, -1, letters.shape[-1]))
        return OneHotCategorical(logits=letters.expand((*batch, -1, -1)).gather(-2, index))

    def sample_given_states(self, states: Tensor) -> Tensor:
        """Rows drawn given states.

        Args:
            states: whole numbers, ``(..., time)``.
        """
        return self.given_states(states).sample()


def _finite(logits: Tensor) -> Tensor:
    # A logit of minus infinity times zero would be NaN.
    return logits.clamp(min=torch.finfo(logits.dtype).min)
