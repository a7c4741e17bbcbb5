"""Models of the kinds that collections of reference posteriors hold, written as users write them."""

from tools.trust.posteriors import (
    categories,
    counts,
    curves,
    hidden_states,
    hierarchical,
    item_response,
    processes,
    regressions,
    time_series,
)
from tools.trust.posteriors.posterior import Data as Data
from tools.trust.posteriors.posterior import Posterior as Posterior
from tools.trust.posteriors.posterior import fingerprint as fingerprint

POSTERIORS: dict[str, Posterior] = {
    **hierarchical.POSTERIORS,
    **time_series.POSTERIORS,
    **hidden_states.POSTERIORS,
    **processes.POSTERIORS,
    **item_response.POSTERIORS,
    **regressions.POSTERIORS,
    **counts.POSTERIORS,
    **categories.POSTERIORS,
    **curves.POSTERIORS,
}
