"""A fit in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ember.ops.entries import Scalars
from ember.report.plots import densities, loss_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST, _COLUMNS = 11, 4


def plotted(
    title: str, draws: Scalars, raw: Scalars, losses: Tensor, names: Sequence[str] | None = None
) -> Figure:
    """Densities of quantities, filled as corrected and a line as the proposal had them; the last place is the ELBO's.

    Args:
        title: of the figure.
        draws: of equal weight.
        raw: of the proposal.
        losses: one a step.
        names: which quantities.

    Raises:
        KeyError: for a name that there is not; it lists those that there are.
    """
    from matplotlib.figure import Figure

    unknown = [name for name in names or () if name not in draws.names]
    if unknown:
        raise KeyError(f"no quantities {unknown}; there are {', '.join(draws.names[:20])}")
    shown = list(names or draws.names[:_MOST])
    count = len(shown) + 1
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(2.6 * columns, 2.0 * rows + 0.4), dpi=150, layout="constrained")
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    densities(places, draws, raw, shown)
    loss_curve(places[len(shown)], torch.as_tensor(losses))
    for place in places[count:]:
        place.set_axis_off()
    figure.suptitle(title, fontsize=10)
    return figure
