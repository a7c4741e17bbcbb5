"""The table of a posterior: of what `ember.fit` returns, of a guide, or of draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ember.errors import EmberError, ModelError
from ember.infer.density.judging.guide_rows import GuideRows
from ember.infer.density.judging.guide_verdict import GuideVerdict, judge_rows
from ember.infer.density.judging.verdict import Status
from ember.ops.chains import effective_sample_size, split_gelman_rubin
from ember.ops.entries import Scalars
from ember.ops.psis import k_hat_limit, k_hats_of_moments, weighted_moments
from ember.ops.quantiles import weighed_quantile
from ember.report.determined import determined
from ember.report.posterior import Posterior, taken_apart
from ember.report.table import Column, Table

_COLUMNS_AT_ONCE = 64
_REASONS = 2
_HIGH = 0.7
_VOUCHES = ("ok", "means only")
_LEVELS = {"5%": 0.05, "50%": 0.5, "95%": 0.95}


@runtime_checkable
class Summarised(Protocol):
    """What has a table of its own, as what :func:`ember.fit` returns."""

    def summary(self) -> Table:
        """The table."""


def summary(
    fitted: object, *rest: Any, num_samples: int = 4000, by_chain: bool = False, **kwargs: Any
) -> Table:
    """Tabulate mean, sd and quantiles of each scalar of a posterior, and how far they can be relied on.

    Called as ``summary(fit)``, ``summary(svi, *args)``, ``summary(model, guide, *args)`` or
    ``summary(draws)``. The quantiles are those at 5, 50 and 95 %. Of a guide these are its own moments, with
    ``k_hat``: the shape of the tail of the importance weights for the mean of each quantity (0.7 is the
    limit). Numbers that its verdict (:meth:`ember.infer.SVI.verdict`) does not vouch for stand in brackets,
    and the line below says why. Deterministic sites of the model follow its latent ones; the verdict is on
    the latter. What :func:`ember.fit` returns has its weighed moments, see
    :meth:`ember.fit.result.Fit.summary`.

    Args:
        fitted: what :func:`ember.fit` returns, an SVI or what its ``run`` or ``fit`` returns, a model, or a
            dictionary of draws by site, along dim 0.
        rest: a guide or draws, after a model; then the arguments of the model, with all data.
        num_samples: how many draws of the guide to take.
        by_chain: whether a dictionary has draws of the dims ``(chain, draw, ...)``. Then ``r_hat`` (of half
            chains) and ``ess`` are added. Iterates of parameters are a chain, too.
        kwargs: keyword arguments of the model.

    Returns:
        A :class:`Table` with one row a scalar: ``theta[0]`` for an entry of a site.

    Raises:
        ModelError: for what is none of these; for draws without the dims that they should have, or fewer than
            four a chain; for a guide that draws no latent site.

    References:
        A. Gelman and D. B. Rubin (1992), "Inference from iterative simulation using multiple sequences"
        (R-hat).

    >>> import torch, ember
    >>> from ember.report import summary
    >>> table = summary({"mu": torch.arange(101.0)})
    >>> print(table)
        mean    sd   5%   50%   95%
    mu  50.0  29.3  5.0  50.0  95.0
    """
    if isinstance(fitted, Mapping):
        return _of_draws(fitted, by_chain)
    if isinstance(fitted, Summarised) and not rest and not kwargs:
        return fitted.summary()
    posterior, rest = taken_apart("summary", fitted, rest)
    posterior = posterior.at(rest, kwargs)
    if posterior.guide is None:
        return _of_draws(posterior.draw(1 << 62), by_chain)
    return _of_guide(posterior, num_samples)


def moment_columns(
    mean: Tensor, sd: Tensor, quantiles: Tensor, words: Sequence[Status] = ()
) -> dict[str, Column]:
    """Mean, sd and quantiles as columns; in brackets what a verdict does not vouch for.

    Args:
        mean: of the quantities.
        sd: of the quantities.
        quantiles: at 5, 50 and 95 %, ``(3, Q)``.
        words: of the verdict, on each quantity; all ``ok`` if left out.
    """
    means = Column(mean, brackets=_not_in(words, "ok", "means only"))
    return {"mean": means, "sd": Column(sd, brackets=_not_in(words, "ok"))} | quantile_columns(
        quantiles, words
    )


def quantile_columns(quantiles: Tensor, words: Sequence[Status] = ()) -> dict[str, Column]:
    """Quantiles as columns; in brackets what a verdict does not vouch for.

    Args:
        quantiles: at 5, 50 and 95 %, ``(3, Q)``.
        words: see :func:`moment_columns`.
    """
    median, others = _not_in(words, "ok", "means only"), _not_in(words, "ok")
    return {
        name: Column(column, brackets=median if name == "50%" else others)
        for name, column in zip(_LEVELS, quantiles, strict=True)
    }


def _not_in(words: Sequence[Status], *good: Status) -> Sequence[bool] | bool:
    return tuple(word not in good for word in words) if words else False


def quantiles_of(values: Tensor, log_weights: Tensor | None = None) -> Tensor:
    """The 5, 50 and 95 % quantiles of columns, ``(3, Q)``, some columns at a time.

    Args:
        values: shape ``(S, Q)``.
        log_weights: of the draws; all are equal by default.
    """
    levels = torch.tensor(list(_LEVELS.values()), dtype=torch.float64)
    weights = values.new_zeros(len(values)) if log_weights is None else log_weights
    parts = [weighed_quantile(part, levels, weights) for part in torch.split(values, _COLUMNS_AT_ONCE, 1)]
    return torch.cat(parts, 1)


def _plain(values: Tensor, status: Status = "ok") -> dict[str, Column]:
    sd = values.std(0) if len(values) > 1 else torch.zeros_like(values[0])
    return moment_columns(values.mean(0), sd, quantiles_of(values), [status] * values.shape[-1])


def _of_draws(draws: Mapping[str, Tensor], by_chain: bool) -> Table:
    """The table of draws of equal weight.

    Raises:
        ModelError: without any, or for other dims than are said.
    """
    draws = {name: torch.as_tensor(value) for name, value in draws.items()}
    shapes = {name: tuple(value.shape) for name, value in draws.items()}
    fewest = 2 if by_chain else 1
    if not draws or any(len(shape) < fewest or 0 in shape[:fewest] for shape in shapes.values()):
        dims = "(chain, draw, ...)" if by_chain else "(draw, ...)"
        raise ModelError(f"summary needs draws by site, of the dims {dims}; got {shapes or 'none'}")
    flat = {name: value.flatten(0, 1) for name, value in draws.items()} if by_chain else draws
    scalars = Scalars.of(flat)
    columns = _plain(scalars.values)
    if by_chain:
        chains = scalars.values.reshape(*next(iter(shapes.values()))[:2], -1)
        if chains.shape[1] < 4:
            raise ModelError(f"R-hat of half chains needs four draws of each chain; got the shapes {shapes}")
        columns["r_hat"] = Column(split_gelman_rubin(chains), format=".3f")
        columns["ess"] = Column(effective_sample_size(chains), format=",.0f")
    return Table(scalars.names, columns)


def _of_guide(posterior: Posterior, num_samples: int) -> Table:
    """The moments of a guide, and what weights of its draws say of them."""
    try:
        drawn = posterior.pair.draw(num_samples)
    except EmberError as error:
        draws = posterior.draw(num_samples)
        scalars = _scalars(draws | determined(posterior, draws))
        why = str(error).partition("\n")[0]
        return Table(scalars.names, _plain(scalars.values), f"no k-hat: {why}")
    latent, others = _scalars(drawn.values), Scalars.of(determined(posterior, drawn.values))
    names = (*latent.names, *others.names)
    values = torch.cat([latent.values, others.values], 1) if others.names else latent.values
    verdict = judge_rows(posterior.pair, drawn)
    said = _said(verdict.status, verdict.reasons)
    columns = _plain(values, verdict.status)
    if verdict.numbers is None or verdict.k_hats is None:
        return Table(names, columns, said)
    k_hats = torch.cat([verdict.k_hats, _k_hats(others, drawn, verdict)])
    columns["k_hat"] = Column(k_hats, format=".2f")
    numbers = verdict.numbers
    weights = f"k-hat {numbers.k_hat:.2f} of {k_hat_limit(num_samples):.2f}, ESS {numbers.ess:,.0f} of {num_samples:,}"
    bad = [
        name for name, k in zip(names, k_hats.tolist(), strict=True) if name in others.names and not k < _HIGH
    ]
    heavy = (
        f"; not of {', '.join(bad[:3])}: k-hat above {_HIGH}" if bad and verdict.status in _VOUCHES else ""
    )
    return Table(names, columns, f"{said}{heavy}; {weights}")


def _k_hats(others: Scalars, drawn: GuideRows, verdict: GuideVerdict) -> Tensor:
    """k-hat of the means of what is computed of draws that are weighed."""
    if not others.names or verdict.log_weights is None:
        return torch.zeros(0, dtype=torch.float64)
    ratios = torch.where(torch.isfinite(drawn.log_p), drawn.log_p - drawn.log_q, -torch.inf)
    moments = weighted_moments(others.values, verdict.log_weights)
    deviations = torch.where(moments.sd == 0, 0.0, (others.values - moments.mean) / moments.sd)
    return torch.where(moments.mean.isfinite(), k_hats_of_moments(ratios, deviations), torch.inf)


def _scalars(values: Mapping[str, Tensor]) -> Scalars:
    """The entries of the sites of a guide.

    Raises:
        ModelError: if there are none.
    """
    if not values:
        raise ModelError("the guide draws no latent site: there is nothing to summarise")
    return Scalars.of(values)


def _said(status: Status, reasons: Sequence[str]) -> str:
    left = len(reasons) - _REASONS
    more = f"; svi.verdict(...) has {left} more reason{'s' if left > 1 else ''}" if left > 0 else ""
    return f"the guide is {status}: {'; '.join(reasons[:_REASONS])}{more}"
