"""Runs until convergence: right averages where the answer is known, what is refused, and what is left behind."""

from __future__ import annotations

import inspect

import pytest
import torch

import ember
import ember.distributions as dist
from ember.errors import ModelError, OptimizerError
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoDelta, AutoNormal
from ember.infer.step.convergence.rule import StoppingRule
from ember.infer.step.convergence.windows import FRACTIONS
from ember.infer.step.training.units import guide_units
from ember.infer.step.training.until import NOT_GIVEN, steps_and_arguments
from ember.optim import Adam, ClippedAdam, ExponentialLR, PyroOptim
from ember.train import UntilConverged

X = torch.linspace(-1.0, 1.0, 40) * torch.tensor([[1.0], [0.5]]) + torch.tensor([[0.0], [1.0]])
X = X.T + 0.3 * torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([1.0, -2.0]) + 0.5 * torch.randn(40, generator=torch.Generator().manual_seed(1))
PRECISION = torch.eye(2) / 25 + X.T @ X / 0.25
MEAN = torch.linalg.solve(PRECISION, X.T @ Y / 0.25)
SD = PRECISION.diagonal().rsqrt()  # of the best mean-field normal


def model(subsample=None):
    b = ember.sample("b", dist.Normal(torch.zeros(2), 5.0).to_event(1))
    with ember.plate("rows", 40, subsample_size=subsample) as i:
        ember.sample("y", dist.Normal((X[i] * b).sum(-1), 0.5), obs=Y[i])


def by_hand(subsample=None):
    loc = ember.param("loc", torch.zeros(2))
    scale = ember.param("scale", torch.full((2,), 0.5), constraint=dist.constraints.positive)
    ember.sample("b", dist.Normal(loc, scale).to_event(1))


class Net(ember.nn.PyroModule):
    """The same guide as a module."""

    def __init__(self):
        super().__init__()
        self.loc = torch.nn.Parameter(torch.zeros(2))
        self.log_scale = torch.nn.Parameter(torch.full((2,), -1.0))

    def forward(self, subsample=None):
        ember.sample("b", dist.Normal(self.loc, self.log_scale.exp()).to_event(1))


def svi_of(guide, optim=None, **kwargs):
    optim = Adam({"lr": 0.02}) if optim is None else optim
    return SVI(model, guide, optim, Trace_ELBO(), param_store="own", **kwargs)


def loc_and_scale(svi):
    values = {name.rpartition(".")[2]: value.detach() for name, value in svi.store().items()}
    return values["loc"], values["scale"] if "scale" in values else values["log_scale"].exp()


@pytest.mark.parametrize("kind", ["by hand", "module"])
def test_averages_are_those_of_the_best_guide(kind):
    torch.manual_seed(0)
    svi = svi_of(by_hand if kind == "by hand" else Net())
    result = svi.run(until="converged", progress=False)
    found = result.convergence
    assert found and found.averaged and len(found.rates) >= 2 and len(result.losses) == result.num_steps
    first, second = (set(record.rates.values()) for record in found.rates[:2])
    assert first == {0.02} and second == {0.01}
    assert all(r.r_hat < 1.1 and r.ess > 25 and r.mcse < 0.1 for r in found.rates)
    assert found.rates[-1].moved < 0.1 and sum(r.steps for r in found.rates) == result.num_steps
    # Three times the error that is let pass.
    loc, scale = loc_and_scale(svi)
    assert ((loc - MEAN) / SD).abs().max() < 0.3 and (scale / SD).log().abs().max() < 0.3 / 2**0.5
    assert set(svi.optim.get_lr().values()) == {0.02}
    assert "converged: halving the rate" in str(found) and "rate 0.02:" in str(found)


def test_eager_steps_are_watched_alike():
    rule = StoppingRule(every=4, window=200, mcse=5.0, ess=2.0, moved=5.0)
    seen = []
    for compile in (False, True):
        torch.manual_seed(0)
        svi = svi_of(by_hand, Adam({"lr": 0.05}), compile=compile)
        found = svi.run(until="converged", max_steps=500, rule=rule, progress=False).convergence
        seen.append([(r.steps, round(r.r_hat, 2)) for r in found.rates])
        assert ((loc_and_scale(svi)[0] - MEAN) / SD).abs().max() < 5.0
    assert seen[0] == seen[1]


def test_subsamples():
    torch.manual_seed(0)
    svi = svi_of(by_hand)
    result = svi.run(20, until="converged", max_steps=100_000, progress=False)
    assert result.convergence
    loc, scale = loc_and_scale(svi)
    assert ((loc - MEAN) / SD).abs().max() < 0.4 and (scale / SD).log().abs().max() < 0.3


def test_the_same_seed_gives_the_same_run_and_the_next_step_goes_on():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        svi = svi_of(by_hand)
        svi.run(until="converged", max_steps=4000, progress=False)
        states.append(
            svi.get_state()["parameters"] if "parameters" in svi.get_state() else svi.fitted_params()
        )
        svi.run(10, progress=False)
        states[-1] = (svi.fitted_params(), svi.step())
    assert states[0][1] == states[1][1]
    assert all(torch.equal(states[0][0][name], states[1][0][name]) for name in states[0][0])


def test_a_run_that_is_too_short_says_so_and_keeps_what_there_is():
    torch.manual_seed(0)
    svi = svi_of(by_hand, Adam({"lr": 1e-4}))
    found = svi.run(until="converged", max_steps=2000, progress=False).convergence
    assert not found and not found.averaged and found.rates[0].r_hat > 1.1
    assert "R-hat" in found.why and "it is still moving" in found.why
    assert not svi.run(until="converged", max_steps=10, progress=False).convergence


def test_a_callback_ends_it_with_averages():
    torch.manual_seed(0)
    seen = []
    svi = svi_of(by_hand, Adam({"lr": 0.05}))

    def callback(step, loss):
        seen.append(step)
        return step >= 3000

    result = svi.run(
        until="converged",
        rule=StoppingRule(mcse=1e-3),
        callback=callback,
        callback_interval=150,
        progress=False,
    )
    assert seen == list(range(150, 3001, 150)) and result.num_steps == 3000
    assert not result.convergence and result.convergence.averaged
    assert ((loc_and_scale(svi)[0] - MEAN) / SD).abs().max() < 1.0


def test_ctrl_c_returns_what_there_is():
    torch.manual_seed(0)
    svi = svi_of(by_hand, Adam({"lr": 0.05}))

    def callback(step, loss):
        if step >= 4000 and set(svi.optim.get_lr().values()) != {0.05}:
            raise KeyboardInterrupt

    result = svi.run(until="converged", rule=StoppingRule(moved=1e-9), callback=callback, progress=False)
    assert result.interrupted and not result.convergence and result.convergence.averaged
    assert len(result.losses) == result.num_steps >= 4000
    assert set(svi.optim.get_lr().values()) == {0.05}
    assert ((loc_and_scale(svi)[0] - MEAN) / SD).abs().max() < 0.5
    svi.run(5, progress=False)


def test_changes_from_outside_begin_anew():
    torch.manual_seed(0)
    svi = svi_of(by_hand)

    def callback(step, loss):
        if step == 2000:
            for each in svi.optim.optim_objs.values():
                each.param_groups[0]["lr"] = 0.04

    result = svi.run(until="converged", rule=StoppingRule(window=3000), callback=callback, progress=False)
    assert (
        result.convergence
        and result.convergence.rates[0].rates.keys()
        and result.num_steps >= 2000 + 2 * 3000
    )
    assert [set(r.rates.values()) for r in result.convergence.rates[:2]] == [{0.04}, {0.02}]


def test_a_point_guide_stops_where_its_loss_does():
    torch.manual_seed(0)
    guide = AutoDelta(model)
    svi = svi_of(guide)
    found = svi.run(until="converged", progress=False).convergence
    assert found and (found.rates[-1].gain is not None or found.why.startswith("iterates do not change"))
    with svi.store().active():
        assert torch.allclose(guide.median()["b"], MEAN, atol=1e-3)


@pytest.mark.parametrize(
    "optim, why",
    [
        (ClippedAdam({"lr": 0.02, "lrd": 0.999}), "ClippedAdam decays it in every step, lrd=0.999"),
        (PyroOptim(torch.optim.Adagrad, {"lr": 0.02}), "Adagrad divides it"),
        (PyroOptim(torch.optim.ASGD, {"lr": 1e-4}), "ASGD decays it"),
        (PyroOptim(torch.optim.Rprop, {"lr": 0.02}), "Rprop adapts a step size"),
        (ember.optim.AdagradRMSProp({"eta": 0.1}), "AdagradRMSProp has none"),
    ],
)
def test_optimizers_without_a_constant_rate_are_refused(optim, why):
    with pytest.raises(OptimizerError, match=f"(?s){why}.*parameter 'loc'.*way out"):
        svi_of(by_hand, optim).run(until="converged", progress=False)


@pytest.mark.parametrize(
    "optim",
    [
        PyroOptim(torch.optim.AdamW, {"lr": 0.05}),
        PyroOptim(torch.optim.RMSprop, {"lr": 0.02}),
        PyroOptim(torch.optim.SGD, {"lr": 0.001}),
        PyroOptim(torch.optim.Adamax, {"lr": 0.05}),
        ClippedAdam({"lr": 0.05}),
        ExponentialLR({"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.05}, "gamma": 0.99}),
    ],
    ids=["AdamW", "RMSprop", "SGD", "Adamax", "ClippedAdam", "scheduled Adam"],
)
def test_optimizers_with_a_constant_rate_work(optim):
    torch.manual_seed(0)
    svi = svi_of(by_hand, optim)
    rule = StoppingRule(every=4, window=400, mcse=0.5, ess=5.0, moved=0.5)
    found = svi.run(until="converged", rule=rule, max_steps=40_000, progress=False).convergence
    rates = [next(iter(record.rates.values())) for record in found.rates]
    assert found and rates[1] == rates[0] / 2 and set(svi.optim.get_lr().values()) == {rates[0]}
    assert ((loc_and_scale(svi)[0] - MEAN) / SD).abs().max() < 1.5


def test_parameters_of_another_shape_begin_anew():
    torch.manual_seed(0)
    size = [2]

    def growing():
        loc = ember.param("loc", lambda: torch.zeros(size[0]))
        ember.sample("b", dist.Normal(loc[:2], 0.3).to_event(1))

    svi = svi_of(growing)

    def callback(step, loss):
        if step == 400:
            size[0] = 3
            del svi.store()["loc"]

    rule = StoppingRule(every=4, window=400, mcse=2.0, ess=3.0, moved=2.0)
    result = svi.run(until="converged", rule=rule, callback=callback, max_steps=4000, progress=False)
    assert result.convergence and result.num_steps >= 400 + 2 * 400 and len(loc_of(svi)) == 3


def loc_of(svi):
    return svi.fitted_params()["loc"]


def test_numbers_of_the_page():
    """docs/convergence.md."""
    rule = StoppingRule()
    assert (rule.r_hat, rule.mcse, rule.ess, rule.moved, rule.every) == (1.1, 0.1, 25.0, 0.1, 20)
    assert (FRACTIONS[0], FRACTIONS[-1]) == (0.95, 0.2)
    assert steps_and_arguments(NOT_GIVEN, (), None) == (200_000, ())
    assert inspect.signature(SVI.verdict).parameters["draws"].default == 4096


def test_what_does_not_go_together():
    svi = svi_of(by_hand)
    with pytest.raises(ModelError, match='until must be "converged"'):
        svi.run(10, until="stopped")
    with pytest.raises(ModelError, match="belong to until"):
        svi.run(10, max_steps=20)
    with pytest.raises(TypeError, match="run takes the number of steps first"):
        svi.run()
    with pytest.raises(ValueError, match="max_steps must be at least 1"):
        svi.run(until="converged", max_steps=0)
    scheduled = ExponentialLR({"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.02}, "gamma": 0.99})
    with pytest.raises(OptimizerError, match="leave out scheduled"):
        svi_of(by_hand, scheduled).run(until="converged", scheduled=True)
    assert svi_of(by_hand).run(50, until="converged", progress=False).num_steps == 50


def test_rates_go_back_after_an_error():
    svi = svi_of(by_hand)
    torch.manual_seed(0)

    def callback(step, loss):
        if set(svi.optim.get_lr().values()) == {0.01}:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        svi.run(until="converged", callback=callback, progress=False)
    assert set(svi.optim.get_lr().values()) == {0.02}


def test_units_of_a_normal():
    """The Fisher information of a location is 1 / scale^2, of the log of a scale 2."""
    svi = svi_of(by_hand)
    svi.step()
    store = svi.store()
    leaves = [store["loc"].unconstrained(), store["scale"].unconstrained()]
    before = torch.get_rng_state()
    with store.active():
        units = guide_units(by_hand, (), {}, leaves, draws=1000)
    assert torch.equal(before, torch.get_rng_state()) and all(
        leaf.grad is None or not leaf.grad.any() for leaf in leaves
    )
    expected = torch.cat([1 / store["scale"].detach(), torch.full((2,), 2**0.5)])
    assert torch.allclose(units.float(), expected, rtol=0.2)


def test_units_of_parameters_that_are_not_the_guides():
    own = AutoNormal(lambda: ember.sample("z", dist.Normal(ember.param("shift", torch.tensor(0.0)), 1.0)))
    svi = SVI(own.model, own, Adam({"lr": 0.01}), Trace_ELBO(), param_store="own")
    svi.step()
    with svi.store().active():
        shift = svi.store()["shift"].unconstrained()
        assert guide_units(own, (), {}, [shift]).tolist() == [0.0]


def test_batches_of_a_loader_and_of_rows():
    def regression(x, y):
        b = ember.sample("b", dist.Normal(torch.zeros(2), 5.0).to_event(1))
        with ember.plate("rows", len(x)):
            ember.sample("y", dist.Normal((x * b).sum(-1), 0.5), obs=y)

    by_rows, by_loader = ((X, Y), {"batch_size": 20}), ([(X[:20], Y[:20]), (X[20:], Y[20:])], {"size": 40})
    for (data, options), epochs in ((by_rows, 20_000), (by_loader, 120)):
        torch.manual_seed(0)
        svi = SVI(regression, lambda x, y: by_hand(), Adam({"lr": 0.05}), Trace_ELBO(), param_store="own")
        until = UntilConverged(StoppingRule(every=4, window=200, mcse=2.0, ess=3.0, moved=2.0))
        result = svi.fit(data, epochs=epochs, callbacks=[until], progress=False, **options)
        assert (result.stopped == "converged") == bool(until.convergence) and until.convergence.rates
        if data is by_rows[0]:
            assert until.convergence and ((loc_and_scale(svi)[0] - MEAN) / SD).abs().max() < 4.0
        assert set(svi.optim.get_lr().values()) == {0.05}
