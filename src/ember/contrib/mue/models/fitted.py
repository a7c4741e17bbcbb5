"""What models of sequences share: training in batches, and scores of each sequence."""

from __future__ import annotations

import datetime
import math
from abc import abstractmethod
from collections.abc import Sized
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Adam
from torch.utils.data import DataLoader, Dataset

import ember.distributions as dist
from ember import poutine
from ember.infer import SVI, Trace_ELBO
from ember.optim import MultiStepLR
from ember.primitives import param, sample

Sequences = Dataset[tuple[Tensor, Tensor]]


class Scores(NamedTuple):
    """What :meth:`SequenceModel.evaluate` returns; None where there are no test data."""

    train_lp: float
    test_lp: float | None
    train_perplex: float
    test_perplex: float | None


def normalised(logits: Tensor) -> Tensor:
    """Logits whose exponentials sum to one along the last dim."""
    return logits - logits.logsumexp(-1, True)


def prior(name: str, loc: Tensor, scale: Tensor) -> Tensor:
    """A site with independent normal priors, as one event."""
    return sample(name, dist.Normal(loc, scale).to_event(loc.dim()))


def posterior(name: str, loc: Tensor, scale: Tensor) -> Tensor:
    """The same in a guide, with parameters ``<name>_q_mn`` and, before softplus, ``<name>_q_sd``."""
    mean = param(f"{name}_q_mn", loc)
    sd = softplus(param(f"{name}_q_sd", scale))
    return sample(name, dist.Normal(mean, sd).to_event(loc.dim()))


def size_of(dataset: Sequences) -> int:
    """How many sequences there are."""
    return len(cast(Sized, dataset))


class SequenceModel(nn.Module):
    """Base of models with a method ``model`` and a method ``guide`` of a batch of sequences, weights after it.

    Args:
        cuda: move batches to the GPU.
        pin_memory: load batches to pinned memory.
    """

    local_sites: tuple[str, ...] = ("obs_seq",)
    """Sites that each sequence has for itself."""
    batch_size: int

    def __init__(self, cuda: bool, pin_memory: bool) -> None:
        super().__init__()
        for name, flag in (("cuda", cuda), ("pin_memory", pin_memory)):
            assert isinstance(flag, bool), f"{name} is True or False, and not {flag!r}"
        self.is_cuda = cuda
        self.pin_memory = pin_memory

    @abstractmethod
    def model(self, seq_data: Any, *weights: Any) -> None:
        """What sequences are like; weights of their terms come after them."""

    @abstractmethod
    def guide(self, seq_data: Any, *weights: Any) -> None:
        """The approximate posterior."""

    def _moved(self, sequences: Tensor) -> Tensor:
        return sequences.cuda() if self.is_cuda else sequences

    def _weights(self, size: int, batch: int, step: int) -> tuple[Tensor, ...]:
        """The arguments after the batch, in a step of training."""
        return (torch.tensor(size / batch),)

    def _local_weights(self) -> tuple[Tensor, ...]:
        """The same, for one sequence alone."""
        return (torch.tensor(1.0),)

    def _train(
        self, dataset: Sequences, epochs: int, batch_size: int, scheduler: Any, jit: bool
    ) -> list[float]:
        if scheduler is None:
            scheduler = MultiStepLR(
                {"optimizer": Adam, "optim_args": {"lr": 0.01}, "milestones": [], "gamma": 0.5}
            )
        device = torch.device("cuda" if self.is_cuda else "cpu")
        batches = DataLoader(
            dataset,
            batch_size=batch_size,
            shuffle=True,
            pin_memory=self.pin_memory,
            generator=torch.Generator(device=device),
        )
        self._make_parameters(batches)
        svi = SVI(self.model, self.guide, scheduler, Trace_ELBO(), compile="auto" if jit else None)
        losses: list[float] = []
        begin = datetime.datetime.now()
        for epoch in range(epochs):
            for sequences, _ in batches:
                weights = self._weights(size_of(dataset), sequences.shape[0], len(losses) + 1)
                losses.append(svi.step(self._moved(sequences), *weights))
                scheduler.step()
            print(epoch, losses[-1], " ", datetime.datetime.now() - begin)  # noqa: T201 - as in Pyro
        return losses

    def _make_parameters(self, batches: Any) -> None:
        """Run the guide once, so that its parameters are there."""
        sequences, _ = next(iter(batches))
        self.guide(self._moved(sequences), *self._local_weights())

    def evaluate(
        self, dataset_train: Sequences, dataset_test: Sequences | None = None, jit: bool = False
    ) -> Scores:
        """Bounds of the log probability, and perplexities: for each letter, the number of letters that are as likely.

        One draw of the guide is taken for each sequence. Of the bound only what belongs to the sequence itself counts.

        Args:
            dataset_train: sequences.
            dataset_test: other sequences.
            jit: without effect.

        Returns:
            Log probabilities of all training and of all test sequences, and the perplexities.
        """
        loaded = [
            DataLoader(sequences, batch_size=1, shuffle=False)
            for sequences in (dataset_train, dataset_test)
            if sequences is not None
        ]
        self._make_parameters(loaded[0])
        scores = [self._scores(batches) for batches in loaded]
        train_lp, train_perplex = scores[0]
        test_lp, test_perplex = scores[1] if dataset_test is not None else (None, None)
        return Scores(train_lp, test_lp, train_perplex, test_perplex)

    @torch.no_grad()
    def _scores(self, batches: Any) -> tuple[float, float]:
        bound, nats, count = 0.0, 0.0, 0
        for sequence, length in batches:
            args = (self._moved(sequence), *self._local_weights())
            guide_trace = poutine.trace(self.guide).get_trace(*args)
            conditioned = poutine.condition(self.model, data={"obs_seq": args[0]})
            model_trace = poutine.trace(poutine.replay(conditioned, trace=guide_trace)).get_trace(*args)
            local = float(model_trace.log_prob_sum(self._is_local) - guide_trace.log_prob_sum(self._is_local))
            bound += local
            nats -= local / float(length[0])
            count += 1
        return bound, math.exp(nats / count)

    def _is_local(self, name: str, site: Any) -> bool:
        return name in self.local_sites
