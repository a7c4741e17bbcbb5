"""The state of a fit between stages: what was found, what was judged, and how much time is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from ember.fit.outcome import SPENT, StageRecord
from ember.infer.density.judging.judge import Gap, Limits, Quantities, Weighed, gap, weigh, weigh_more
from ember.infer.density.judging.places import Place
from ember.infer.density.judging.tails import tail_indices
from ember.infer.vi.density import Counted
from ember.infer.vi.families.family import Affine, Family
from ember.infer.vi.families.low_rank import LowRankNormal
from ember.infer.vi.families.mixture import Mixture
from ember.infer.vi.families.normal import Normal, StudentT
from ember.infer.vi.families.skewed import SinhArcsinh
from ember.infer.vi.hmc import Audit
from ember.infer.vi.locate import Located
from ember.infer.vi.natural_gradient import Certificate
from ember.ops.quantiles import weighed_quantile

T = TypeVar("T")
TAIL_SHARE, TAIL_DF = 0.25, 3  # the defensive part of a proposal
PLACE_SHARE, PLACE_DF = 0.25, 8  # of places with mass besides
LOOK, LOOK_NUMBERS = 1 << 14, 1 << 20  # at first: draws, and numbers in them
MOST_NUMBERS, FEWEST = 1 << 23, 1 << 12  # of the draws of a proposal in many dims
MORE = 4  # times the draws, where that may decide
APART = 0.5  # standard deviations between the centres of two modes,
NARROW = -1.4  # or the log of how much narrower one is
MANY = 50  # dims
_MIDDLE = torch.tensor([0.16, 0.84], dtype=torch.double)
_NO_SD = 2.0  # index of a tail


@dataclass(frozen=True)
class Options:
    """Holds what a caller of :func:`fit_density` may choose.

    Attributes:
        draws: how many draws of each proposal are judged.
        budget: the time for the fit, in seconds.
        seed: the seed of everything.
        audit: whether chains are to confirm the outcome.
        limits: what the verdict asks for.
        watch: called after each step of a fit with the name of the stage and the ELBO, for a bar of progress.

    >>> from ember.fit import Options, fit_density
    >>> from ember.infer.vi import FunctionDensity
    >>> density = FunctionDensity(2, lambda u: -0.5 * u.square().sum(-1))
    >>> fit_density(density, options=Options(draws=4096, seed=1)).verdict.status
    'ok'
    """

    draws: int = 1 << 15
    budget: float = 30.0
    seed: int = 0
    audit: bool = False
    limits: Limits = field(default_factory=Limits)
    watch: Callable[[str, float], None] = lambda stage, elbo: None


@dataclass(frozen=True)
class Judged:
    """A proposal with its weighed draws."""

    stage: str
    family: Family
    proposal: Family
    weighed: Weighed


@dataclass
class State:
    """What the stages of one fit share; each adds to it."""

    p: Counted
    quantities: Quantities
    options: Options
    begun: float = field(default_factory=time.perf_counter)
    located: Located | None = None
    normal: Normal | None = None
    low_rank: LowRankNormal | None = None
    guide: Family | None = None
    far: tuple[Place, ...] = ()
    bend: SinhArcsinh | None = None
    mixture: Mixture | None = None
    audit: Audit | None = None
    chained: Judged | None = None
    certificate: Certificate | None = None
    losses: list[float] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    records: list[StageRecord] = field(default_factory=list)
    interrupted: str = ""
    _missed: dict[int, bool] = field(default_factory=dict)
    _tails: Tensor | None = None

    @property
    def seconds(self) -> float:
        """Since the fit began."""
        return time.perf_counter() - self.begun

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self.options.budget - self.seconds

    def until_spent(self, steps: Iterable[T]) -> Iterator[T]:
        """The steps of a fit, as long as there is time to judge what comes of it; at least one."""
        for step in steps:
            yield step
            if self.left <= min(self._first_look() * self.p.seconds_a_row, self.options.budget / 2):
                self.interrupted = SPENT
                return

    def judge(self, stage: str, family: Family, proposal: Family, draws: int | None = None) -> Judged:
        """Draw, weigh, remember. A first look at a part of the draws is enough where it leaves no doubt."""
        seed = 1000 * self.options.seed + len(self.judged) + 1
        wanted = draws or min(self.options.draws, max(FEWEST, MOST_NUMBERS // self.p.dim))
        weighed = weigh(self.p, proposal, self.quantities, draws or min(wanted, self._first_look()), seed)
        while (known := len(weighed.u)) < wanted and not weighed.is_clear(self.options.limits):
            further = min(known, wanted - known)
            weighed = weigh_more(self.p, weighed, proposal, self.quantities, further, seed + 211 + known)
        more = (MORE - 1) * wanted
        if (
            len(weighed.u) == wanted == self.options.draws
            and not weighed.is_clear(self.options.limits)
            and weighed.is_near(self.options.limits)
            and self.left > 2 * more * self.p.seconds_a_row
        ):
            weighed = weigh_more(self.p, weighed, proposal, self.quantities, more, seed + 500)
        self.judged.append(Judged(stage, family, proposal, weighed))
        return self.judged[-1]

    def _first_look(self) -> int:
        """Draws, a power of two."""
        affordable = min(LOOK, LOOK_NUMBERS // self.p.dim)
        return max(FEWEST, 1 << max(affordable, 1).bit_length() - 1)

    def best(self) -> Judged:
        """The last proposal that is good, else the last whose means are, else that of lowest k-hat and most effective draws."""
        limits = self.options.limits
        for good in (Weighed.all_hold, Weighed.means_hold):
            found = [
                judged
                for judged in self.judged
                if good(judged.weighed, limits) and not self.misses_modes(judged)
            ]
            if found:
                return found[-1]
        return max(self.judged, key=lambda judged: (judged.weighed.k_hat < limits.k_hat, judged.weighed.ess))

    def agreement(self) -> Gap | None:
        """Of the last proposal with the nearest earlier one that is good too; None without one."""
        limits, last = self.options.limits, self.judged[-1].weighed
        others = [judged.weighed for judged in self.judged[:-1] if judged.weighed.all_hold(limits)]
        gaps = [gap(other.moments, last.moments) for other in others]
        return min(gaps, key=lambda found: max(found.mean, found.sd)) if gaps else None

    def is_settled(self) -> bool:
        """Whether one easy proposal, two that agree, or a good one and chains, say enough."""
        if not self.judged:
            return False
        last, limits = self.judged[-1], self.options.limits
        if self.is_confirmed() or self.rests_on_chains():
            return True
        if not last.weighed.all_hold(limits) or self.misses_modes(last):
            return False
        converged = self.certificate is None or self.certificate.holds or len(self.judged) > 1
        if last.weighed.is_easy(limits) and converged:
            return True
        agreement = self.agreement()
        if agreement is None or not agreement.within(limits):
            return False
        return self.least_tail() > limits.tail_of_proposals

    def is_confirmed(self) -> bool:
        """Whether healthy chains from good draws keep their moments, up to the errors of both."""
        best, limits = self.best(), self.options.limits
        if self.misses_modes(best) or not self.chains_agree(best):
            return False
        if not best.weighed.all_hold(limits):
            return self.audited() is not None
        return self.least_tail() > limits.tail_of_chains

    def rests_on_chains(self) -> bool:
        """Whether, in many dims, the draws of chains are the answer, since weights do not hold."""
        best = self.best()
        missed = best.weighed.all_hold(self.options.limits) or self.misses_modes(best)
        return self.is_large() and not missed and self.audited() is not None

    def chains_agree(self, judged: Judged) -> bool | None:
        """Whether healthy chains have the moments of a proposal, None if there are none."""
        limits = self.options.limits
        if (
            self.chained is None
            or self.audit is None
            or not self.audit.is_healthy(limits.r_hat, limits.drift)
        ):
            return None
        a, b = judged.weighed, self.chained.weighed
        means = (a.moments.mean - b.moments.mean).abs() / b.moments.sd
        sds = (a.moments.sd / b.moments.sd).log().abs()
        far = (limits.agree_sd + 2 * b.sd_errors).clamp(max=limits.farthest_sd)
        close = (means <= limits.agree_mean + 2 * b.mean_errors) & (sds <= far)
        return bool((close | (a.moments.sd == 0)).all())

    def is_large(self) -> bool:
        """Whether k-hat may be high although the guide is good."""
        return self.p.dim > MANY

    def audited(self) -> Judged | None:
        """The draws of healthy chains with small errors: in many dims, or where weights hold and the chains keep the moments."""
        limits, chained, best = self.options.limits, self.chained, self.best()
        if chained is None or self.audit is None:
            return None
        held = best.weighed.weights_hold(limits) and bool(self.chains_agree(best))
        if not (self.is_large() or held) or self.least_tail() < limits.tail_of_chains:
            return None
        small = (chained.weighed.mean_errors < limits.audit_error) & (
            chained.weighed.sd_errors < limits.audit_error
        )
        return chained if self.audit.is_healthy(limits.r_hat, limits.drift) and bool(small.all()) else None

    @property
    def modes(self) -> int:
        """How many modes are known: places of mass with centres of their own, or far narrower than the fit."""
        if self.normal is None:
            return 1 + len(self.far)
        centres, narrow = [torch.zeros_like(self.normal.loc)], 0
        for place in self.far:
            centre = self.normal.whiten(place.normal.loc.unsqueeze(0))[0]
            if all(float((centre - other).norm()) > APART for other in centres):
                centres.append(centre)
            elif (
                float((place.normal.scale_tril.diagonal() / self.normal.scale_tril.diagonal()).log().mean())
                < NARROW
            ):
                narrow = 1
        return len(centres) + narrow

    def misses_modes(self, judged: Judged) -> bool:
        """Whether places with mass are known where the proposal has next to nothing."""
        known = id(judged.proposal)
        if known not in self._missed:
            self._missed[known] = any(
                place.is_missed(judged.proposal, judged.weighed, self.options.limits) for place in self.far
            )
        return self._missed[known]

    def defended(self, family: Family) -> Mixture:
        """A proposal that draws from known places with mass too, and whose weights are bounded in more places."""
        whole = defended(family, around(self))
        if not self.far:
            return whole
        places = [StudentT(place.normal, PLACE_DF) for place in self.far]
        share = PLACE_SHARE / len(places)
        return Mixture((whole, *places), (1 - PLACE_SHARE, *([share] * len(places))))

    def least_tail(self) -> float:
        """The index of the heaviest tail of a quantity: proposals and chains may agree on what both have not reached."""
        return float(self.tails().min())

    def tails(self) -> Tensor:
        """The index of the heaviest tail of each quantity, shape ``(Q,)``."""
        if self._tails is None:
            weighed = self.best().weighed
            spread = weighed.moments.sd.nan_to_num(torch.inf)
            wild = ~weighed.has_both(self.options.limits)
            if bool(wild.any()):  # what is asked for is how wide it is without its tails
                low, high = weighed_quantile(weighed.values[:, wild], _MIDDLE, weighed.log_weights)
                spread[wild] = torch.minimum(spread[wild], (high - low) / 2)
            self._tails = tail_indices(self.p, self.quantities, around(self), spread)
        return self._tails

    def wild(self) -> Tensor:
        """Quantities whose own tails are at fault where the weights are good: shape ``(Q,)``."""
        return _wild(self.best(), self.options.limits)

    def only(self, which: Tensor) -> State:
        """The same fit, as far as some of the quantities go: ``which`` has shape ``(Q,)``."""
        columns = which.nonzero().squeeze(-1)

        def of(judged: Judged) -> Judged:
            return replace(judged, weighed=judged.weighed.only(columns))

        tails = self.tails()
        return replace(
            self,
            quantities=lambda u: self.quantities(u)[:, columns],
            far=tuple(place.only(columns) for place in self.far),
            audit=None if self.audit is None else self.audit.only(columns),
            chained=None if self.chained is None else of(self.chained),
            judged=[of(judged) for judged in self.judged],
            _missed={},
            _tails=tails[columns],
        )

    def is_final(self) -> bool:
        """Whether enough is known, or all that can be: the rest are quantities without a standard deviation."""
        if self.is_settled():
            return True
        if not self.judged:
            return False
        wild = self.wild()
        if not bool(wild.any()) or bool(wild.all()):
            return False
        before = [_wild(judged, self.options.limits) for judged in self.judged[:-1]]
        again = torch.stack(before).any(0) if before else torch.zeros_like(wild)
        # A k-hat above its limit twice says little of a tail that is light along every line.
        again &= torch.isinf(self.tails()) | (self.tails() < self.options.limits.tail_of_chains)
        return bool((again | (self.tails() < _NO_SD))[wild].all()) and self.only(~wild).is_settled()


def _wild(judged: Judged, limits: Limits) -> Tensor:
    has_both = judged.weighed.has_both(limits)
    return ~has_both if judged.weighed.weights_hold(limits) else torch.zeros_like(has_both)


def defended(family: Family, around: Affine) -> Mixture:
    """A proposal whose weights are bounded in more places: a quarter of it is a t with the scale of the normal."""
    return Mixture((family, StudentT(around, TAIL_DF)), (1 - TAIL_SHARE, TAIL_SHARE))


def around(state: State) -> Affine:
    """The normal fitted so far, of whichever kind."""
    return state.low_rank if state.low_rank is not None else found_normal(state)


def found_normal(state: State) -> Normal:
    """The normal fitted so far."""
    if state.normal is None:
        raise RuntimeError("this stage comes after the fit of a normal")
    return state.normal
