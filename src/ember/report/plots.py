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

_BLUE, _GREY = "#2a6f97", "#8d99ae"
_MOST = 40


def forest(
    fitted: object, *rest: Any, most: int = _MOST, title: str = "", num_samples: int = 4000, **kwargs: Any
) -> Figure:
    """Intervals of each quantity: a point at the median, a bar over the middle 50 %, a line over the middle 90 %.

    Called as ``forest(draws)``, ``forest(fit)``, ``forest(svi, *args)`` or ``forest(model, guide, *args)``.

    Args:
        fitted: draws by site, along dim 0; or what :func:`ember.fit` returns, an SVI, or a model.
        rest: a guide or draws, after a model; then the arguments of the model.
        most: how many quantities are drawn at most, from the first on.
        title: of the figure.
        num_samples: draws of a guide.
        kwargs: of the model.

    Raises:
        ImportError: without matplotlib (``pip install matplotlib``).
        ModelError: without quantities.
    """
    if isinstance(fitted, Mapping):
        return forest_of(fitted, most, title)
    posterior, rest = taken_apart("report.forest", fitted, rest)
    return forest_of(posterior.at(rest, kwargs).draw(num_samples), most, title)


def forest_of(draws: Mapping[str, Tensor], most: int, title: str) -> Figure:
    """The picture of :func:`forest`."""
    from matplotlib.figure import Figure

    scalars = Scalars.of(draws)
    names = scalars.names[:most]
    if not names:
        raise ModelError("there are no draws of any quantity to be shown")
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)
    quantiles = torch.quantile(scalars.values[:, : len(names)], levels, dim=0)
    figure = Figure(figsize=(6.5, 0.8 + 0.24 * len(names)), dpi=150, layout="constrained")
    axes = figure.subplots()
    rows = list(range(len(names)))
    axes.hlines(rows, quantiles[0], quantiles[4], color=_BLUE, linewidth=1)
    axes.hlines(rows, quantiles[1], quantiles[3], color=_BLUE, linewidth=4)
    axes.plot(quantiles[2], rows, "o", color="white", markeredgecolor=_BLUE, markersize=5)
    axes.set_yticks(rows, names)
    axes.tick_params(labelsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3, linewidth=0.5)
    left = len(scalars.names) - len(names)
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
