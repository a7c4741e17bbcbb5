"""What a fit leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ember.infer.density.judging.judge import Weighed
from ember.infer.density.judging.verdict import Status, Verdict
from ember.infer.vi.families.family import Family
from ember.infer.vi.natural_gradient import Certificate

AUDIT = "audit"
"""The stage whose draws are those of chains."""
CONFIRMED = "confirmed by chains that start from the draws"
"""A reason of a verdict."""
SPENT = "the budget was spent"
"""The note of a stage that was cut short."""


@dataclass(frozen=True)
class StageRecord:
    """Holds what is known of one stage of a fit.

    Attributes:
        name: the name of the stage, such as ``"full-rank"``.
        family: the class of the family that was fitted; empty where nothing was judged.
        elbo: the ELBO of the proposal that was judged, in nats; None where none was.
        k_hat: k-hat of its weights; None where none was judged.
        ess: its effective draws; None where none was judged.
        evaluations: how many rows of the density were evaluated.
        seconds: how long it took.
        note: why it was left out, or cut short; empty otherwise.
    """

    name: str
    family: str
    elbo: float | None
    k_hat: float | None
    ess: float | None
    evaluations: int
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """Holds everything that a fit has found, in unconstrained coordinates; :func:`fit_density` returns it.

    Attributes:
        weighed: the draws, their log densities and weights, and the moments of the quantities.
        family: the best single family that was fitted; None for a guide trained by steps.
        proposal: what the draws were drawn from; None for a guide trained by steps.
        stage: the name of the stage that the draws come from.
        stages: one record a stage, in order.
        losses: negative ELBO in nats, one a step of the full-rank fit or of the family asked for.
        certificate: how far the guide is from its own optimum.
        modes: how many modes were found.
        verdict: whether to use the numbers.
        worst: columns of the quantities, worst first.
        evaluations: how many rows of the density were evaluated in all.
        seconds: how long the fit took in all.
        stopped: whether Ctrl-C has ended it.
        words: the verdict on each quantity, by column; empty where it is the same for all.
        rest: the verdict on the other quantities, where some have no mean or no standard deviation; None
            elsewhere.
        final: whether nothing more is to be had: all is ok, but for quantities without a standard deviation.
    """

    weighed: Weighed
    family: Family | None
    proposal: Family | None
    stage: str
    stages: tuple[StageRecord, ...]
    losses: Tensor
    certificate: Certificate | None
    modes: int
    verdict: Verdict
    worst: tuple[int, ...]
    evaluations: int
    seconds: float
    stopped: bool = False
    words: tuple[Status, ...] = ()
    rest: Verdict | None = None
    final: bool = False

    @property
    def by_column(self) -> tuple[Status, ...]:
        """The verdict on each quantity."""
        return self.words or (self.verdict.status,) * len(self.weighed.k_means)

    def apart(self, names: Sequence[str]) -> list[str]:
        """Return the names of quantities that have another verdict than the rest.

        Args:
            names: the names of all quantities, by column.
        """
        words = zip(names, self.by_column, strict=True)
        return [name for name, word in words if self.rest is not None and word != self.rest.status]

    @property
    def draws(self) -> Tensor:
        """Unconstrained draws, shape ``(S, D)``."""
        return self.weighed.u

    @property
    def log_weights(self) -> Tensor:
        """Smoothed log weights of the draws, shape ``(S,)``; their exponentials sum to one."""
        return self.weighed.log_weights

    @property
    def log_p(self) -> Tensor:
        """Log densities of the draws, shape ``(S,)``."""
        return self.weighed.log_p
