"""Names of ``pyro.distributions`` that Ember does not have yet; asking for one says so."""

from __future__ import annotations

NOT_YET = frozenset(
    [
        "CoalescentRateLikelihood",
        "CoalescentTimes",
        "CoalescentTimesWithRate",
        "GroupedNormalNormal",
        "OneOneMatching",
        "OneTwoMatching",
        "SineBivariateVonMises",
        "SpanningTree",
    ]
)
