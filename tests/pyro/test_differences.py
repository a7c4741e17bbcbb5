"""What docs/from-pyro.md promises of Ember, where no test beside the source shows it."""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember import poutine
from ember.contrib import gp, oed, timeseries
from ember.contrib.epidemiology import compartmental, models
from ember.contrib.epidemiology.programs import AUXILIARY, relaxed
from ember.contrib.mue.statearrangers import Profile
from ember.infer import SVI, Predictive, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO, autoguide
from ember.infer.posterior.resampler import Resampler
from ember.optim import SGD, Adam


def model() -> None:
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    ember.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(0.5))


def guide() -> None:
    ember.sample("z", dist.Normal(ember.param("loc", torch.tensor(0.1)), 1.0))


def test_a_callable_loss_is_walked_back_once() -> None:
    kept: list[Tensor] = []

    def loss(*args: Any) -> Tensor:
        kept.append(Trace_ELBO().differentiable_loss(*args))
        return kept[-1]

    SVI(model, guide, SGD({"lr": 0.1}), loss).step()
    with pytest.raises(RuntimeError, match="second time"):
        kept[0].backward()


def test_predictions_run_the_model_once_to_find_its_structure() -> None:
    runs = []

    def counted() -> None:
        runs.append(1)
        ember.sample("z", dist.Normal(0.0, 1.0))

    Predictive(counted, num_samples=3)()
    assert len(runs) == 1 + 3


def test_a_messenger_guide_has_an_analytic_divergence() -> None:
    def prior() -> None:
        ember.sample("z", dist.Normal(1.0, 2.0))

    mean_field = autoguide.AutoNormalMessenger(prior)
    losses = []
    for seed in range(3):
        ember.set_rng_seed(seed)
        losses.append(TraceMeanField_ELBO().loss(prior, mean_field))
    assert losses[0] == losses[1] == losses[2]


def test_a_resampler_leaves_out_what_its_guide_observes() -> None:
    def proposal() -> None:
        ember.sample("z", dist.Normal(0.0, 1.0))
        ember.sample("seen", dist.Normal(0.0, 1.0), obs=torch.tensor(1.0))

    resampler = Resampler(proposal, lambda: ember.sample("z", dist.Normal(0.5, 0.5)), num_guide_samples=50)
    found = resampler.sample(lambda: ember.sample("z", dist.Normal(0.5, 0.4)), 5)
    assert set(found) == {"z"}


def test_inputs_of_processes_are_copied() -> None:
    x = torch.randn(6, 1)
    points, latents = x[:3].clone(), torch.randn(6, 1)
    sparse = gp.models.SparseGPRegression(x, x[:, 0], gp.kernels.RBF(1), points)
    lvm = gp.models.GPLVM(gp.models.GPRegression(latents, x[:, 0], gp.kernels.RBF(1)))
    before = lvm.base_model.X.clone()
    for process in (sparse, lvm):
        svi = SVI(process.model, process.guide, Adam({"lr": 0.1}), Trace_ELBO())
        given = points.clone(), latents.clone()
        for _ in range(2):
            svi.step()
        assert torch.equal(given[0], points) and torch.equal(given[1], latents)
    assert torch.equal(lvm.base_model.X, before)


def test_a_state_of_a_time_series_holds_what_is_learnt_alone() -> None:
    for process in (
        timeseries.IndependentMaternGP(obs_dim=2),
        timeseries.DependentMaternGP(obs_dim=2),
        timeseries.GenericLGSSMWithGPNoiseModel(obs_dim=2, state_dim=2),
    ):
        assert set(process.state_dict()) == {name for name, _ in process.named_parameters()}


def test_random_orders_of_a_flow_are_in_the_store() -> None:
    def two() -> None:
        ember.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))

    autoguide.AutoIAFNormal(two, hidden_dim=8).prepare()
    store = ember.get_param_store()
    (name,) = (name for name in store if name.endswith(".permutation"))
    del store[name]
    with pytest.warns(UserWarning, match="drawn anew"):
        autoguide.AutoIAFNormal(two, hidden_dim=8).prepare()


def test_draws_of_a_wishart_are_no_cause_for_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = dist.Wishart(torch.tensor(2.5), torch.eye(2)).sample((20_000,))
    assert (torch.linalg.eigvalsh(drawn) > 0).all()


def test_several_particles_have_response_rates_of_their_own() -> None:
    process = models.HeterogeneousSIRModel(100, 7.0, torch.tensor([1.0, 2.0, 1.0]))

    def run(given: dict[str, Tensor], particles: int) -> poutine.Trace:
        with ember.plate("particles", particles, dim=-2):
            return poutine.trace(poutine.condition(partial(relaxed, process), given)).get_trace()

    counts = torch.tensor([[97.0, 94.5, 90.25], [2.5, 4.0, 7.0]])
    counts = torch.stack([counts, 0.95 * counts]).unsqueeze(1)
    values = {AUXILIARY: counts, "beta": torch.tensor([[[1.0, 1.1, 1.2]], [[1.0, 0.9, 0.8]]])}
    drawn = run(values, 2)
    values |= {name: drawn.nodes[name]["value"] for name in ("R0", "rho0", "rho1", "rho2")}
    alone = [
        run({name: value[i : i + 1] for name, value in values.items()}, 1).log_prob_sum() for i in range(2)
    ]
    assert float(run(values, 2).log_prob_sum()) == pytest.approx(float(sum(alone)), rel=1e-5)


@pytest.mark.parametrize("worst", [math.nan, math.inf])
def test_losses_of_designs_that_are_not_finite_are_errors(worst: float) -> None:
    def bad(design: Tensor, num_samples: int, evaluation: bool) -> tuple[Tensor, Tensor]:
        return (ember.param("a", torch.tensor(1.0)) * worst).sum(), design

    with pytest.raises(ArithmeticError):
        oed.eig.opt_eig_ape_loss(torch.zeros(2, 2), bad, 1, 3, Adam({"lr": 0.1}))


def test_profiles_have_no_large_buffers() -> None:
    arranger = Profile(5)
    assert max(buffer.numel() for buffer in arranger.buffers()) < 5 * 5 * 5


def test_log_densities_of_points_count_in_mean_field() -> None:
    def prior() -> None:
        ember.sample("z", dist.Normal(0.0, 1.0))

    def point() -> None:
        ember.sample("z", dist.Delta(torch.tensor(0.4), log_density=torch.tensor(-1.5)))

    assert TraceMeanField_ELBO().loss(prior, point) == pytest.approx(Trace_ELBO().loss(prior, point))


def test_a_messenger_guide_made_among_particles_has_parameters_in_common() -> None:
    def rows() -> None:
        with ember.plate("rows", 3, dim=-1):
            ember.sample("z", dist.Normal(0.0, 1.0))

    messenger = autoguide.AutoNormalMessenger(rows)
    with ember.plate("particles", 5, dim=-2):
        assert messenger()["z"].shape == (5, 3)
    assert messenger.locs.z.shape[-1] == 3 and messenger.locs.z.numel() == 3


def test_hidden_markov_models_are_computed_in_double_precision() -> None:
    def density(dtype: torch.dtype) -> float:
        unit = dist.Normal(torch.zeros(1, dtype=dtype), 1.0).to_event(1)
        eye = torch.eye(1, dtype=dtype)
        noise = dist.Normal(torch.zeros(1, dtype=dtype), 0.01).to_event(1)
        hmm = dist.GaussianHMM(unit, eye, noise, eye, noise, duration=500)
        x = torch.linspace(0.0, 1.0, 500).unsqueeze(-1)
        found = hmm.log_prob(x.to(dtype))
        assert found.dtype == dtype
        return float(found)

    assert density(torch.float32) == pytest.approx(density(torch.float64), rel=1e-5)


def test_posterior_samples_keep_the_prior_of_their_sites() -> None:
    @ember.infer.config_enumerate
    def discrete() -> Tensor:
        k = ember.sample("k", dist.Categorical(torch.tensor([0.2, 0.8])))
        ember.sample("x", dist.Normal(k.float(), 0.1), obs=torch.tensor(0.0))
        return k

    with poutine.trace() as recorded:
        drawn = TraceEnum_ELBO(max_plate_nesting=0).sample_posterior(discrete, lambda: None)
    assert drawn.item() == 0
    torch.testing.assert_close(recorded.trace.nodes["k"]["fn"].probs, torch.tensor([0.2, 0.8]))


@pytest.mark.parametrize(
    ("setting", "steps", "captured"), [(None, 4, True), (False, 4, False), (None, 2, False)]
)
def test_long_fits_of_epidemics_are_compiled(
    setting: bool | None, steps: int, captured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    class Noted(SVI):
        def __init__(self, *args: Any, **options: Any) -> None:
            asked.append(options.get("compile"))
            super().__init__(*args, **{**options, "compile": False})

    monkeypatch.setattr(ember.infer, "SVI", Noted)
    monkeypatch.setattr(compartmental, "_WORTH_COMPILING", 3)
    process = models.SimpleSIRModel(50, 7.0, torch.tensor([1.0, 2.0]))
    with ember.settings.context(compile=setting):
        process.fit_svi(num_samples=2, num_steps=steps, num_particles=2, heuristic_num_particles=50)
    assert bool(asked[0]) is captured


@pytest.mark.parametrize(("kind", "times", "most"), [("OneOneMatching", 1, 17), ("OneTwoMatching", 2, 10)])
def test_how_many_destinations_matchings_have(kind: str, times: int, most: int) -> None:
    make = getattr(dist, kind)
    count = math.lgamma(times * most + 1) - most * math.log(times)
    found = make(torch.zeros(times * most, most, dtype=torch.float64)).log_partition_function
    assert found.item() == pytest.approx(count)
    with pytest.raises(NotImplementedError):
        _ = make(torch.zeros(times * (most + 1), most + 1)).log_partition_function
