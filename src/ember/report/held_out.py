"""How well a fitted model predicts data that it has not seen."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from ember.errors import ModelError
from ember.ops.draws import number_of
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.report.elpd import Elpd, standard_error, wanted_sites
from ember.report.joint_draws import drawn_jointly
from ember.report.log_likelihood import PointwiseDensity
from ember.report.posterior import Posterior, taken_apart
from ember.report.replicated import is_data
from ember.report.weighed import Corrected, corrected

Draws = Mapping[str, Tensor]
_GROUPS = 20
_NUMBERS_AT_ONCE = 1 << 22
_NOISY, _LITTLE = (
    0.25,
    0.1,
)  # Monte Carlo error, of the standard error and in nats, above which more draws are needed
_AS_IT_IS = "draws of the guide as they are: fitted_to=... has them corrected by their weights"


def held_out(
    fitted: object,
    *rest: Any,
    fitted_to: Sequence[Any] | None = None,
    new: str | Collection[str] | None = None,
    num_samples: int = 2000,
    site: str | Sequence[str] | None = None,
    **kwargs: Any,
) -> Elpd:
    """Compute the log predictive density of data that were held out of the fit.

    Of each new observation it is ``log p(y_i | data)``, the logarithm of the mean of its density over draws
    of the posterior; ``elpd`` is their sum. It is a proper score: in expectation the true distribution has
    the highest. Called as ``held_out(fit, *args)``, ``held_out(svi, *args)``,
    ``held_out(model, guide, *args)`` or ``held_out(model, draws, *args)``, with the arguments that hold the
    new data.

    The rows are taken for new: latent variables of a row itself, which lie in all plates of the data, are
    not those of the fit. Discrete ones are summed out, others drawn from the model given the rest. All other
    latent variables keep their draws. Observations that a mask hides are left out. Draws are taken one by
    one, so that memory does not grow with their number.

    Args:
        fitted: what :func:`ember.fit` returns, an SVI or what its ``run`` or ``fit`` returns, or a model.
        rest: a guide or draws by site, along dim 0, after a model; then the arguments of the model, with the
            new data.
        fitted_to: the arguments of the fit, with all its data, where a guide was fitted. The draws are made
            at these and corrected by their weights, where those are good enough. Without them the draws are
            the guide's own, made at the new arguments: give ``fitted_to`` if the guide reads the data.
        new: names of plates or latent sites that are new, instead of those of the rows: ``new="firms"`` for
            other firms, ``new=()`` for other data of the same rows.
        num_samples: how many draws to take, at most.
        site: the name of the observed site, or several names; needed where there are several.
        kwargs: keyword arguments of the model.

    Returns:
        An :class:`Elpd`, in nats, with ``mcse``, the Monte Carlo error of the sum. :func:`compare` takes
            several.

    Warns:
        UserWarning: where the Monte Carlo error is above a quarter of the standard error and 0.1 nats, an
            observation is impossible under all draws, or draws could not be corrected.

    Raises:
        ModelError: without arguments or observations; for a name in ``new`` or ``site`` that is not there;
            for draws of another shape than their sites have at the new arguments; for a discrete site of no
            row that was summed out, unless ``new`` says whether its value is that of the fit.

    References:
        A. Gelman, J. Hwang and A. Vehtari (2014), "Understanding predictive information criteria for Bayesian
        models", equation 5; T. Gneiting and A. E. Raftery (2007), "Strictly proper scoring rules, prediction,
        and estimation".

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.report import held_out
    >>> def model(y):
    ...     mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    ...     with ember.plate("rows", len(y)):
    ...         ember.sample("y", dist.Normal(mu, 1.0), obs=y)
    >>> print(held_out(model, {"mu": torch.zeros(100)}, torch.tensor([0.5, -1.0, 2.0])))
    elpd_held_out -5.4 ± 1.4, 3 observations
    """
    posterior, rest = taken_apart("held_out", fitted, rest)
    if not rest and not kwargs:
        raise ModelError("held_out needs the arguments of the model with the new data, got none")
    known = posterior if posterior.args or posterior.kwargs else None
    if fitted_to is not None:
        known = posterior.at(tuple(fitted_to), {})
    target = posterior.at(rest, kwargs)
    draws = corrected(known, num_samples) if known is not None else _uncorrected(target, num_samples)
    rows = _Rows.of(target, site, new)
    kept = rows.kept(known, draws.draws, num_samples)
    number = number_of(kept) or (num_samples if rows.fresh else 1)
    return _concluded(_Means.of(rows.density(kept, number), kept, number, site), draws)


def _uncorrected(target: Posterior, number: int) -> Corrected:
    """Draws as they are, at the new arguments."""
    return Corrected(target.draw(number), trouble="" if target.guide is None else _AS_IT_IS)


@dataclass(frozen=True)
class _Rows:
    """The model at the new data, and which of its latent sites the fit knows nothing of.

    Attributes:
        target: the model at the new data.
        first: a run of it.
        fresh: latent sites whose values are new.
        is_said: whether the caller has said what is new.
    """

    target: Posterior
    first: Trace
    fresh: frozenset[str]
    is_said: bool

    @classmethod
    def of(
        cls, target: Posterior, site: str | Sequence[str] | None, new: str | Collection[str] | None
    ) -> _Rows:
        """From a run of the model.

        Raises:
            ModelError: for a name that is no plate and no latent site.
        """
        first = target.first()
        latent = {each.name: _plates(each) for each in first.samples() if _is_latent(each)}
        if new is None:
            wanted = None if site is None else {part for name in _names(site) for part in name.split("+")}
            data = [each for each in first.samples() if is_data(each)]
            of_data = [_plates(each) for each in data if wanted is None or each.name in wanted]
            own = {n for n, plates in latent.items() if any(each and each <= plates for each in of_data)}
            return cls(target, first, frozenset(own), False)
        named = set(_names(new))
        there = set(latent).union(*(_plates(each) for each in first.samples()))
        if named - there:
            raise ModelError(
                f"new={sorted(named)} names {sorted(named - there)}; plates and latent sites of the model are {sorted(there)}"
            )
        own = {name for name, plates in latent.items() if name in named or plates & named}
        return cls(target, first, frozenset(own), True)

    def kept(self, known: Posterior | None, draws: Draws, number: int) -> dict[str, Tensor]:
        """Draws of all latent sites that are not new.

        Args:
            known: the model at the data of the fit.
            draws: of its posterior.
            number: of draws, where all latent sites were summed out.

        Raises:
            ModelError: see :func:`held_out`.
        """
        kept = {n: v for n, v in self.target.latent(draws, self.first).items() if n not in self.fresh}
        summed = [name for name in self._enumerable() if name not in kept and name not in self.fresh]
        if summed:
            kept |= self._summed_in_the_fit(summed, known, draws, number)
        for name, value in kept.items():
            _check_shape(name, value, self.first.nodes[name])
        return kept

    def density(self, kept: Draws, number: int) -> PointwiseDensity:
        """The density of each observation as a function of draws like these; it draws what cannot be summed out.

        Args:
            kept: draws of the latent sites that are not new.
            number: of draws.
        """
        if self.fresh <= set(self._enumerable()):
            return PointwiseDensity.of(self.target, kept, number)
        first = {name: torch.as_tensor(self.first.nodes[name].value) for name in self.fresh}
        drawn = {name: value.expand(number, *value.shape) for name, value in first.items()}
        return PointwiseDensity.of(self.target, {**kept, **drawn}, number)

    def _enumerable(self) -> list[str]:
        return [
            each.name
            for each in self.first.samples()
            if _is_latent(each) and getattr(each.fn, "has_enumerate_support", False)
        ]

    def _summed_in_the_fit(
        self, names: Sequence[str], known: Posterior | None, draws: Draws, number: int
    ) -> dict[str, Tensor]:
        """Draws of discrete sites given the data of the fit.

        Raises:
            ModelError: if the caller has not said that their values are those of the fit, or with which data.
        """
        if not self.is_said:
            raise ModelError(
                f"the discrete sites {list(names)} were summed out in the fit, and belong to no row of the new data\n"
                "The way out: new=() if their values are those of the fit; new=[...], with the sites or plates whose values "
                "are new, if not."
            )
        if known is None:
            raise ModelError(
                f"draws of the discrete sites {list(names)} depend on the data of the fit: fitted_to=(...) gives its arguments"
            )
        found = drawn_jointly(known, known.latent(draws, known.first()), number)
        return {name: found[name] for name in names}


def _names(given: str | Collection[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _plates(site: Site) -> frozenset[str]:
    return frozenset(frame.name for frame in site.plates)


def _is_latent(site: Site) -> bool:
    return site.is_latent and not (site.is_subsample or site.is_deterministic)


def _check_shape(name: str, value: Tensor, site: Site) -> None:
    """See whether draws are of a site as it is at the new arguments.

    Raises:
        ModelError: if their shapes differ.
    """
    wanted = tuple(site.value.shape)
    if tuple(value.shape[1:]) != wanted:
        plates = ", ".join(repr(plate) for plate in sorted(_plates(site))) or "none"
        raise ModelError(
            f"site {name!r} has the shape {wanted} at the new arguments and {tuple(value.shape[1:])} in the fit (plates: "
            f"{plates})\nThe way out: new=... names the plates whose rows are new, or the site; or give arguments with the "
            "same entries as in the fit."
        )


@dataclass(frozen=True)
class _Means:
    """Log mean densities over groups of draws.

    Attributes:
        groups: shape ``(groups, observations)``, of those that no mask hides.
        sizes: draws in each group.
    """

    groups: Tensor
    sizes: Tensor

    @classmethod
    def of(
        cls, density: PointwiseDensity, draws: Draws, number: int, site: str | Sequence[str] | None
    ) -> _Means:
        """Over all draws, some at a time.

        Args:
            density: of each observation.
            draws: that it takes.
            number: of draws.
            site: whose data are scored, as the caller has said.
        """
        groups = min(_GROUPS, number)
        at_once = max(1, _NUMBERS_AT_ONCE // max(density.size, 1))
        sums: list[list[Tensor]] = []
        seen: list[Tensor] = []
        sizes = [number * (group + 1) // groups - number * group // groups for group in range(groups)]
        for size, end in zip(sizes, accumulate(sizes), strict=True):
            sums.append([])
            for start in range(end - size, end, at_once):
                stop = min(start + at_once, end)
                found = density({name: value[start:stop] for name, value in draws.items()}, stop - start)
                names = wanted_sites("held_out", found, site)
                columns = torch.cat([found[name].reshape(stop - start, -1) for name in names], 1).double()
                seen = [torch.stack([*seen, (columns != 0).any(0)]).any(0)]
                sums[-1] = [torch.cat([*sums[-1], columns]).logsumexp(0, keepdim=True)]
        of_groups = torch.cat([total for (total,) in sums]) - torch.tensor(sizes).log()[:, None]
        return cls(of_groups[:, seen[0]], torch.tensor(sizes))

    @property
    def pointwise(self) -> Tensor:
        """The log mean density of each observation."""
        return (self.groups + self.sizes.log()[:, None]).logsumexp(0) - math.log(int(self.sizes.sum()))

    @property
    def error(self) -> float:
        """The Monte Carlo error of the sum, to first order, by the means of groups."""
        if len(self.sizes) < 2:
            return 0.0
        relative = (self.groups - self.pointwise).exp().sum(1)
        return float(relative.std() / len(self.sizes) ** 0.5)


def _concluded(means: _Means, draws: Corrected) -> Elpd:
    """The score, with what speaks against it; the caller is warned of what is not as asked for.

    Raises:
        ModelError: without an observation.
    """
    pointwise = means.pointwise
    if not len(pointwise):
        raise ModelError("held_out found no observation: a mask hides all of them")
    error, mcse, alerts = standard_error(pointwise), means.error, []
    impossible = int((pointwise == -torch.inf).sum())
    if impossible:
        alerts.append(f"{impossible} of {len(pointwise)} observations are impossible under all draws")
    elif mcse > max(_NOISY * error, _LITTLE):
        alerts.append(f"the Monte Carlo error of the sum is {mcse:.2g}: give more num_samples, or draws")
    as_they_are = draws.trouble == _AS_IT_IS
    if draws.trouble and not as_they_are:
        alerts.append(f"the guide stands for the posterior as it is: {draws.trouble}")
    if alerts:
        warnings.warn(f"ember.held_out: {'; '.join(alerts)}", UserWarning, stacklevel=3)
    notes = (*alerts, *([draws.trouble] if as_they_are else []))
    return Elpd("held_out", float(pointwise.sum()), error, None, pointwise, warnings=notes, mcse=mcse)
