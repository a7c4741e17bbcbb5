"""Pictures hold what they say."""

from __future__ import annotations

import io
from typing import Any

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


def test_forest_of_a_site_with_labels_in_order() -> None:
    draws = {"mu": torch.zeros(5), "b": torch.tensor([[3.0, 1.0, 2.0]]).expand(5, 3)}
    figure = forest(
        draws, site="b", labels=["three", "one", "two"], ordered=True, marks=torch.tensor([30.0, 10.0, 20.0])
    )
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two", "three"]
    medians, marks = axes.lines
    assert medians.get_xdata().tolist() == [1.0, 2.0, 3.0] and marks.get_xdata().tolist() == [
        10.0,
        20.0,
        30.0,
    ]
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"site": "c"}, r"draws of the sites \['mu'\]; got site='c'"),
        ({"labels": ["a", "b"]}, "shows 1 quantities, and got 2 labels"),
        ({"marks": torch.zeros(3)}, "shows 1 quantities, and got 3 marks"),
    ],
)
def test_forest_refuses_what_does_not_fit(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        forest({"mu": torch.zeros(5)}, **options)
