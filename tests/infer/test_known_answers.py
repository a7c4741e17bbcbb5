"""SVI reaches exact posteriors and exact evidence."""

from __future__ import annotations

import pytest
import torch
from tests import zoo

import ember
from ember.infer import SVI, Trace_ELBO
from ember.optim import ExponentialLR


def _at_optimum(known: zoo.Known) -> None:
    known.guide(*known.args)
    for name, value in known.at_optimum.items():
        ember.get_param_store()[name] = value


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("make", zoo.ALL)
def test_the_exact_posterior_has_the_log_evidence_as_its_elbo_at_every_sample(make):
    known = make()
    _at_optimum(known)
    for _ in range(20):
        assert -Trace_ELBO().loss(known.model, known.guide, *known.args) == pytest.approx(
            known.log_evidence, abs=1e-9
        )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("make", zoo.ALL)
def test_training_reaches_posterior_mean_and_sd_and_evidence(make):
    known = make()
    steps, final = 1200, 0.01
    optim = ExponentialLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.1}, "gamma": final ** (1 / steps)}
    )
    # The score function's variance asks for more samples.
    elbo = Trace_ELBO(num_particles=500 if make in zoo.SCORE_FUNCTION else 30, vectorize_particles=True)
    svi = SVI(known.model, known.guide, optim, elbo)
    for _ in range(steps):
        svi.step(*known.args)
        optim.step()
    for site, (mean, sd) in known.moments().items():
        exact_mean, exact_sd = (torch.as_tensor(value) for value in known.posterior[site])
        # What Adam's last steps of 0.001 leave: 3 percent of a standard deviation.
        assert torch.all((torch.as_tensor(mean) - exact_mean).abs() < 0.03 * exact_sd + 1e-3), (
            site,
            mean,
            exact_mean,
        )
        assert torch.all((torch.as_tensor(sd) / exact_sd - 1).abs() < 0.03), (site, sd, exact_sd)
    assert -svi.evaluate_loss(*known.args) == pytest.approx(known.log_evidence, abs=0.01)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("make", zoo.ALL)
@pytest.mark.parametrize("vectorize", [False, True])
def test_the_elbo_bounds_the_evidence_and_particles_average(make, vectorize):
    known = make()
    elbo = Trace_ELBO(num_particles=50, vectorize_particles=vectorize)
    values = torch.tensor([-elbo.loss(known.model, known.guide, *known.args) for _ in range(20)])
    assert values.mean() < known.log_evidence + 4 * values.std() / 20**0.5
    single = torch.tensor([-Trace_ELBO().loss(known.model, known.guide, *known.args) for _ in range(1000)])
    error = (values.var() / 20 + single.var() / 1000).sqrt()
    assert abs(values.mean() - single.mean()) < 5 * error
