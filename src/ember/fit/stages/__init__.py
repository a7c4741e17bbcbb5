"""The stages of a fit, from an easy family to harder ones."""

from collections.abc import Sequence

from ember.fit.stages.audited import AuditByChains as AuditByChains
from ember.fit.stages.bent import FitFlow as FitFlow
from ember.fit.stages.bent import FitSkewed as FitSkewed
from ember.fit.stages.mixed import FitMixture as FitMixture
from ember.fit.stages.normal import FitNormal as FitNormal
from ember.fit.stages.normal import Locate as Locate
from ember.fit.stages.patched import Patch as Patch
from ember.fit.stages.stage import Stage as Stage

LADDER: Sequence[Stage] = (
    Locate(),
    FitNormal(),
    FitSkewed(),
    FitMixture(),
    AuditByChains(early=True),
    FitFlow(),
    Patch(),
    AuditByChains(),
)
