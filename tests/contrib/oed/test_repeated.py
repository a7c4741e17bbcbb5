"""A fit for each observation, against the closed form; exact search."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Size, Tensor

import ember
import ember.distributions as dist
from ember.contrib.oed import eig
from ember.contrib.oed.glmm import normal_guide
from ember.contrib.oed.glmm.guides import LinearModelLaplaceGuide
from ember.contrib.oed.search import Search
from ember.infer import EmpiricalMarginal, Trace_ELBO
from ember.optim import Adam

from .linear_gaussian import DESIGNS, NOISE, TRUTH, model

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("y_dist", [None, dist.Normal(torch.zeros(1, 2, 3).double(), 1.0).to_event(3)])
def test_laplace_is_exact_for_a_linear_model(y_dist: object) -> None:
    guide = LinearModelLaplaceGuide(2, {"w": 2})
    loss = Trace_ELBO().differentiable_loss
    found = eig.laplace_eig(model(), DESIGNS, "y", "w", guide, loss, Adam({"lr": 0.1}), 5, 3, y_dist=y_dist)
    # The curvature of a quadratic is the same at all points.
    torch.testing.assert_close(found, TRUTH)
    assert not guide.training and (guide.scale_trils["w"].triu(1) == 0).all()
    ape = eig.laplace_eig(model(), DESIGNS, ["y"], ["w"], guide, loss, Adam({"lr": 0.1}), 5, 3, eig=False)
    prior = torch.distributions.Normal(0.0, torch.tensor([0.5, 3.0])).entropy().sum()
    torch.testing.assert_close(prior - ape, TRUTH)


def test_fits_by_variational_inference() -> None:
    parameters = {
        "guide": normal_guide(NOISE, Size([2])),
        "optim": Adam({"lr": 0.05}),
        "loss": Trace_ELBO(),
        "num_steps": 150,
        "compile": False,
    }
    with pytest.warns(DeprecationWarning, match="posterior_eig"):
        found = eig.vi_eig(model(), DESIGNS, "y", "w", parameters, {"num_samples": 2})
    torch.testing.assert_close(found, TRUTH, atol=0.15, rtol=0)
    assert parameters["num_steps"] == 150, "the dict of the caller is left alone"


def coin(design: Tensor) -> None:
    with ember.plate_stack("designs", design.shape):
        theta = ember.sample("theta", dist.Bernoulli(torch.full(design.shape, 0.5)))
        ember.sample("y", dist.Bernoulli(torch.where(theta > 0, 0.9, 0.3)))


class Exact:
    """The posterior of the coin, as a guide that need not be trained."""

    y: Tensor

    def __call__(self, design: Tensor) -> None:
        ember.param("unused", torch.zeros(()))
        ones = torch.where(self.y > 0, 0.9, 0.1) * 0.5
        zeros = torch.where(self.y > 0, 0.3, 0.7) * 0.5
        with ember.plate_stack("designs", design.shape):
            ember.sample("theta", dist.Bernoulli(ones / (ones + zeros)))

    def train(self) -> None:
        pass

    def finalize(self, loss: Tensor, targets: list[str]) -> None:
        pass


def test_observations_count_as_often_as_they_are_drawn() -> None:
    guide = Exact()

    def loss(model: object, guide_: object, design: Tensor, *y: Tensor) -> Tensor:
        if y:
            guide.y = y[0]
        return ember.param("unused", torch.zeros(())).square()

    found = eig.laplace_eig(
        coin, torch.zeros(1), "y", "theta", guide, loss, Adam({"lr": 0.1}), 1, 150, mean_field=True
    )
    p1 = 0.5 * (0.9 + 0.3)

    def entropy(p: float) -> float:
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    truth = math.log(2) - p1 * entropy(0.45 / p1) - (1 - p1) * entropy(0.05 / (1 - p1))
    # Counting distinct values by the square of their number would give 0.02 less.
    assert found.item() == pytest.approx(truth, abs=0.02)


def test_search_is_exact() -> None:
    def program() -> Tensor:
        p = ember.sample("p", dist.Categorical(torch.tensor([0.2, 0.5, 0.3])))
        q = ember.sample("q", dist.Bernoulli(0.1 + 0.3 * p))
        ember.sample("x", dist.Normal(p - q, 1.0), obs=torch.tensor(0.5))
        return p + q

    posterior = Search(program).run()
    assert len(posterior.exec_traces) == 6
    weights = {}
    for p, prior in enumerate([0.2, 0.5, 0.3]):
        for q in (0, 1):
            on = 0.1 + 0.3 * p
            weights[p + q, p, q] = prior * (on if q else 1 - on) * math.exp(-0.5 * (0.5 - p + q) ** 2)
    mean = sum(w * value for (value, _, _), w in weights.items()) / sum(weights.values())
    assert EmpiricalMarginal(posterior).mean.item() == pytest.approx(mean)
    with pytest.raises(ValueError, match="max tries"):
        Search(program, max_tries=1).run()
