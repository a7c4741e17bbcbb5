"""The stages of a fit, from an easy family to harder ones."""

from collections.abc import Mapping, Sequence

from ember.fit.stages.audited import AuditByChains as AuditByChains
from ember.fit.stages.bent import FitFlow as FitFlow
from ember.fit.stages.bent import FitSkewed as FitSkewed
from ember.fit.stages.low_rank import FitLowRank as FitLowRank
from ember.fit.stages.mixed import FitMixture as FitMixture
from ember.fit.stages.normal import FitNormal as FitNormal
from ember.fit.stages.normal import Locate as Locate
from ember.fit.stages.patched import Patch as Patch
from ember.fit.stages.stage import Stage as Stage
from ember.infer.vi.natural_gradient import NaturalGradient

LADDER: Sequence[Stage] = (
    Locate(),
    FitNormal(),
    FitSkewed(),
    FitMixture(),
    AuditByChains(early=True),
    FitFlow(),
    AuditByChains(early=True),
    Patch(),
    AuditByChains(),
)

_NORMAL = (Locate(), FitNormal(judged=False))
_CONFIRMED = AuditByChains(early=True)
LADDERS: Mapping[str, Sequence[Stage]] = {
    "auto": LADDER,
    "mean-field": (Locate(), FitNormal(NaturalGradient(diagonal=True), name="mean-field"), _CONFIRMED),
    "full-rank": (Locate(), FitNormal(), _CONFIRMED),
    "low-rank": (Locate(), FitLowRank(), _CONFIRMED),
    "skewed": (*_NORMAL, FitSkewed(), _CONFIRMED),
    "mixture": (*_NORMAL, FitMixture(), _CONFIRMED),
    "flow": (*_NORMAL, FitFlow(), _CONFIRMED),
}
