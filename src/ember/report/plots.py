"""Pictures of draws: intervals of all quantities, and densities of some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ember.errors import ModelError
from ember.ops.entries import Scalars
from ember.report.posterior import taken_apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _GREY, _RED = "#2a6f97", "#8d99ae", "#c1440e"
_MOST = 40


def forest(
    fitted: object,
    *rest: Any,
    site: str | Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    ordered: bool = False,
    marks: Tensor | None = None,
    most: int = _MOST,
    title: str = "",
    num_samples: int = 4000,
    **kwargs: Any,
) -> Figure:
    """Draw intervals of each quantity.

    A point is at the median, a bar over the middle 50 %, a line over the middle 90 %. Called as
    ``forest(draws)``, ``forest(fit)``, ``forest(svi, *args)`` or ``forest(model, guide, *args)``. What else
    the picture is to show goes into ``figure.axes[0]``.

    Args:
        fitted: draws by site, along dim 0; or what :func:`ember.fit` returns, an SVI or what its ``run`` or
            ``fit`` returns, or a model.
        rest: a guide or draws, after a model; then the arguments of the model.
        site: the name of the site to draw, or several names; all sites by default.
        labels: labels of the quantities, instead of their names.
        ordered: whether to go from the smallest median to the largest; by default as they come.
        marks: a value for each quantity, shape ``(Q,)``, drawn as a cross: what has come of a forecast, say.
        most: how many quantities are drawn at most, from the first on.
        title: the title of the figure.
        num_samples: how many draws of a guide to take.
        kwargs: keyword arguments of the model.

    Returns:
        A figure of matplotlib.

    Raises:
        ImportError: without matplotlib (``pip install matplotlib``).
        ModelError: without quantities, for a site that is not there, or for another number of labels or marks
            than of quantities.

    >>> import torch
    >>> from ember.report import forest
    >>> figure = forest({"theta": torch.randn(100, 3)}, labels=["A", "B", "C"], ordered=True)
    >>> sorted(label.get_text() for label in figure.axes[0].get_yticklabels())
    ['A', 'B', 'C']
    """
    if isinstance(fitted, Mapping):
        draws = fitted
    else:
        posterior, rest = taken_apart("report.forest", fitted, rest)
        draws = posterior.at(rest, kwargs).draw(num_samples)
    wanted = list(draws) if site is None else [site] if isinstance(site, str) else list(site)
    if any(name not in draws for name in wanted):
        raise ModelError(f"forest has draws of the sites {list(draws)}; got site={site!r}")
    scalars = Scalars.of({name: draws[name] for name in wanted})
    given = None if marks is None else torch.as_tensor(marks, dtype=torch.float64).reshape(-1)
    for what, found in (("labels", labels), ("marks", given)):
        if found is not None and len(found) != len(scalars.names):
            raise ModelError(f"forest shows {len(scalars.names)} quantities, and got {len(found)} {what}")
    names = scalars.names if labels is None else tuple(labels)
    shown = torch.arange(len(names))
    if ordered:
        shown = scalars.values.median(0).values.argsort()
    return _forest(Scalars(names, scalars.values), shown[:most], given, title)


def _forest(scalars: Scalars, shown: Tensor, marks: Tensor | None, title: str) -> Figure:
    """The picture of :func:`forest`, of some columns."""
    from matplotlib.figure import Figure

    if not len(shown):
        raise ModelError("there are no draws of any quantity to be shown")
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)
    quantiles = torch.quantile(scalars.values[:, shown], levels, dim=0)
    figure = Figure(figsize=(6.5, 0.8 + 0.24 * len(shown)), dpi=150, layout="constrained")
    axes = figure.subplots()
    rows = list(range(len(shown)))
    axes.hlines(rows, quantiles[0], quantiles[4], color=_BLUE, linewidth=1)
    axes.hlines(rows, quantiles[1], quantiles[3], color=_BLUE, linewidth=4)
    axes.plot(quantiles[2], rows, "o", color="white", markeredgecolor=_BLUE, markersize=5)
    if marks is not None:
        axes.plot(marks[shown], rows, "x", color=_RED, markersize=6)
    axes.set_yticks(rows, [scalars.names[column] for column in shown.tolist()])
    axes.tick_params(labelsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3, linewidth=0.5)
    left = len(scalars.names) - len(shown)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(
        f"median, 50 % and 90 % intervals{f' ({left} more not shown)' if left else ''}", fontsize=8
    )
    return figure


def densities(
    axes: Sequence[Axes], draws: Scalars, raw: Scalars | None = None, names: Sequence[str] | None = None
) -> None:
    """Histograms of some quantities, one in each of the axes.

    Args:
        axes: where to draw.
        draws: of the posterior.
        raw: draws of the guide before they were corrected, drawn as a line beside.
        names: which quantities; the first by default.
    """
    for place, name in zip(axes, names or draws.names, strict=False):
        values = draws.values[:, draws.names.index(name)]
        low, high = (
            float(x) for x in torch.quantile(values, torch.tensor([0.002, 0.998], dtype=values.dtype))
        )
        high = high if high > low else low + 1.0
        place.hist(values.numpy(), bins=50, range=(low, high), density=True, color=_BLUE, alpha=0.55)
        if raw is not None:
            before = raw.values[:, raw.names.index(name)].numpy()
            place.hist(
                before, bins=50, range=(low, high), density=True, histtype="step", color=_GREY, linewidth=1.2
            )
        place.set_title(name, fontsize=9)
        place.set_yticks([])
        place.tick_params(labelsize=7)


def loss_curve(axes: Axes, losses: Tensor) -> None:
    """The negative ELBO over steps, from its first good value on.

    Args:
        axes: where to draw.
        losses: one a step.
    """
    finite = losses[torch.isfinite(losses)]
    axes.plot(range(1, len(losses) + 1), losses.numpy(), color=_BLUE, linewidth=1)
    if len(finite):
        last = float(finite[len(finite) // 2 :].median())
        spread = max(float((finite[len(finite) // 4 :] - last).abs().max()), 1e-3)
        axes.set_ylim(last - 1.2 * spread, last + 3 * spread)
    axes.margins(x=0.01)
    axes.set_title("negative ELBO by step", fontsize=9)
    axes.tick_params(labelsize=7)
