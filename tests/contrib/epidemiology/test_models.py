"""The twelve models: simulated, fitted, carried on; and models of one's own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

import ember
import ember.distributions as dist
import ember.pyro
from ember.contrib.epidemiology import CompartmentalModel, binomial_dist, infection_dist, models
from ember.infer.posterior.smcfilter import SMCFailed

T = 8
POPULATION = torch.tensor([50.0, 60.0, 40.0])
COUPLING = torch.eye(3) * 0.8 + 0.1
LINEAGES = {"leaf_times": torch.tensor([3.0, 5.0]), "coal_times": torch.tensor([1.0])}


def _real(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.get_default_dtype())


MODELS: dict[str, Callable[[Any], Any]] = {
    "sir": lambda data: models.SimpleSIRModel(200, 7.0, data),
    "overdispersed_sir": lambda data: models.OverdispersedSIRModel(200, 7.0, data),
    "superspreading_sir": lambda data: models.SuperspreadingSIRModel(200, 7.0, data),
    "heterogeneous_sir": lambda data: models.HeterogeneousSIRModel(200, 7.0, data),
    "unknown_start_sir": lambda data: models.UnknownStartSIRModel(200, 7.0, 3, data[3:]),
    "seir": lambda data: models.SimpleSEIRModel(200, 3.0, 7.0, data),
    "overdispersed_seir": lambda data: models.OverdispersedSEIRModel(200, 3.0, 7.0, data),
    "seird": lambda data: models.SimpleSEIRDModel(200, 3.0, 7.0, 0.2, data),
    "superspreading_seir": lambda data: models.SuperspreadingSEIRModel(200, 3.0, 7.0, data),
    "lineages": lambda data: models.SuperspreadingSEIRModel(200, 3.0, 7.0, data, **LINEAGES),
    "regional_sir": lambda data: models.RegionalSIRModel(_real(POPULATION), _real(COUPLING), 7.0, data),
    "heterogeneous_regional_sir": lambda data: models.HeterogeneousRegionalSIRModel(
        POPULATION, COUPLING, 7.0, data
    ),
}
FIXED = {"R0": 4.0}
QUICK: dict[str, Any] = {"num_samples": 6, "num_steps": 4, "num_particles": 3, "heuristic_num_particles": 100}


@pytest.fixture(autouse=True)
def eager() -> Any:
    """Steps are compiled in one test only: twelve C programs take long."""
    before = {name: ember.settings.get(name) for name in ("compile", "backend")}
    ember.settings.set(compile=False)
    yield
    ember.settings.set(**before)


def simulated(name: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """A model with data of its own, and these."""
    ember.set_rng_seed(3)
    values = MODELS[name]([None] * T).generate(FIXED)
    return MODELS[name](values["obs"]), values


@pytest.mark.parametrize("name", MODELS)
def test_simulated_fitted_and_carried_on(name: str) -> None:
    model, truth = simulated(name)
    regions = (3,) if model.is_regional else ()
    for compartment in model.compartments:
        assert truth[compartment].shape == (T, *regions)
        assert bool((truth[compartment] == truth[compartment].round()).all())
    assert bool((truth["obs"] >= 0).all())

    losses = model.fit_svi(**QUICK)
    assert len(losses) == 5 and all(map(torch.tensor(losses).isfinite().tolist().__getitem__, range(5)))
    assert model.samples["R0"].shape == (6,) + (1,) * model.max_plate_nesting
    assert set(model.full_mass[0]) <= set(model.samples)

    predicted = model.predict(forecast=2)
    for name in (*model.compartments, "obs"):
        assert predicted[name].shape == (6, T + 2, *regions)
    total = sum(predicted[name] for name in model.compartments)
    # Counts are rounded each by itself.
    assert bool((total <= model.population + 1).all())
    # Of the past, the data are given; the future goes on from the last counts.
    assert torch.equal(predicted["obs"][:, :T], truth["obs"].expand(6, T, *regions))
    assert bool((predicted["S"].diff(dim=1)[:, T - 1 :] <= 0).all())
    assert model.predict()["I"].shape == (6, T, *regions)


@pytest.mark.parametrize("name", MODELS)
def test_steps_are_captured(name: str) -> None:
    model, _ = simulated(name)
    eager = model.fit_svi(**QUICK)
    ember.settings.set(compile=True, backend="interpreter")
    model, _ = simulated(name)
    assert model.fit_svi(**QUICK) == pytest.approx(eager, rel=1e-5)


def test_observations_of_cumulative_counts() -> None:
    ember.set_rng_seed(0)
    mask = torch.arange(T) % 4 == 3
    model = models.SparseSIRModel(200, 7.0, [None] * T, mask)
    values = model.generate({"R0": 4.0, "rho": 0.5})
    assert bool((values["O"].diff() >= 0).all())
    assert bool((values["O"] <= 199 - values["S"] + 1).all())
    flows = model.compute_flows({"S": 9, "I": 3, "O": 1}, {"S": 7, "I": 4, "O": 2}, 5)
    assert flows == {"S2I_5": 2, "I2R_5": 1, "S2O_5": 1}


def test_a_posterior_close_to_the_truth() -> None:
    """At R0 = 3 with half of the infections seen, of 1,000 individuals; by a compiled program."""
    ember.settings.set(compile=None)
    ember.set_rng_seed(7)
    data = torch.tensor([1.0, 0, 1, 2, 1, 3, 2, 5, 6, 9, 14, 16, 21, 32, 38])  # grows as e^(0.29 t)
    model = models.SimpleSIRModel(1000, 7.0, data)
    losses = model.fit_svi(num_samples=200, num_steps=300, num_particles=8, heuristic_num_particles=300)
    assert losses[-1] < losses[0]
    growth = 7.0 * (2.718281828**0.29 - 1) + 1  # (1 + r) ** t, with r = (R0 - 1) / 7
    assert model.samples["R0"].mean().item() == pytest.approx(growth, rel=0.25)
    predicted = model.predict(forecast=7)
    infections = predicted["S2I"][:, :15].sum(-1)
    seen = data.sum() / infections.mean()
    assert seen.item() == pytest.approx(model.samples["rho"].mean().item(), abs=0.1)
    assert predicted["I"][:, -1].mean() > predicted["I"][:, 14].mean()


@pytest.mark.parametrize("rank", [0, 2, None, "full"])
def test_guides(rank: Any) -> None:
    model, _ = simulated("sir")
    model.fit_svi(**QUICK, guide_rank=rank, haar=rank == 2)
    assert model.samples["auxiliary"].shape == (6, 1, 2, T)
    assert bool((model.samples["auxiliary"] > -0.5).all()) and bool(
        (model.samples["auxiliary"] < 200.5).all()
    )


def test_a_fit_leaves_the_programs_parameters_alone() -> None:
    model, _ = simulated("sir")
    ember.param("mine", torch.tensor(1.0))
    model.fit_svi(**QUICK)
    first = model.samples["R0"]
    ember.set_rng_seed(1)
    model.fit_svi(**QUICK)
    assert list(ember.get_param_store()) == ["mine"] and not torch.equal(first, model.samples["R0"])


def test_the_same_draws_from_one_seed() -> None:
    found = []
    for _ in range(2):
        model, _ = simulated("seir")
        found.append((model.fit_svi(**QUICK), model.predict(forecast=2)["I"]))
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])


def test_double_precision() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        model, _ = simulated("regional_sir")
        model.fit_svi(**QUICK)
        assert model.predict(forecast=1)["I"].dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


class Birds(CompartmentalModel):
    """Two compartments, and a likelihood of the whole series."""

    def __init__(self, data: Any, *, wrong: str = "") -> None:
        super().__init__(("S", "I"), len(data), 100)
        self.data, self.wrong, self.finalized = data, wrong, 0

    def global_model(self) -> Any:
        return ember.sample("rate", dist.Gamma(2.0, 4.0))

    def initialize(self, params: Any) -> dict[str, Any]:
        return {"S": 99, "I": 1, **({"extra": 0} if self.wrong == "extra" else {})}

    def transition(self, params: Any, state: dict[str, Any], t: Any) -> None:
        fn = infection_dist(
            individual_rate=params, num_susceptible=state["S"], num_infectious=state["I"], population=100
        )
        S2I = ember.sample("S2I" if self.wrong == "name" else f"S2I_{t}", fn)
        I2R = ember.sample(f"I2R_{t}", binomial_dist(state["I"], 0.25))
        state["S"] = state["S"] - S2I
        state["I"] = state["I"] + S2I - (0 if self.wrong == "flow" else I2R)
        observed = self.data[t] if isinstance(t, slice) or t < self.duration else None
        ember.sample(f"obs_{t}", binomial_dist(S2I, 0.5), obs=observed)

    def finalize(self, params: Any, prev: Any, curr: Any) -> None:
        self.finalized += 1
        noise = ember.sample("noise", dist.Normal(0.0, 1.0)) if self.wrong == "latent" else 0.0
        ember.sample("last", dist.Normal(curr["I"][..., -1:] + noise, 1.0), obs=torch.tensor(3.0))


DATA = torch.tensor([0.0, 1.0, 0.0, 2.0])


def test_a_model_of_ones_own() -> None:
    model = Birds(DATA)
    assert model.series == {"S2I", "I2R", "obs"} and model.full_mass == [("rate",)]
    model.fit_svi(**QUICK)
    assert model.finalized and model.predict(forecast=1)["I"].shape == (6, 5)


@pytest.mark.parametrize(
    "wrong, error, text",
    [
        ("flow", ValueError, r"Incorrect state\['I'\] update in .transition\(\)"),
        ("latent", NotImplementedError, r"finalize\(\) contained latent variable noise"),
        ("name", ValueError, r"site 'S2I' of transition\(\) has no time in its name"),
        ("extra", ValueError, r"initialize\(\) gives 'extra'"),
    ],
)
def test_models_that_contradict_themselves(wrong: str, error: type[Exception], text: str) -> None:
    model = Birds(DATA, wrong=wrong)
    with pytest.raises(error, match=text):
        model.fit_svi(**QUICK)
    assert not model.samples


def test_options_and_calls_that_make_no_sense() -> None:
    model, _ = simulated("sir")
    with pytest.raises(RuntimeError, match="Missing samples"):
        model.predict()
    with pytest.raises(AssertionError, match="unrecognized options: steps"):
        model.fit_svi(steps=3)
    with pytest.raises(ValueError, match="Invalid guide_rank: 'half'"):
        model.fit_svi(**QUICK, guide_rank="half")
    for option in ("num_steps", "num_samples"):
        with pytest.raises(ValueError, match=f"{option} is an int, at least 1, and not 0"):
            model.fit_svi(**{**QUICK, option: 0})
    for forecast in (-1, 1.5):
        with pytest.raises(ValueError, match=f"forecast is an int, at least 0, and not {forecast}"):
            model.predict(forecast=forecast)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="Instead: fit_svi"):
        model.fit_mcmc(num_samples=3)
    with pytest.raises(ValueError, match="a fit needs data at all 3 time steps, and entry 1 is None"):
        models.SimpleSIRModel(10, 7.0, [0.0, None, 1.0]).fit_svi(**QUICK)
    with pytest.raises(SMCFailed, match="after site obs"):
        models.SimpleSIRModel(10, 7.0, torch.tensor([9.0, 9.0])).heuristic(num_particles=20, retries=2)


def test_whole_populations_of_regions() -> None:
    model = models.RegionalSIRModel(torch.tensor([50, 60]), torch.eye(2), 7, [[0, 0], [1, 0]])
    model.fit_svi(**QUICK)
    assert model.predict()["I"].shape == (6, 2, 2)


def test_the_last_response_rate_goes_on() -> None:
    model = models.HeterogeneousSIRModel(100, 7.0, [None] * 85)
    rho = model.generate({"R0": 0.1})["rho"]
    assert rho.shape == (85,) and len(rho.unique()) == 3
    short = models.HeterogeneousSIRModel(100, 7.0, torch.zeros(3))
    short.fit_svi(**QUICK)
    assert short.predict(forecast=80)["obs"].shape == (6, 83)


def test_a_response_rate_that_is_given_is_that_of_all_times() -> None:
    ember.set_rng_seed(0)
    model = models.HeterogeneousSIRModel(100, 7.0, [None] * 20)
    drawn = model.generate({"R0": 3.0, "rho": 1.0})
    assert drawn["S2I"].sum() > 10 and torch.equal(drawn["obs"], drawn["S2I"])
    assert model.generate({"R0": 3.0, "rho": 0.0})["obs"].sum() == 0


def test_a_population_too_large_for_the_dtype() -> None:
    with pytest.warns(RuntimeWarning, match="1,000,000,000 are not exact in torch.float32"):
        models.SimpleSIRModel(10**9, 7.0, [None])


def test_lists_are_data_too() -> None:
    ember.set_rng_seed(0)
    model = models.SimpleSIRModel(50, 7.0, [0, 1, 1, 0, 2])
    assert len(model.fit_svi(**QUICK)) == 5
    assert len(models.SimpleSIRModel(50, 7.0, [0]).fit_svi(**QUICK)) == 5  # one time step


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: models.SimpleSIRModel(1, 7.0, [0]), "at least 2"),
        (lambda: models.SimpleSIRModel(10.5, 7.0, [0]), "population is an int"),
        (lambda: models.SimpleSIRModel(10, 7.0, []), "duration is an int, at least 1, and not 0"),
        (lambda: models.SimpleSIRModel(10, 0.5, [0]), "recovery_time is a number above 1, and not 0.5"),
        (lambda: models.SimpleSEIRModel(10, None, 7.0, [0]), "incubation_time"),
        (lambda: models.SimpleSEIRDModel(10, 3.0, 7.0, 1.5, [0]), "mortality_rate is in"),
        (lambda: models.UnknownStartSIRModel(10, 7.0, 0, [0]), "pre_obs_window"),
        (lambda: models.SparseSIRModel(10, 7.0, [0, 1], [True]), "mask has 1"),
        (lambda: models.SuperspreadingSEIRModel(10, 3.0, 7.0, [0], leaf_times=POPULATION), "go together"),
        (lambda: models.RegionalSIRModel(10, COUPLING, 7.0, [0]), "population is a vector"),
        (lambda: models.RegionalSIRModel(POPULATION, 2 * COUPLING, 7.0, [0]), "couplings are in"),
        (lambda: models.RegionalSIRModel(POPULATION, COUPLING[:2], 7.0, [0]), "coupling is of shape"),
        (lambda: models.RegionalSIRModel(POPULATION, COUPLING, 7.0, torch.zeros(4)), "data is of shape"),
        (lambda: models.RegionalSIRModel(0 * POPULATION, COUPLING, 7.0, [0]), "each region has"),
        (lambda: models.RegionalSIRModel(COUPLING, COUPLING, 7.0, [0]), "is a vector, not of shape"),
    ],
)
def test_bad_arguments(make: Callable[[], object], text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        make()


def test_progress_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="pyro.contrib.epidemiology.compartmental"):
        model, _ = simulated("sir")
        model.fit_svi(**QUICK, log_every=2)
        model.predict(forecast=1)
    told = " ".join(record.getMessage() for record in caplog.records)
    for text in ("Heuristic init: R0=", "step 2 loss = ", "SVI took", "Forecasting 1 steps ahead"):
        assert text in told


def test_the_paths_of_pyro() -> None:
    with ember.pyro.installed():
        from pyro.contrib.epidemiology.compartmental import CompartmentalModel as Base
        from pyro.contrib.epidemiology.models import SimpleSIRModel
        from pyro.contrib.epidemiology.util import W16, cat2, quantize_enumerate

    assert Base is CompartmentalModel and issubclass(SimpleSIRModel, Base)
    assert W16.shape == (8, 10) and callable(cat2) and callable(quantize_enumerate)


def test_flows_go_from_each_compartment_to_the_next_if_nothing_else_is_said() -> None:
    flows = Birds(DATA).compute_flows({"S": 9, "I": 3}, {"S": 7, "I": 4}, 5)
    assert flows == {"S2I_5": 2, "I2R_5": 1}


def test_observations_without_noise_cannot_be_fitted() -> None:
    ember.set_rng_seed(0)
    mask = torch.arange(T) % 4 == 3
    data = models.SparseSIRModel(200, 7.0, [None] * T, mask).generate({"R0": 4.0, "rho": 0.5})["obs"]
    with pytest.raises(ember.errors.NonFiniteLossError, match="obs_slice"):
        models.SparseSIRModel(200, 7.0, data, mask).fit_svi(**QUICK)


def test_an_attribute_is_read_anew_by_every_prediction() -> None:
    class Cured(Birds):
        vaccinated = False

        def transition(self, params: Any, state: dict[str, Any], t: Any) -> None:
            future = not isinstance(t, slice) and t >= self.duration
            super().transition(0 * params if self.vaccinated and future else params, state, t)

    ember.set_rng_seed(0)
    model = Cured(DATA)
    model.fit_svi(**QUICK)
    before = model.predict(forecast=20)["S2I"][:, 4:].sum()
    model.vaccinated = True
    assert before > 0 == model.predict(forecast=20)["S2I"][:, 4:].sum()
