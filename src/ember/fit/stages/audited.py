"""The last word where proposals do not settle it: do chains that start from the draws keep their moments?"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ember.fit.outcome import AUDIT
from ember.fit.state import Judged, State, around
from ember.infer.vi.families.charts import AffineChart, BentChart, Chart
from ember.infer.vi.families.warped import Warped
from ember.infer.vi.hmc import Audit, Chained, Chains, audit, chains
from ember.ops.psis import Moments
from ember.ops.resampled import resampled

COUNT = 256
PRECISE = 0.02  # of means in standard deviations, and of standard deviations
CHECKED = 60  # iterations between looks whether chains have forgotten their start


@dataclass(frozen=True)
class AuditByChains:
    """Short chains from the best draws, compared with what these say."""

    settings: Chains = field(default_factory=lambda: Chains(keep=5 * CHECKED))
    early: bool = False
    name: str = AUDIT

    def applies(self, state: State) -> bool:
        """In many dims, to confirm what is good, and at the end, where weights can be used."""
        if not state.judged:
            return False
        judged, limits = state.best(), state.options.limits
        best = judged.weighed
        if state.chained is not None and state.chained.family is judged.family:
            return False
        if self.early:
            good = best.means_hold(limits) if isinstance(judged.family, Warped) else best.all_hold(limits)
            return (good or state.is_large()) and not state.misses_modes(judged)
        return best.weights_hold(limits) or state.is_large() or state.options.audit

    def rows(self, state: State) -> int:
        """Until the third look, trajectories of half the length."""
        return COUNT * (self.settings.warm + 3 * CHECKED) * self.settings.steps // 4

    def overhead(self, state: State) -> float:
        """Small operators of torch."""
        leaps = (self.settings.warm + 3 * CHECKED) * self.settings.steps / 4
        width = state.p.dim if state.low_rank is None else 2 * state.low_rank.basis.shape[1]
        bent = 5e-3 if isinstance(state.best().family, Warped) else 0.0
        return leaps * (1e-4 + bent + 2e-9 * COUNT * state.p.dim * width)

    def run(self, state: State) -> None:
        """Run the chains; their draws are judged as another proposal."""
        judged, seed = state.best(), state.options.seed
        limits = state.options.limits
        weighed = judged.weighed
        start = weighed.u[resampled(weighed.log_weights, weighed.ess, COUNT, seed)]
        kept: list[Chained] = []
        values: list[Tensor] = []
        for now in state.until_spent(chains(state.p, start, chart_of(state, judged), self.settings, seed)):
            state.options.watch(self.name, float("nan"))
            if now.warm:
                continue
            kept.append(now)
            values.append(state.quantities(now.u))
            if len(kept) % CHECKED == 0:
                accepted = sum(one.accepted for one in kept) / len(kept)
                state.audit = audit(torch.stack(values), accepted)
                state.chained = as_judged(self.name, judged, kept, torch.cat(values), state.audit)
                if state.audit.is_healthy(limits.r_hat, limits.drift) and state.audit.worst_error < PRECISE:
                    return


def chart_of(state: State, judged: Judged) -> Chart:
    """Coordinates in which the target is closest to a standard normal: those of the flow, if that is what was judged."""
    if isinstance(judged.family, Warped):
        return BentChart(judged.family)
    return AffineChart(around(state))


def as_judged(name: str, judged: Judged, kept: list[Chained], values: Tensor, found: Audit) -> Judged:
    """Draws of chains as weighed draws: equal weights, and the errors that the chains show."""
    u, log_p = torch.cat([now.u for now in kept]), torch.cat([now.log_p for now in kept])
    sd_error = found.mcse_sd * found.sd
    moments = Moments(found.mean, found.sd, found.mcse * found.sd, sd_error)
    ess = 1 / float(found.mcse.max().clamp_min(1e-6)) ** 2
    equal = torch.full_like(log_p, -torch.tensor(float(len(u))).log().item())
    weighed = replace(
        judged.weighed,
        u=u,
        log_p=log_p,
        log_ratios=torch.zeros_like(log_p),
        log_weights=equal,
        values=values,
        ess=min(ess, float(len(u))),
        moments=moments,
    )
    return Judged(name, judged.family, judged.proposal, weighed)
