"""The course of a fit: iterates that are kept, and their picture."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.report import forest, traces
from ember.train import Checkpoint, Iterates


def model(y: Tensor) -> None:
    with ember.plate("rows", len(y)):
        ember.sample("y", dist.Normal(ember.param("loc", torch.zeros(2)).sum(), 1.0), obs=y)


def guide(y: Tensor) -> None: ...


Y = torch.tensor([1.0, 2.0, 3.0])


def svi() -> SVI:
    return SVI(model, guide, ember.optim.Adam({"lr": 0.1}), Trace_ELBO(), param_store="own")


def test_iterates_are_the_parameters_at_their_steps() -> None:
    iterates = Iterates(every=5)
    result = svi().fit(Y, steps=20, callbacks=[iterates], progress=False)
    assert iterates.steps == [5, 10, 15, 20]
    assert iterates.params["loc"].shape == (4, 2)
    torch.testing.assert_close(iterates.params["loc"][-1], result.params["loc"])
    short = svi().fit(Y, steps=10, progress=False)
    torch.testing.assert_close(iterates.params["loc"][1], short.params["loc"])
    assert Iterates().params == {}


def test_iterates_go_on_after_a_stop(tmp_path: Path) -> None:
    path = str(tmp_path / "fit.pt")
    first, second = Iterates(every=5), Iterates(every=5)
    svi().fit(Y, steps=10, callbacks=[first, Checkpoint(path, every=5)], progress=False)
    svi().fit(Y, steps=20, callbacks=[second, Checkpoint(path, every=5)], progress=False, resume=path)
    assert second.steps == [5, 10, 15, 20]
    torch.testing.assert_close(second.params["loc"][:2], first.params["loc"])


def test_picture() -> None:
    iterates = Iterates(every=5)
    result = svi().fit(Y, steps=50, callbacks=[iterates], progress=False)
    figure = traces(result.losses, iterates.params, steps=iterates.steps, title="a fit")
    assert [axes.get_title() for axes in figure.axes] == ["negative ELBO", "loc"]
    assert len(figure.axes[1].lines) == 2
    figure.savefig(io.BytesIO())
    many = {f"p{i}": torch.randn(10, 30) for i in range(5)}
    figure = traces([1.0, 2.0], many, most=3)
    assert figure.axes[1].get_title() == "p0 (12 of 30 entries)"
    assert "2 more parameters not shown" in figure._suptitle.get_text()  # type: ignore[attr-defined]


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"needs losses, one a step; got the shape \(0,\)"):
        traces([])
    with pytest.raises(ValueError, match="2 steps, and 3 values of the parameter 'a'"):
        traces([1.0], {"a": torch.zeros(3)}, steps=[1, 2])
    with pytest.raises(ValueError, match="no draws of any quantity"):
        forest({})


def test_forest_of_a_guide() -> None:
    def normal(y: Tensor) -> None:
        ember.sample("mu", dist.Normal(0.0, 1.0))

    figure = forest(normal, normal, Y, num_samples=50, title="prior")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["mu"]
