"""What :func:`ember.fit` returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ember.fit.asked import name_of
from ember.fit.outcome import Outcome, StageRecord
from ember.fit.plot import plotted
from ember.fit.printed import printed
from ember.fit.quantities import SitesAtRows
from ember.fit.summary import summarised
from ember.infer.density.judging.verdict import Verdict
from ember.ops.entries import Scalars
from ember.params.fits import FittedPrograms
from ember.params.param_store import ParamStoreDict
from ember.report.posterior import Posterior
from ember.report.table import Table
from ember.report.to_arviz import to_arviz

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Program = Callable[..., Any]


@dataclass(frozen=True)
class WeightedDraws:
    """Draws of a proposal, before resampling.

    Attributes:
        draws: values by site, ``(S, *shape)``.
        log_weights: smoothed and normalised, ``(S,)``.
    """

    draws: Mapping[str, Tensor]
    log_weights: Tensor


@dataclass(frozen=True)
class Called:
    """A model as it was fitted, with its arguments."""

    model: Program
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What it is called."""
        return name_of(self.model)


@dataclass(frozen=True)
class Fit:
    """Holds a posterior, and whether to believe it: what :func:`ember.fit` returns.

    Printing it gives the verdict, then the table. ``if fit:`` is true only if all numbers can be used.

    Attributes:
        outcome: everything that the fit has found, in unconstrained coordinates.
        called: the model, and its arguments.
        draws: draws of equal weight by site, ``(draws, *shape)``, deterministic sites included.
        guide: an autoguide with the moments of the fit, or the guide that was trained. Use it to start an
            SVI, or in ``Predictive(model, guide=fit.guide, num_samples=...)``. ``Predictive(fit)`` takes the
            draws, which are closer to the posterior.
        params: the parameters of the model at their best values, by name; empty for a model without
            parameters.
        store: the store of the parameters of model and guide.
        values: the sites as functions of rows of coordinates.
        coordinates: how sites were drawn through standard noise; empty if the model was fitted as written.
        advice: what would help; empty if nothing is needed.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def model(y):
    ...     mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    ...     with ember.plate("rows", len(y)):
    ...         ember.sample("y", dist.Normal(mu, 1.0), obs=y)
    >>> fit = ember.fit(model, torch.tensor([0.5, 1.5, 1.0, 2.0]), seed=0, progress=False)
    >>> fit.verdict.status, fit.draws["mu"].shape, round(fit.summary()["mu"]["mean"], 2)
    ('ok', torch.Size([4000]), 1.0)
    """

    outcome: Outcome
    called: Called
    draws: Mapping[str, Tensor]
    guide: Program
    params: Mapping[str, Tensor]
    store: ParamStoreDict
    values: SitesAtRows
    coordinates: str = ""
    advice: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Whether the numbers can be used; true only when all of them can. ``quantities`` has a word on each."""
        words = dict(zip(self.values.names, self.outcome.by_column, strict=True))
        return replace(self.outcome.verdict, quantities=words)

    @property
    def losses(self) -> Tensor:
        """The negative ELBO in nats, one a step of the normal's fit."""
        return self.outcome.losses

    @property
    def stages(self) -> tuple[StageRecord, ...]:
        """One record a stage, in order: family, ELBO, k-hat, effective draws, evaluations, seconds."""
        return self.outcome.stages

    @property
    def seconds(self) -> float:
        """How long the whole fit took."""
        return self.outcome.seconds

    def __bool__(self) -> bool:
        return bool(self.verdict)

    def __str__(self) -> str:
        lines = printed(self.called.name, self.outcome, self.values.names, self.coordinates, self.advice)
        return f"{lines}\n\n{self.summary()}"

    __repr__ = __str__

    @cached_property
    def weighted(self) -> WeightedDraws:
        """The draws of the proposal with their log weights, before resampling."""
        return WeightedDraws(self.values.sites(self.outcome.draws), self.outcome.log_weights)

    @property
    def posterior(self) -> Posterior:
        """The model at its data with the draws, as functions of :mod:`ember.report` take it."""
        called = self.called
        return Posterior(called.model, self.draws, called.args, called.kwargs, self.store)

    @property
    def fitted_programs(self) -> FittedPrograms:
        """The model with the draws, as :class:`~ember.infer.Predictive` takes it."""
        return FittedPrograms(self.called.model, self.draws, self.store)

    def summary(self) -> Table:
        """Tabulate mean, sd, Monte Carlo errors of both, quantiles, k-hat and effective draws of each scalar.

        The quantiles are those at 5, 50 and 95 %. Numbers in brackets should not be used. If the verdict
        differs between quantities, a last column has the word on each.
        """
        return summarised(self.values.names, self.outcome)

    def to_arviz(
        self, *, coords: Mapping[str, Sequence[Any]] | None = None, log_likelihood: bool = True, **groups: Any
    ) -> Any:
        """Make ArviZ's data of the draws, with the verdict in its attributes: :func:`ember.report.to_arviz`.

        Args:
            coords: labels of the entries along a dim, by its name.
            log_likelihood: whether to evaluate the log likelihood of each observation.
            groups: ``posterior_predictive=``, ``prior=`` and the like, draws by site.

        Raises:
            ImportError: without ArviZ (``pip install arviz``).
            ModelError: if ``coords`` names a dim that no site has.
        """
        attrs = {
            "inference_library": "ember",
            "verdict": self.verdict.status,
            "reasons": "; ".join(self.verdict.reasons),
        }
        return to_arviz(self, coords=coords, pointwise=log_likelihood, attrs=attrs, **groups)

    def plot(self, names: Sequence[str] | None = None) -> Figure:
        """Draw the densities of some quantities, corrected and as the guide had them, and the ELBO.

        Args:
            names: the names of the quantities; the first eleven by default.

        Raises:
            ImportError: without matplotlib (``pip install matplotlib``).
            KeyError: for a name that is not a quantity.
        """
        title = f"{self.called.name}: {self.verdict.status}"
        raw = Scalars(self.values.names, self.outcome.weighed.values)
        return plotted(title, Scalars.of(self.draws), raw, self.losses, names)
