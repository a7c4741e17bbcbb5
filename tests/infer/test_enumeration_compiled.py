"""Enumerated objectives under capture: the numbers of eager steps."""

from __future__ import annotations

import warnings

import pytest
import torch

import ember
import ember.distributions as dist
from ember.capture import Interpreter
from ember.distributions import constraints
from ember.infer import SVI, TraceEnum_ELBO, TraceTMC_ELBO, config_enumerate
from ember.optim import Adam

pytestmark = pytest.mark.usefixtures("float64")
DATA = torch.tensor([-1.8, -2.3, 2.1, 1.7, 2.4, -2.0], dtype=torch.float64)


@pytest.fixture(autouse=True)
def _sites_summed_out_of_the_model_are_not_missing():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found vars in model but not guide")
        yield


def no_guide(x):
    pass


@config_enumerate
def mixture(x):
    w = ember.param("w", torch.tensor([0.4, 0.6]), constraint=constraints.simplex)
    with ember.plate("components", 2):
        loc = ember.sample("loc", dist.Normal(0.0, 5.0))
    with ember.plate("rows", len(x)):
        k = ember.sample("k", dist.Categorical(w))
        ember.sample("x", dist.Normal(torch.where(k == 0, loc[..., :1], loc[..., 1:]), 1.0), obs=x)


def mixture_guide(x):
    m = ember.param("m", torch.tensor([-1.0, 1.0]))
    s = ember.param("s", torch.ones(2), constraint=constraints.positive)
    with ember.plate("components", 2):
        ember.sample("loc", dist.Normal(m, s))


def chain(x):
    p = ember.param("p", torch.tensor([[0.8, 0.2], [0.3, 0.7]]), constraint=constraints.simplex)
    loc = ember.param("loc", torch.tensor([-1.0, 1.0]))
    k = 0
    for t in ember.markov(range(len(x))):
        k = ember.sample(f"k{t}", dist.Categorical(p[k]), infer={"enumerate": "parallel"})
        ember.sample(f"x{t}", dist.Normal(loc[k], 1.0), obs=x[t])


def both(x):
    """Sites enumerated in the guide, both ways, sites enumerated in the model, and sampled sites of both kinds."""
    a = ember.sample("a", dist.Bernoulli(0.4))
    c = ember.sample("c", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    u = ember.sample("u", dist.Poisson(3.0))
    scale = ember.param("scale", torch.tensor(1.0), constraint=constraints.positive)
    with ember.plate("rows", len(x), subsample_size=4) as i:
        b = ember.sample("b", dist.Bernoulli(0.2 + 0.5 * a), infer={"enumerate": "parallel"})
        ember.sample("x", dist.Normal(a + 2 * b + c * z + 0.1 * u, scale), obs=x[i])


def both_guide(x):
    unit = constraints.unit_interval
    q = ember.param("qc", torch.tensor([[0.2, 0.3, 0.5], [0.3, 0.4, 0.3]]), constraint=constraints.simplex)
    a = ember.sample(
        "a",
        dist.Bernoulli(ember.param("qa", torch.tensor(0.5), constraint=unit)),
        infer={"enumerate": "sequential"},
    )
    ember.sample(
        "c", dist.Categorical(torch.where(a.unsqueeze(-1) > 0, q[1], q[0])), infer={"enumerate": "parallel"}
    )
    ember.sample("z", dist.Normal(ember.param("qz", torch.tensor(0.1)), 1.0))
    ember.sample("u", dist.Poisson(ember.param("qu", torch.tensor(2.0), constraint=constraints.positive)))
    ember.plate("rows", len(x), subsample_size=4)


def tmc_guide(x):
    m = ember.param("m", torch.tensor(0.1))
    z = ember.sample("z", dist.Normal(m, 1.0))
    with ember.plate("rows", len(x)):
        ember.sample("k", dist.Bernoulli(logits=z))


def tmc_model(x):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    with ember.plate("rows", len(x)):
        k = ember.sample("k", dist.Bernoulli(logits=0.5 * z))
        ember.sample("x", dist.Normal(2.0 * k, 1.0), obs=x)


PROGRAMS = {
    "mixture": (mixture, mixture_guide, TraceEnum_ELBO),
    "chain": (chain, no_guide, TraceEnum_ELBO),
    "both": (both, both_guide, TraceEnum_ELBO),
    "monte carlo": (tmc_model, config_enumerate(tmc_guide, num_samples=4), TraceTMC_ELBO),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(
    "particles", [{}, {"num_particles": 2}, {"num_particles": 2, "vectorize_particles": True}]
)
def test_compiled_steps_and_loops_give_the_eager_numbers(name, particles):
    model, guide, objective = PROGRAMS[name]
    losses, parameters = {}, {}
    for mode in ("eager", "compiled", "loop"):
        ember.clear_param_store()
        ember.set_rng_seed(0)
        svi = SVI(
            model,
            guide,
            Adam({"lr": 0.05}),
            objective(max_plate_nesting=1, **particles),
            compile=mode != "eager",
        )
        svi.programs.backend = Interpreter()
        if mode == "loop":
            losses[mode] = [float(x) for x in svi.run(5, DATA, progress=False).losses]
        else:
            losses[mode] = [svi.step(DATA) for _ in range(5)]
        parameters[mode] = {n: p.detach().clone() for n, p in ember.get_param_store().named_parameters()}
    for mode in ("compiled", "loop"):
        assert losses[mode] == pytest.approx(losses["eager"], abs=1e-8)
        for key, value in parameters["eager"].items():
            assert torch.allclose(parameters[mode][key], value, atol=1e-8)
