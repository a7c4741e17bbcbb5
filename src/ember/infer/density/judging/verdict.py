"""Whether the numbers of a fit can be used, in a word, with reasons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ember.infer.density.judging.judge import Gap, Limits, Weighed
from ember.infer.vi.natural_gradient import Certificate

Status = Literal["ok", "means only", "poor", "not converged", "unverified"]


@dataclass(frozen=True)
class Numbers:
    """What a verdict rests on; worst over the quantities.

    Attributes:
        k_hat: of the weights.
        k_mean: of the means.
        k_square: of the squared deviations.
        ess: effective draws,
        draws: of so many.
        mcse_mean: Monte Carlo error of a mean, in standard deviations.
        mcse_sd: of a standard deviation, as a fraction.
        certificate: how far the guide is from its own optimum; None where it has none.
        agreement: how far two proposals are apart; None where one was enough, or none agreed.
    """

    k_hat: float
    k_mean: float
    k_square: float
    ess: float
    draws: int
    mcse_mean: float
    mcse_sd: float
    certificate: Certificate | None = None
    agreement: Gap | None = None

    @staticmethod
    def of(weighed: Weighed, certificate: Certificate | None, agreement: Gap | None) -> Numbers:
        """From weighed draws."""
        return Numbers(
            weighed.k_hat,
            float(weighed.k_means.max()),
            float(weighed.k_squares.max()),
            weighed.ess,
            len(weighed.u),
            float(weighed.mean_errors.max()),
            float(weighed.sd_errors.max()),
            certificate,
            agreement,
        )


@dataclass(frozen=True)
class Verdict:
    """Says whether the numbers of a fit can be used; true only when it is ``ok``.

    Every verdict assumes that no mode was missed: no diagnostic that evaluates a density where its own draws
    fall can know of others.

    Attributes:
        status: ``ok``: means and standard deviations can be used. ``means only``: the means can. ``poor``:
            neither. ``not converged``: the fit has not come to its own optimum. ``unverified``: nothing can
            be said.
        reasons: why, a sentence each.
        numbers: what the verdict rests on; None where nothing could be computed.
        quantities: the word on each quantity by name, ``theta[0]`` for an entry of a site. The status is that
            of the worst.

    >>> from ember.fit import Verdict
    >>> bool(Verdict("unverified", ("the log density of the whole data is not known",), None))
    False
    """

    status: Status
    reasons: tuple[str, ...]
    numbers: Numbers | None
    quantities: Mapping[str, Status] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.status == "ok"

    def __str__(self) -> str:
        return "; ".join((self.status, *self.reasons))


def shortcomings(weighed: Weighed, limits: Limits) -> tuple[str, ...]:
    """What keeps draws from being good, in words."""
    numbers = Numbers.of(weighed, None, None)
    found = []
    if not numbers.k_hat < limits.k_hat:
        found.append(f"k-hat of the weights is {numbers.k_hat:.2f}, above {limits.k_hat:.2f}")
    if not numbers.ess > limits.ess:
        found.append(f"{numbers.ess:.0f} effective draws of {numbers.draws}, fewer than {limits.ess:.0f}")
    if not math.isfinite(numbers.mcse_mean):
        found.append("a quantity has values too large to average, or that are no numbers")
    elif not numbers.mcse_mean < limits.mcse_mean:
        found.append(
            f"the Monte Carlo error of a mean is {numbers.mcse_mean:.3f} SD, above {limits.mcse_mean:.2f}"
        )
    if not numbers.k_mean < limits.k_hat:
        found.append(
            f"k-hat of a mean is {numbers.k_mean:.2f}, above {limits.k_hat:.2f}: perhaps that mean does not exist"
        )
    if not numbers.k_square < limits.k_hat:
        found.append(
            f"k-hat of a squared deviation is {numbers.k_square:.2f}, above {limits.k_hat:.2f}: a heavy tail"
        )
    if not math.isfinite(numbers.mcse_sd):
        if math.isfinite(numbers.mcse_mean):
            found.append("a quantity has values too large to square")
    elif numbers.mcse_sd > 1:
        found.append("the Monte Carlo error of an SD is larger than that SD: a heavy tail, or none")
    elif not numbers.mcse_sd < limits.mcse_sd:
        found.append(
            f"the Monte Carlo error of an SD is {100 * numbers.mcse_sd:.1f} %, above {100 * limits.mcse_sd:.0f} %"
        )
    return tuple(found)
