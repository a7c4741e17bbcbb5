"""Does a fitted model draw data like those that were seen? One picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ember.errors import ModelError
from ember.report.posterior import taken_apart
from ember.report.replicated import Observed, latent_draws, replicated

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Statistic = Callable[[Tensor], Tensor]
_BLUE, _RED = "#2a6f97", "#c1440e"
_BINS, _FEWEST_BINS, _MOST_VALUES, _MOST_STEPS = 40, 12, 30, 600
_STATISTICS: dict[str, Statistic] = {
    "mean": lambda x: x.mean(),
    "sd": lambda x: x.std(unbiased=False),
    "smallest": lambda x: x.amin(),
    "largest": lambda x: x.amax(),
}
_OF_TWO_VALUES: dict[str, Statistic] = {"share of ones": lambda x: x.mean()}


def posterior_predictive_check(
    fitted: object,
    *rest: Any,
    site: str | None = None,
    statistics: dict[str, Statistic] | None = None,
    num_samples: int = 1000,
    title: str | None = None,
    **kwargs: Any,
) -> Figure:
    """Draw data from the fitted model, and show them beside the data at hand.

    On the left is the distribution of all entries: the data as points, and as a band where 90 % of the data
    sets lie that the model draws. On the right are some statistics of the drawn data sets, with the data's
    own as a line; *p* is the share of drawn data sets whose statistic is larger, equal ones counting half.
    Where *p* is near 0 or 1, the model does not draw data like these.

    Called as ``posterior_predictive_check(fit)``, ``(svi, *args)``, ``(model, guide, *args)`` or
    ``(model, draws, *args)``. Memory does not grow with the number of samples.

    Args:
        fitted: what :func:`ember.fit` returns, an SVI or what its ``run`` or ``fit`` returns, or a model.
        rest: a guide or draws by site, along dim 0, after a model; then the arguments of the model, which
            are those of the fit by default.
        site: the name of the observed site; needed where there are several.
        statistics: one to four functions by name, each from all entries of a data set, ``(n,)``, to a scalar.
            By default mean, sd, smallest and largest; the share of ones for data of zeros and ones.
        num_samples: how many data sets to draw.
        title: the title of the figure; the name of the site by default.
        kwargs: keyword arguments of the model.

    Returns:
        A figure of matplotlib.

    Raises:
        ImportError: without matplotlib (``pip install matplotlib``).
        ModelError: if there are several observed sites and none is named, for a name that is none of them,
            or for no statistics or more than four.

    References:
        A. Gelman, X.-L. Meng and H. Stern (1996), "Posterior predictive assessment of model fitness".

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def model(y):
    ...     mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    ...     with ember.plate("rows", len(y)):
    ...         ember.sample("y", dist.Normal(mu, 1.0), obs=y)
    >>> draws, y = {"mu": 0.2 * torch.randn(200)}, torch.randn(25)
    >>> figure = ember.report.posterior_predictive_check(model, draws, y, num_samples=200)
    >>> len(figure.axes)  # the distribution, and four statistics
    5
    """
    from matplotlib.figure import Figure

    posterior, rest = taken_apart("report.posterior_predictive_check", fitted, rest)
    posterior = posterior.at(rest, kwargs)
    observed = Observed.of(posterior, site)
    data = observed.entries(observed.value)
    shown = _statistics(statistics, data)
    grid = Grid.of(data, observed.is_discrete)
    number = len(shown)

    def summaries(x: Tensor) -> Tensor:
        return torch.cat([torch.stack([shown[name](x) for name in shown]), grid.shares(x)])

    found = replicated(posterior, latent_draws(posterior, num_samples), observed, summaries)
    figure = Figure(figsize=(9.0, 3.4), dpi=150, layout="constrained")
    columns = 1 if number == 1 else 2
    rows = -(-number // columns)
    grids = figure.add_gridspec(rows, 1 + columns, width_ratios=[1.15] + [1.0 / columns] * columns)
    _distribution(figure.add_subplot(grids[:, 0]), grid, grid.shares(data), found[:, number:])
    for index, name in enumerate(shown):
        place = figure.add_subplot(grids[index // columns, 1 + index % columns])
        _one(place, name, float(shown[name](data)), found[:, index])
    figure.suptitle(observed.name if title is None else title, fontsize=10)
    return figure


def _statistics(given: dict[str, Statistic] | None, data: Tensor) -> dict[str, Statistic]:
    """What is shown of each data set.

    Raises:
        ModelError: for none, or more than four.
    """
    if given is None:
        return _OF_TWO_VALUES if bool(((data == 0) | (data == 1)).all()) else _STATISTICS
    if not 1 <= len(given) <= 4:
        raise ModelError(f"statistics must be one to four functions by name, got {list(given)}")
    return given


class Grid:
    """Where entries of data are counted.

    Args:
        places: the middles of the cells.
        edges: of the cells, one more than there are; what is beyond is counted in the first and the last.
        is_discrete: whether each cell is one number.
    """

    def __init__(self, places: Tensor, edges: Tensor, is_discrete: bool) -> None:
        self.places, self.edges, self.is_discrete = places, edges, is_discrete

    @classmethod
    def of(cls, data: Tensor, is_discrete: bool) -> Grid:
        """For data like these."""
        low, high = float(data.min()), float(data.max())
        spread = max(high - low, 1e-6 * max(abs(low), 1.0))
        if is_discrete and spread < _MOST_VALUES:
            room = 0 if set(torch.unique(data).tolist()) <= {0.0, 1.0} else max(1, round(0.2 * spread))
            first = min(0.0, low) if low - room < 0 <= low else low - room
            last = max(high, 1.0) + room
            places = torch.arange(first, last + 1)
            return cls(places, torch.cat([places - 0.5, places[-1:] + 0.5]), True)
        bins = max(_FEWEST_BINS, min(_BINS, round(1.7 * len(data) ** 0.5)))
        if is_discrete:
            width = max(1, round(1.4 * spread / bins))
            start = low - 0.2 * spread if low < 0 or low > 0.2 * spread else 0.0
            edges = torch.arange(round(start), high + 0.2 * spread + width, width) - 0.5
        else:
            start = 0.0 if 0 <= low < 0.2 * spread else low - 0.2 * spread
            edges = torch.linspace(start, high + 0.2 * spread, bins + 1)
        return cls((edges[1:] + edges[:-1]) / 2, edges, False)

    def shares(self, x: Tensor) -> Tensor:
        """The share of the entries in each cell, of the size of cells where these are wide."""
        cell = (torch.bucketize(x, self.edges.to(x.dtype)) - 1).clamp(0, len(self.places) - 1)
        counts = torch.zeros(len(self.places), dtype=x.dtype).index_add(0, cell, torch.ones_like(x))
        width = 1.0 if self.is_discrete else float(self.edges[1] - self.edges[0])
        return counts / (len(x) * width)


def _distribution(axes: Axes, grid: Grid, data: Tensor, drawn: Tensor) -> None:
    """The data's shares, and the band of the drawn ones."""
    levels = torch.tensor([0.05, 0.5, 0.95], dtype=drawn.dtype)
    low, middle, high = torch.quantile(drawn, levels, dim=0).tolist()
    places = grid.places.tolist()
    if grid.is_discrete:
        for place, bottom, top in zip(places, low, high, strict=True):
            axes.fill_between([place - 0.4, place + 0.4], bottom, top, color=_BLUE, alpha=0.3, linewidth=0)
        axes.hlines(middle, [p - 0.4 for p in places], [p + 0.4 for p in places], color=_BLUE, linewidth=1)
        axes.plot(places, data.tolist(), "o", color=_RED, markersize=4)
        axes.locator_params(axis="x", integer=True)
        axes.set_ylabel("share", fontsize=8)
    else:
        edges = grid.edges.tolist()
        axes.stairs(high, edges, baseline=low, fill=True, color=_BLUE, alpha=0.3, linewidth=0)
        axes.stairs(middle, edges, color=_BLUE, linewidth=1, baseline=None)
        axes.plot(places, data.tolist(), "-o", color=_RED, markersize=2.5, linewidth=1)
        axes.set_yticks([])
    axes.set_ylim(bottom=0.0)
    axes.plot([], [], "-o", color=_RED, markersize=3, linewidth=1, label="data")
    axes.fill_between([], [], [], color=_BLUE, alpha=0.3, label="90 % of drawn data sets")
    axes.legend(fontsize=7, frameon=False)
    axes.tick_params(labelsize=7)


def _one(axes: Axes, name: str, data: float, drawn: Tensor) -> None:
    """One statistic of the drawn data sets, and of the data."""
    values = drawn[torch.isfinite(drawn)]
    larger = (values > data).double() + 0.5 * (values == data).double()
    share = float(larger.mean()) if len(values) else float("nan")
    axes.hist(values.tolist(), bins=_cells(values), color=_BLUE, alpha=0.45)
    axes.axvline(data, color=_RED, linewidth=1.5)
    axes.set_title(f"{name}: p = {share:.2f}", fontsize=8)
    axes.set_yticks([])
    axes.tick_params(labelsize=7)


def _cells(values: Tensor) -> int | Sequence[float]:
    """Edges of a histogram's bins, each of which holds as many values as others where these lie on a grid."""
    distinct = torch.unique(values.double())
    if len(distinct) < 2:
        return 1
    gap = float(distinct.diff().amin())
    steps = (distinct - distinct[0]) / gap
    count = int(steps[-1].round()) + 1
    if count > _MOST_STEPS or bool(((steps - steps.round()).abs() > 0.05).any()):
        return _MOST_VALUES
    width = -(-count // _MOST_VALUES)
    return [float(distinct[0]) + (k * width - 0.5) * gap for k in range(-(-count // width) + 1)]
