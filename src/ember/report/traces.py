"""The course of a fit in one picture: the loss, and each parameter, over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ember.errors import ModelError
from ember.report.plots import loss_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE = "#2a6f97"
_COLUMNS, _MOST_LINES = 3, 12


def traces(
    losses: Tensor | Sequence[float],
    params: Mapping[str, Tensor] | None = None,
    *,
    steps: Sequence[int] | None = None,
    most: int = 11,
    title: str = "",
) -> Figure:
    """Draw the negative ELBO over the steps, and parameters beside it.

    Of a parameter with more than twelve entries, twelve are drawn, evenly chosen.

    Args:
        losses: one a step, shape ``(num_steps,)``, such as ``result.losses`` of :meth:`ember.infer.SVI.fit`
            and ``run``, or of :func:`ember.fit`. Several losses a step, ``(num_steps, n)``, are summed.
        params: values by parameter, along dim 0, as :class:`ember.train.Iterates` keeps them.
        steps: the step of each of these values; evenly spread over the steps by default.
        most: how many parameters are drawn at most, from the first on.
        title: the title of the figure.

    Returns:
        A figure of matplotlib.

    Raises:
        ImportError: without matplotlib (``pip install matplotlib``).
        ModelError: without losses, or if ``steps`` and values of a parameter differ in number.

    >>> import torch
    >>> from ember.report import traces
    >>> figure = traces([3.0, 2.0, 1.5, 1.4], {"loc": torch.tensor([0.1, 0.5, 0.8, 0.9])})
    >>> [axes.get_title() for axes in figure.axes]
    ['negative ELBO', 'loc']
    """
    from matplotlib.figure import Figure

    values = torch.as_tensor(losses, dtype=torch.float64)
    values = values.sum(-1) if values.dim() == 2 else values
    if values.dim() != 1 or not len(values):
        raise ModelError(f"traces needs losses, one a step; got the shape {tuple(values.shape)}")
    shown = dict(list((params or {}).items())[:most])
    count = len(shown) + 1
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.2 * columns, 1.9 * rows + 0.4), dpi=150, layout="constrained")
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    loss_curve(places[0], values)
    places[0].set_title("negative ELBO", fontsize=9)
    for place, (name, value) in zip(places[1:], shown.items(), strict=False):
        _one(place, name, value, _steps(name, value, steps, len(values)))
    for place in places[count:]:
        place.set_axis_off()
    figure.supxlabel("step", fontsize=8)
    left = len(params or {}) - len(shown)
    figure.suptitle(f"{title}{f' ({left} more parameters not shown)' if left else ''}", fontsize=10)
    return figure


def _steps(name: str, value: Tensor, steps: Sequence[int] | None, total: int) -> list[float]:
    """Where the values of a parameter belong.

    Raises:
        ModelError: if there are not as many.
    """
    if steps is None:
        return (torch.arange(1, len(value) + 1, dtype=torch.float64) * total / len(value)).tolist()
    if len(steps) != len(value):
        raise ModelError(f"there are {len(steps)} steps, and {len(value)} values of the parameter {name!r}")
    return [float(step) for step in steps]


def _one(axes: Axes, name: str, value: Tensor, steps: Sequence[float]) -> None:
    lines = value.detach().double().reshape(len(value), -1)
    total = lines.shape[1]
    chosen = torch.unique(torch.linspace(0, total - 1, min(total, _MOST_LINES)).round().long())
    for column in lines[:, chosen].T:
        axes.plot(steps, column.tolist(), color=_BLUE, linewidth=0.9, alpha=0.9 if len(chosen) == 1 else 0.55)
    some = f" ({len(chosen)} of {total:,} entries)" if total > len(chosen) else ""
    axes.set_title(f"{name}{some}", fontsize=9)
    axes.margins(x=0.01)
    axes.tick_params(labelsize=7)
