"""The table of a fit: what is known of each quantity, with its error."""

from __future__ import annotations

from collections.abc import Sequence

from ember.fit.outcome import Outcome
from ember.report.summary import moment_columns, quantile_columns, quantiles_of
from ember.report.table import Column, Table


def summarised(names: Sequence[str], outcome: Outcome) -> Table:
    """Moments, quantiles, their Monte Carlo errors, and how far the weights can be relied on.

    Columns: ``mean``, ``sd``, ``mcse_mean``, ``mcse_sd``, ``5%``, ``50%``, ``95%``, ``k_hat`` (of the estimate of the mean)
    and ``ess`` (draws from the posterior itself that would give the mean as well). Where the verdict does not vouch for a
    number it stands in brackets.

    Args:
        names: of the quantities.
        outcome: of the fit.
    """
    weighed, words, rest = outcome.weighed, outcome.by_column, outcome.rest
    moments = weighed.moments
    log_weights = weighed.log_weights
    quantiles = quantiles_of(weighed.values, log_weights)
    columns = moment_columns(moments.mean, moments.sd, quantiles, words)
    if rest is not None:  # the weights are good: what has no mean has quantiles all the same
        columns |= quantile_columns(quantiles, [rest.status] * len(words))
    ess = (moments.sd / moments.mcse_mean).square().nan_to_num(0.0, 0.0, 0.0).clamp(max=len(log_weights))
    errors = {
        "mcse_mean": Column(moments.mcse_mean, format=".1g"),
        "mcse_sd": Column(moments.mcse_sd, format=".1g"),
    }
    return Table(
        tuple(names),
        {
            "mean": columns.pop("mean"),
            "sd": columns.pop("sd"),
            **errors,
            **columns,
            "k_hat": Column(weighed.k_means, format=".2f"),
            "ess": Column(ess, format=",.0f"),
        },
        words=words,
    )
