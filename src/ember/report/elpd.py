"""How well a model predicts each observation from the others: leave-one-out, WAIC, and comparisons of models."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ember.errors import ModelError
from ember.ops.scores import waic as waic_terms
from ember.report.log_likelihood import by_draw
from ember.report.posterior import Posterior, taken_apart
from ember.report.table import Column, Table
from ember.report.to_arviz import container, imported
from ember.report.weighed import Corrected, corrected

_FEWEST, _TINY = 100, 1e-9
_LOUD = 0.4  # a variance of the log density above which WAIC is not reliable (Vehtari et al., 2017)


@dataclass(frozen=True)
class Elpd:
    """Holds an expected log predictive density (elpd) of as many new data as were observed; higher is better.

    Attributes:
        kind: how it was estimated.
        elpd: the sum over observations, in nats.
        se: the standard error of the sum, in nats.
        p: effective number of parameters; None for data that were held out.
        pointwise: one number for each observation, in nats, shape ``(observations,)``.
        k_hat: k-hat of the weights that leave out an observation, shape ``(observations,)``. From
            :func:`loo` alone.
        warnings: reasons not to rely on it.
        arviz: the result of ArviZ. From :func:`loo` alone.
        mcse: the Monte Carlo error of the sum, in nats. From :func:`held_out` alone.

    >>> import torch
    >>> from ember.report import Elpd
    >>> found = Elpd("held_out", -5.0, 1.2, None, torch.tensor([-2.0, -1.0, -2.0]), mcse=0.01)
    >>> print(found)
    elpd_held_out -5.0 ± 1.2, 3 observations
    >>> round(found.mean, 2)
    -1.67
    """

    kind: Literal["loo", "waic", "held_out"]
    elpd: float
    se: float
    p: float | None
    pointwise: Tensor = field(repr=False)
    k_hat: Tensor | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    arviz: Any = field(default=None, repr=False)
    mcse: float | None = None

    @property
    def mean(self) -> float:
        """The density of one observation on average, in nats."""
        return self.elpd / len(self.pointwise)

    def __str__(self) -> str:
        p = "" if self.p is None else f" p {self.p:.1f},"
        head = f"elpd_{self.kind} {self.elpd:.1f} ± {self.se:.1f},{p} {len(self.pointwise)} observations"
        return "\n".join([head, *self.warnings])


def loo(
    fitted: object,
    *rest: Any,
    num_samples: int = 2000,
    site: str | Sequence[str] | None = None,
    **kwargs: Any,
) -> Elpd:
    """Estimate the elpd by leaving out one observation at a time, with Pareto-smoothed importance sampling.

    The smoothing is ArviZ's.

    Called as ``loo(fit)``, ``loo(svi, *args)``, ``loo(model, guide, *args)`` or ``loo(model, draws, *args)``,
    with all data. Draws of a guide are corrected by their importance weights first, if these are good enough.
    Discrete sites without draws are summed out. Observations that a mask hides are left out.

    Args:
        fitted: what :func:`ember.fit` returns, an SVI or what its ``run`` or ``fit`` returns, or a model.
        rest: a guide or draws by site, along dim 0, after a model; then the arguments of the model, which
            are those of the fit by default.
        num_samples: how many draws to take, at most.
        site: the name of the observed site, or several names whose entries are left out one by one. Needed
            where there are several observed sites.
        kwargs: keyword arguments of the model.

    Returns:
        An :class:`Elpd` with ``k_hat`` for each observation.

    Warns:
        UserWarning: where k-hat of an observation is too high, or draws of a guide could not be corrected.

    Raises:
        ImportError: without ArviZ (``pip install arviz``).
        ModelError: for a model with fewer than two observations; for several observed sites where none is
            named, or a name that is none of them; for a continuous latent site without draws.

    References:
        A. Vehtari, A. Gelman and J. Gabry (2017), "Practical Bayesian model evaluation using leave-one-out
        cross-validation and WAIC". M. Magnusson, M. R. Andersen, J. Jonasson and A. Vehtari (2019), "Bayesian
        leave-one-out cross-validation for large data": approximate posteriors are corrected by weights.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.report import loo
    >>> def model(y):
    ...     mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    ...     with ember.plate("rows", len(y)):
    ...         ember.sample("y", dist.Normal(mu, 1.0), obs=y)
    >>> y = torch.tensor([0.5, 1.5, 1.0, 2.0])  # the posterior is Normal(1, 0.447)
    >>> print(loo(model, {"mu": 1.0 + 0.447 * torch.randn(1000)}, y))
    elpd_loo -5.1 ± 0.5, p 0.4, 4 observations
    """
    columns, draws = _columns("loo", fitted, rest, kwargs, num_samples, site)
    arviz = imported()
    equal = (columns == columns[0]).all(0)
    # ArviZ takes weights that are all equal for a tail that it cannot judge, or fails.
    differing = (
        columns.double() + equal * torch.linspace(-_TINY, _TINY, len(columns), dtype=torch.float64)[:, None]
    )
    data = container({"log_likelihood": {"observations": differing.numpy()[None]}}, {}, {}, {})
    with warnings.catch_warnings():
        # It is said in our words, with numbers.
        warnings.simplefilter("ignore")
        found = arviz.loo(data, pointwise=True, reff=draws.relative_ess)
    # Names before and from ArviZ 1.0 on.
    first = "elpd" if hasattr(found, "elpd_i") else "elpd_loo"
    pointwise = torch.as_tensor(getattr(found, "elpd_i" if first == "elpd" else "loo_i").values.copy())
    # Weights that are all equal have no tail, which ArviZ takes for one that it cannot judge.
    k_hat = torch.as_tensor(found.pareto_k.values.copy()).masked_fill(
        (columns == columns[0]).all(0), -torch.inf
    )
    p = float(getattr(found, "p" if first == "elpd" else "p_loo"))
    high = int((k_hat > float(found.good_k)).sum())
    notes = (
        (f"k-hat is above {float(found.good_k):.2f} for {high} of {len(k_hat)} observations",) if high else ()
    )
    elpd = Elpd("loo", float(getattr(found, first)), float(found.se), p, pointwise, k_hat, notes, found)
    return _warned(elpd, draws)


def waic(
    fitted: object,
    *rest: Any,
    num_samples: int = 2000,
    site: str | Sequence[str] | None = None,
    **kwargs: Any,
) -> Elpd:
    """Estimate the elpd by the widely applicable information criterion (WAIC); :func:`loo` is more robust.

    Called as :func:`loo` is. It does not need ArviZ, which has no WAIC from 1.0 on.

    Args:
        fitted: what :func:`ember.fit` returns, an SVI or what its ``run`` or ``fit`` returns, or a model.
        rest: see :func:`loo`.
        num_samples: how many draws to take, at most.
        site: see :func:`loo`.
        kwargs: keyword arguments of the model.

    Returns:
        An :class:`Elpd`.

    Warns:
        UserWarning: where the variance of a log density is above 0.4, or draws of a guide could not be
            corrected.

    Raises:
        ModelError: see :func:`loo`.

    References:
        S. Watanabe (2010), "Asymptotic equivalence of Bayes cross validation and widely applicable
        information criterion in singular learning theory".

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def model(y):
    ...     mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    ...     with ember.plate("rows", len(y)):
    ...         ember.sample("y", dist.Normal(mu, 1.0), obs=y)
    >>> y = torch.tensor([0.5, 1.5, 1.0, 2.0])  # the posterior is Normal(1, 0.447)
    >>> print(ember.waic(model, {"mu": 1.0 + 0.447 * torch.randn(1000)}, y))
    elpd_waic -5.1 ± 0.4, p 0.4, 4 observations
    """
    columns, draws = _columns("waic", fitted, rest, kwargs, num_samples, site)
    deviance, effective = waic_terms(columns.double(), pointwise=True)
    pointwise = -0.5 * deviance
    loud = int((effective > _LOUD).sum())
    notes = (f"the variance of the log density is above {_LOUD} for {loud} of {len(pointwise)} observations",)
    elpd = Elpd(
        "waic",
        float(pointwise.sum()),
        standard_error(pointwise),
        float(effective.sum()),
        pointwise,
        warnings=notes if loud else (),
    )
    return _warned(elpd, draws)


def compare(
    fits: Mapping[str, object], *args: Any, num_samples: int = 2000, site: str | None = None, **kwargs: Any
) -> Table:
    """Compare models by leave-one-out cross-validation, or by the same held-out data; the best comes first.

    The columns, in nats, are ``elpd``; its standard error ``se``; ``diff``, the distance from the best; and
    the standard error of that, ``dse``. ``p`` is the effective number of parameters. ``weight`` is the weight
    of the model in a mixture of predictions (stacking, by ArviZ). A difference of a few ``dse``, or of less
    than 4, says little. For held-out data there are no ``p`` and ``weight``.

    Args:
        fits: by name: what :func:`ember.fit` returns, an SVI, a tuple ``(model, guide)`` or ``(model,
            draws)``, or what :func:`loo` has returned; or all of them what :func:`held_out` has returned.
        args: arguments of the models that have none of their own.
        num_samples: how many draws of each to take, at most.
        site: see :func:`loo`.
        kwargs: keyword arguments of the models that have none of their own.

    Returns:
        A :class:`Table` with one row a model.

    Raises:
        ImportError: without ArviZ, unless all are of held-out data.
        ModelError: for fewer than two models, models of different numbers of observations, or estimates of
            different kinds.

    References:
        Y. Yao, A. Vehtari, D. Simpson and A. Gelman (2018), "Using stacking to average Bayesian predictive
        distributions".

    With fits, or with SVIs and pairs that need the arguments:

        ember.compare({"linear": fit, "quadratic": other})
        ember.compare({"normal": svi, "student": (model, guide)}, x, y)

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def model(y, loc):
    ...     with ember.plate("rows", len(y)):
    ...         ember.sample("y", dist.Normal(loc, 1.0), obs=y)
    >>> y = torch.tensor([0.5, 1.5, 1.0, 2.0])
    >>> of = lambda loc: ember.held_out(model, {}, y, loc)
    >>> print(ember.compare({"loc 0": of(0.0), "loc 1": of(1.0)}))
           elpd   se  diff  dse
    loc 1  -4.4  0.4   0.0  0.0
    loc 0  -7.4  1.4   3.0  1.1
    """
    found = {
        name: each if isinstance(each, Elpd) else _loo_of(each, args, kwargs, num_samples, site)
        for name, each in fits.items()
    }
    sizes = {name: len(each.pointwise) for name, each in found.items()}
    kinds = {each.kind for each in found.values()}
    if len(found) < 2 or len(set(sizes.values())) != 1 or kinds not in ({"loo"}, {"held_out"}):
        shown = {name: f"{each.kind} of {sizes[name]} observations" for name, each in found.items()}
        raise ModelError(
            "compare needs two models or more, all by leave-one-out or all by held-out data, over the same observations; "
            f"got {shown}"
        )
    names = sorted(found, key=lambda name: -found[name].elpd)
    best = found[names[0]].pointwise
    below = [best - found[name].pointwise for name in names]
    columns = {
        "elpd": [found[name].elpd for name in names],
        "se": [found[name].se for name in names],
        "diff": [float(each.sum()) for each in below],
        "dse": [standard_error(each) for each in below],
    }
    if kinds == {"loo"}:
        columns = _with_arviz(columns, {name: found[name] for name in names})
    formats = {"weight": ".2f"}
    return Table(
        tuple(names),
        {
            key: Column(torch.tensor(column, dtype=torch.float64), format=formats.get(key, ".1f"))
            for key, column in columns.items()
        },
        "; ".join(f"{name}: {said}" for name in names for said in found[name].warnings),
    )


def _with_arviz(columns: dict[str, list[float]], found: Mapping[str, Elpd]) -> dict[str, list[float]]:
    """The columns of a comparison with effective numbers of parameters, and weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = imported().compare({name: each.arviz for name, each in found.items()})
    p = [float("nan") if each.p is None else each.p for each in found.values()]
    weight = [float(frame.loc[name, "weight"]) for name in found]
    return {"elpd": columns["elpd"], "se": columns["se"], "p": p} | columns | {"weight": weight}


def _loo_of(
    fitted: object, args: tuple[Any, ...], kwargs: Mapping[str, Any], num_samples: int, site: str | None
) -> Elpd:
    of_its_own = isinstance(getattr(fitted, "posterior", None), Posterior)
    given = fitted if isinstance(fitted, tuple) else (fitted,)
    if of_its_own:
        return loo(fitted, num_samples=num_samples, site=site)
    return loo(*given, *args, num_samples=num_samples, site=site, **kwargs)


def _columns(
    caller: str,
    fitted: object,
    rest: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    num_samples: int,
    site: str | Sequence[str] | None,
) -> tuple[Tensor, Corrected]:
    """Log densities ``(draws, observations)`` of the data that a mask does not hide, and the draws.

    Raises:
        ModelError: see :func:`loo`.
    """
    posterior, rest = taken_apart(caller, fitted, rest)
    posterior = posterior.at(rest, kwargs)
    first = posterior.first()
    draws = corrected(posterior, num_samples)
    found = by_draw(posterior, posterior.latent(draws.draws, first))
    wanted = wanted_sites(caller, found, site)
    columns = torch.cat([found[name].reshape(len(found[name]), -1) for name in wanted], 1)
    columns = columns[:, (columns != 0).any(0)]
    if columns.shape[1] < 2:
        raise ModelError(
            f"{caller} needs two observations or more, {wanted} is {columns.shape[1]}: what depends on the same site "
            "that is summed out, as the states of a chain, is one observation\n"
            "The way out: ember.report.joint_draws(...) draws the discrete sites, too; give its draws."
        )
    # Densities of a model without latent sites are those of any number of draws.
    return columns.expand(max(len(columns), _FEWEST), -1) if len(columns) == 1 else columns, draws


def wanted_sites(caller: str, found: Iterable[str], site: str | Sequence[str] | None) -> list[str]:
    """The observed sites that a caller means.

    Raises:
        ModelError: if one is not there, or there are several and none is named.
    """
    there = list(found)
    wanted = there if site is None else [site] if isinstance(site, str) else list(site)
    if any(name not in there for name in wanted) or (site is None and len(there) > 1):
        raise ModelError(
            f"{caller} finds the observed sites {there}: say which by site=..., one of them, or a list of "
            f"those whose entries count one by one; got {site!r}"
        )
    return wanted


def standard_error(pointwise: Tensor) -> float:
    """Of a sum over observations."""
    return float((len(pointwise) * pointwise.var(unbiased=False)).sqrt())


def _warned(elpd: Elpd, draws: Corrected) -> Elpd:
    """The same with what speaks against it, of which the caller is warned."""
    notes = elpd.warnings
    if draws.trouble:
        notes = (*notes, f"the guide stands for the posterior as it is: {draws.trouble}")
    if notes:
        warnings.warn(f"ember.{elpd.kind}: {'; '.join(notes)}", UserWarning, stacklevel=3)
    return Elpd(elpd.kind, elpd.elpd, elpd.se, elpd.p, elpd.pointwise, elpd.k_hat, notes, elpd.arviz)
