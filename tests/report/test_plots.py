"""Pictures hold what they say."""

from __future__ import annotations

import io

import pytest
import torch
from matplotlib.figure import Figure

from ember.ops.entries import Scalars
from ember.report.plots import densities, forest


def test_forest_has_a_row_for_each_quantity() -> None:
    torch.manual_seed(0)
    figure = forest({"mu": torch.randn(100), "b": torch.randn(100, 3)}, title="four")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mu", "b[0]", "b[1]", "b[2]"]
    figure.savefig(io.BytesIO())


def test_forest_says_how_many_are_left_out() -> None:
    figure = forest({"b": torch.randn(100, 50)}, most=10)
    assert "40 more not shown" in figure.axes[0].get_xlabel()


@pytest.mark.parametrize("constant", [False, True])
def test_densities_fill_their_axes(constant: bool) -> None:
    figure = Figure()
    values = torch.full((50,), 2.0) if constant else torch.randn(50)
    scalars = Scalars.of({"mu": values, "tau": torch.rand(50)})
    axes = figure.subplots(1, 2)
    densities(list(axes), scalars, scalars)
    assert [place.get_title() for place in axes] == ["mu", "tau"]
    assert all(place.patches for place in axes)
    figure.savefig(io.BytesIO())
