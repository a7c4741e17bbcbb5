"""The table of a fit: what is known of each quantity, with its error."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ember.infer.density.judging.judge import Weighed
from ember.infer.density.judging.verdict import Status
from ember.ops.stats import weighed_quantile
from ember.report.table import Column, Table

_COLUMNS_AT_ONCE = 64


def summarised(names: Sequence[str], weighed: Weighed, status: Status) -> Table:
    """Moments, quantiles, their Monte Carlo errors, and how far the weights can be relied on.

    Columns: ``mean``, ``sd``, ``mcse_mean``, ``mcse_sd``, ``5%``, ``50%``, ``95%``, ``k_hat`` (of the estimate of the mean)
    and ``ess`` (draws from the posterior itself that would give the mean as well). Where the verdict does not vouch for a
    number it stands in brackets.

    Args:
        names: of the quantities.
        weighed: their draws.
        status: of the verdict.
    """
    moments = weighed.moments
    levels = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
    log_weights = weighed.log_weights
    quantiles = torch.cat(
        [
            weighed_quantile(part, levels, log_weights)
            for part in torch.split(weighed.values, _COLUMNS_AT_ONCE, 1)
        ],
        1,
    )
    no_means = status not in ("ok", "means only")
    no_spread = status != "ok"
    ess = (moments.sd / moments.mcse_mean).square().nan_to_num(0.0, 0.0, 0.0).clamp(max=len(log_weights))
    return Table(
        tuple(names),
        {
            "mean": Column(moments.mean, brackets=no_means),
            "sd": Column(moments.sd, brackets=no_spread),
            "mcse_mean": Column(moments.mcse_mean, format=".1g"),
            "mcse_sd": Column(moments.mcse_sd, format=".1g"),
            "5%": Column(quantiles[0], brackets=no_spread),
            "50%": Column(quantiles[1], brackets=no_means),
            "95%": Column(quantiles[2], brackets=no_spread),
            "k_hat": Column(weighed.k_means, format=".2f"),
            "ess": Column(ess, format=",.0f"),
        },
    )
