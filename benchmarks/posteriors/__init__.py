"""The models of ``tools.trust.posteriors`` in NumPyro, whose long chains are the truth about them."""

from benchmarks.posteriors import (
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
from benchmarks.posteriors.program import Program as Program

PROGRAMS: dict[str, Program] = {
    **hierarchical.PROGRAMS,
    **time_series.PROGRAMS,
    **hidden_states.PROGRAMS,
    **processes.PROGRAMS,
    **item_response.PROGRAMS,
    **regressions.PROGRAMS,
    **counts.PROGRAMS,
    **categories.PROGRAMS,
    **curves.PROGRAMS,
}
