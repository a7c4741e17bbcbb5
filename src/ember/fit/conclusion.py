"""From all that was judged to one verdict, and the draws that go with it."""

from __future__ import annotations

from dataclasses import dataclass

from ember.fit.outcome import CONFIRMED
from ember.fit.state import Judged, State
from ember.infer.density.judging.judge import gap
from ember.infer.density.judging.verdict import Numbers, Status, Verdict, shortcomings

NO_MEAN = 1.5  # index of a tail: a mean exists above one, and comes slowly until two


@dataclass(frozen=True)
class Conclusion:
    """What a fit comes to.

    Attributes:
        verdict: on all quantities together, which is that on the worst.
        judged: the proposal whose draws are handed back.
        words: on each quantity.
        rest: the verdict on the others, where some quantities alone are at fault; None where none or all are.
    """

    verdict: Verdict
    judged: Judged
    words: tuple[Status, ...]
    rest: Verdict | None = None


def concluded(state: State) -> Conclusion:
    """The verdict, on the whole and on each quantity, and the proposal whose draws are handed back.

    Where the weights are good, and some quantities have tails that no draws average, the others are judged without them.
    """
    verdict, judged = _whole(state)
    words: list[Status] = [verdict.status] * len(judged.weighed.k_means)
    wild = state.wild()
    if verdict or not bool(wild.any()) or bool(wild.all()):
        return Conclusion(verdict, judged, tuple(words))
    rest, best = _whole(state.only(~wild))
    if rest.status not in ("ok", "means only"):
        return Conclusion(verdict, judged, tuple(words))
    every = [*state.judged, *([state.chained] if state.chained else [])]
    whole = next(one for one in every if one.proposal is best.proposal and one.stage == best.stage)
    no_mean = wild & (~whole.weighed.has_mean(state.options.limits) | (state.tails() < NO_MEAN))
    with_means = _whole(state.only(~no_mean))[0].status if bool((wild & ~no_mean).any()) else "poor"
    of_wild: Status = "means only" if with_means == "means only" else "poor"
    for column in wild.nonzero().flatten().tolist():
        words[column] = "poor" if bool(no_mean[column]) else of_wild
    for column in (~wild).nonzero().flatten().tolist():
        words[column] = rest.status
    why = f"{_count(int(wild.sum()))} no mean or no standard deviation that draws can tell"
    status: Status = "poor" if "poor" in words else "means only"
    reasons = (why, *shortcomings(whole.weighed, state.options.limits))
    return Conclusion(_verdict(state, whole, status, reasons), whole, tuple(words), rest)


def _count(wild: int) -> str:
    return "one quantity has" if wild == 1 else f"{wild} quantities have"


def _whole(state: State) -> tuple[Verdict, Judged]:
    """The verdict on all quantities together."""
    limits, best = state.options.limits, state.best()
    audited = state.audited()
    if audited is not None and not best.weighed.all_hold(limits) and not state.misses_modes(best):
        chains = "by chains from the draws of the guide, which have forgotten where they began"
        return _verdict(state, audited, "ok", (chains, _modes(state))), audited
    agree = state.chains_agree(best)
    if agree is False:
        reasons = (
            "chains that start from the draws do not keep their moments",
            *shortcomings(best.weighed, limits),
        )
        return _verdict(state, best, "poor", reasons), best
    if state.is_settled():
        how = (CONFIRMED,) if agree else ()
        return _verdict(state, best, "ok", (*how, _modes(state))), best
    reasons = shortcomings(best.weighed, limits)
    if state.interrupted:
        reasons = (state.interrupted, *reasons)
    if state.certificate is not None and not state.certificate.holds and len(state.judged) == 1:
        found = state.certificate
        moves = f"the mean would still move {found.mean:.2f} SD, the scale {100 * found.scale:.0f} %"
        return _verdict(state, best, "not converged", (moves, *reasons)), best
    if state.misses_modes(best):
        missed = f"{len(state.far)} other modes were found, which the proposal does not cover"
        return _verdict(state, best, "poor", (missed, *reasons)), best
    if best.weighed.means_hold(limits):
        return _of_good_means(state, best, reasons, agree), best
    if state.low_rank is not None and state.is_large():
        many = f"in {state.p.dim} dims k-hat may be high although the guide is good: audit=True may tell"
        return _verdict(state, best, "unverified", (many, *reasons)), best
    return _verdict(state, best, "poor", reasons), best


def _modes(state: State) -> str:
    return f"given that no mode was missed ({state.modes} found)"


def _of_good_means(state: State, best: Judged, reasons: tuple[str, ...], agree: bool | None) -> Verdict:
    """Means can be used if nothing contradicts them: another proposal, or chains."""
    limits = state.options.limits
    others = [other for other in state.judged if other is not best and other.weighed.means_hold(limits)]
    near = any(gap(other.weighed.moments, best.weighed.moments).mean < limits.agree_mean for other in others)
    if (near or agree or len(state.judged) == 1) and state.least_tail() < NO_MEAN:
        why = f"a tail falls with the power {state.least_tail():.1f}: draws do not tell its mean"
        return _verdict(state, best, "poor", (why, *reasons))
    if near or agree or len(state.judged) == 1:
        return _verdict(state, best, "means only", reasons or (_unconfirmed(state),))
    why = "no other proposal has the same means" if others else "no second proposal confirms the means"
    return _verdict(state, best, "poor", (why, *reasons))


def _unconfirmed(state: State) -> str:
    if state.least_tail() < state.options.limits.tail_of_chains:
        return (
            f"a tail falls with the power {state.least_tail():.1f}: draws do not tell its standard deviation"
        )
    return "nothing confirms the standard deviations"


def _verdict(state: State, best: Judged, status: Status, reasons: tuple[str, ...]) -> Verdict:
    return Verdict(status, reasons, Numbers.of(best.weighed, state.certificate, state.agreement()))
