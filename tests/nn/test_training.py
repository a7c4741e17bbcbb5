"""Modules in SVI: eager and compiled, in the store and out of it; Bayesian networks."""

from __future__ import annotations

import copy
import math
import os

import pytest
import torch
from torch import nn

import ember
import ember.distributions as dist
from ember import poutine
from ember.distributions import constraints
from ember.errors import CaptureError
from ember.infer import SVI, Predictive, Trace_ELBO
from ember.nn import PyroModule, PyroParam, PyroSample
from ember.nn.module import to_pyro_module_
from ember.optim import SGD, Adam, ClippedAdam


class Model(PyroModule):
    """A linear layer with a prior, a plain layer, and a constrained parameter."""

    def __init__(self):
        super().__init__()
        self.linear = PyroModule[nn.Linear](2, 1)
        self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))
        self.plain = nn.Linear(1, 1)
        self.sd = PyroParam(torch.tensor(1.0), constraints.positive)

    def forward(self, x, y=None):
        mean = self.plain(self.linear(x)).squeeze(-1)
        with ember.plate("data", len(x)):
            return ember.sample("y", dist.Normal(mean, self.sd), obs=y)


class Guide(PyroModule):
    def __init__(self):
        super().__init__("guide")
        self.loc = PyroParam(torch.zeros(1, 2), event_dim=2)
        self.shift = nn.Parameter(torch.zeros(1, 2))

    @PyroParam(constraint=constraints.positive)
    def scale(self):
        return torch.full((1, 2), 0.1)

    def forward(self, x, y=None):
        ember.sample("linear.weight", dist.Normal(self.loc + self.shift, self.scale).to_event(2))


@pytest.fixture
def data():
    x = torch.randn(20, 2)
    return x, x @ torch.tensor([1.0, -2.0]) + 0.1 * torch.randn(20)


def fit(data, steps=6, compile=False):
    torch.manual_seed(0)
    model, guide = Model(), Guide()
    svi = SVI(model, guide, Adam({"lr": 0.01}), Trace_ELBO(), compile=compile)
    losses = [svi.step(*data) for _ in range(steps)]
    values = {name: p.detach().clone() for part in (model, guide) for name, p in part.named_parameters()}
    return losses, values, svi


def test_local_and_global_parameters_are_trained_alike(data):
    losses, values, _ = fit(data)
    assert len(ember.get_param_store()) == 7
    ember.clear_param_store()
    with ember.settings.context(module_local_params=True):
        local_losses, local_values, _ = fit(data)
    assert len(ember.get_param_store()) == 0
    assert losses == local_losses
    assert all(torch.equal(values[name], local_values[name]) for name in values)


@pytest.mark.parametrize("local", [False, True])
def test_compiled_steps_train_modules(data, local):
    with ember.settings.context(module_local_params=local):
        losses, values, _ = fit(data)
        ember.clear_param_store()
        compiled_losses, compiled_values, svi = fit(data, compile=True)
    assert svi.capture_report.eager_calls < 6
    assert compiled_losses == pytest.approx(losses, rel=1e-4)
    assert values.keys() == compiled_values.keys()
    for name, value in values.items():
        assert torch.allclose(value, compiled_values[name], atol=1e-4), name
    assert len(ember.get_param_store()) == (0 if local else 7)


def test_a_parameter_frozen_between_compiled_steps_stays(data):
    torch.manual_seed(0)
    model, guide = Model(), Guide()
    svi = SVI(model, guide, Adam({"lr": 0.01}), Trace_ELBO(), compile=True)
    for _ in range(4):
        svi.step(*data)
    bias = model.linear.bias
    bias.requires_grad_(False)
    before = bias.clone()
    for _ in range(4):
        svi.step(*data)
    assert torch.equal(bias, before)
    bias.requires_grad_(True)
    for _ in range(4):
        svi.step(*data)
    assert not torch.equal(bias, before)


@pytest.mark.parametrize("compile", [False, True])
def test_assignments_and_modes_between_steps(data, compile):
    """What is assigned to a parameter, and a change from training to evaluation, is seen by compiled steps."""

    class WithDropout(Model):
        def __init__(self):
            super().__init__()
            self.drop = PyroModule[nn.Dropout](0.9)

        def forward(self, x, y=None):
            return super().forward(self.drop(x), y)

    torch.manual_seed(0)
    model = WithDropout()
    svi = SVI(model, Guide(), SGD({"lr": 0.0}), Trace_ELBO(), compile=compile)
    for _ in range(4):
        svi.step(*data)
    model.sd = torch.tensor(3.0)
    model.plain.load_state_dict({"weight": torch.zeros(1, 1), "bias": torch.zeros(1)})
    leaf = model.sd_unconstrained
    # With a weight of zero the mean is zero, dropout or not, and with it the likelihood.
    expected = -dist.Normal(0.0, 3.0).log_prob(data[1]).sum()
    kl = 0.5 * (0.01 - 1 - math.log(0.01)) * 2
    losses = [svi.step(*data) for _ in range(20)]
    assert abs(sum(losses) / 20 - expected - kl) < 5 * math.sqrt(2 * 0.5 / 20)
    assert model.sd_unconstrained is leaf
    model.plain.weight.data.fill_(100.0)
    noisy = {round(svi.step(*data), 2) for _ in range(3)}
    model.eval()
    for _ in range(3):
        svi.step(*data)
    torch.manual_seed(1)
    first = svi.step(*data)
    torch.manual_seed(1)
    model.train()
    assert svi.step(*data) != pytest.approx(first) and len(noisy) == 3


def test_parameters_that_move_are_captured_anew(data):
    torch.manual_seed(0)
    model = Model()
    svi = SVI(model, Guide(), Adam({"lr": 0.01}), Trace_ELBO(), compile=True)
    for _ in range(4):
        svi.step(*data)
    bias = model.linear.bias
    bias.data = torch.tensor([50.0])
    for _ in range(4):
        svi.step(*data)
    assert 49.9 < model.linear.bias.item() < 50.1 and model.linear.bias is bias
    assert bias.item() != 50.0


def test_frozen_from_the_start(data):
    model, guide = Model(), Guide()
    model.linear.bias.requires_grad_(False)
    before = model.linear.bias.clone()
    svi = SVI(model, guide, Adam({"lr": 0.01}), Trace_ELBO())
    for _ in range(3):
        svi.step(*data)
    assert torch.equal(model.linear.bias, before) and not model.linear.bias.requires_grad
    assert "linear.bias" not in ember.get_param_store()


def test_names_for_optimizers_are_the_same_before_and_after_conversion():
    seen = []

    def options(name):
        seen.append(name)
        return {"lr": 0.01}

    for convert in (False, True):
        ember.clear_param_store()
        net = nn.Sequential(nn.Linear(2, 1), nn.Tanh())
        root = PyroModule()
        if convert:
            to_pyro_module_(net)
        root.net = net
        root.forward = lambda x, root=root: ember.sample(
            "y", dist.Normal(root.net(x), 1.0).to_event(1), obs=x[:1]
        )
        SVI(root, lambda x: None, Adam(options), Trace_ELBO()).step(torch.ones(2))
    assert seen[:2] == seen[2:] == ["net.0.weight", "net.0.bias"]


class TestModuleLocal:
    @pytest.fixture(autouse=True)
    def _local(self):
        with ember.settings.context(module_local_params=True):
            yield

    def test_torch_optimizers_train_an_elbo_module(self, data):
        model, guide = Model(), Guide()
        elbo = Trace_ELBO()(model, guide)
        losses = []
        elbo(*data)  # makes the lazy parameter
        optimizer = torch.optim.Adam(elbo.parameters(), lr=0.02)
        for _ in range(300):
            optimizer.zero_grad()
            loss = elbo(*data)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert sum(losses[-20:]) / 20 < losses[0] / 2
        assert {name for name, _ in elbo.named_parameters()} == {
            *("model.linear.bias", "model.plain.weight", "model.plain.bias", "model.sd_unconstrained"),
            *("guide.loc_unconstrained", "guide.shift", "guide.scale_unconstrained"),
        }
        assert len(ember.get_param_store()) == 0

    def test_handlers_see_the_parameters(self):
        model = Model()
        trace = poutine.trace(model).get_trace(torch.ones(3, 2))
        names = {name for name, site in trace.nodes.items() if site["type"] == "param"}
        assert names == {"linear.bias", "plain$$$weight", "plain$$$bias", "sd"}
        assert trace.nodes["sd"]["value"].unconstrained() is model.sd_unconstrained
        fixed = poutine.substitute(model, data={"sd": torch.tensor(1e-6), "linear.bias": torch.zeros(1)})
        x = torch.zeros(1, 2)
        assert fixed(x).item() == pytest.approx(model.plain.bias.item(), abs=1e-4)

    def test_functional_call_and_transforms(self):
        class Net(PyroModule):
            def __init__(self):
                super().__init__()
                self.linear = PyroModule[nn.Linear](2, 1)
                self.scale = PyroParam(torch.tensor(2.0), constraints.positive)

            def forward(self, x):
                return self.linear(x) * self.scale

        net, x = Net(), torch.randn(4, 2)
        parameters = dict(net.named_parameters())

        def total(values):
            return torch.func.functional_call(net, values, (x,)).sum()

        grads = torch.func.grad(total)(parameters)
        net(x).sum().backward()
        assert all(torch.allclose(grads[name], p.grad) for name, p in parameters.items())
        doubled = {name: p.detach() * 2 for name, p in parameters.items()}
        other = copy.deepcopy(net)
        other.load_state_dict(doubled)
        assert torch.allclose(total(doubled), other(x).sum())
        assert all(p is parameters[name] for name, p in net.named_parameters())
        stacked = {name: torch.stack([p.detach(), p.detach() * 2]) for name, p in parameters.items()}
        assert torch.allclose(
            torch.func.vmap(total)(stacked), torch.stack([total(parameters), total(doubled)])
        )

    def test_parameters_that_no_module_has_are_refused(self):
        class Bad(PyroModule):
            def forward(self):
                return ember.param("global", torch.tensor(1.0))

        with pytest.raises(NotImplementedError, match=r"Support for global pyro.param statements.*global"):
            Bad()()

    def test_own_module_statements_are_allowed(self):
        class Fine(PyroModule):
            def __init__(self):
                super().__init__()
                self.net = nn.Linear(1, 1)

            def forward(self, x):
                return ember.module("net", self.net)(x)

        assert Fine()(torch.ones(1)).shape == (1,)
        assert len(ember.get_param_store()) == 0


def test_setting_is_validated():
    with pytest.raises(AssertionError, match="module_local_params must be a bool"):
        ember.settings.set(module_local_params=1)


def exact_posterior(x, y, prior_sd, noise_sd):
    precision = x.T @ x / noise_sd**2 + torch.eye(x.shape[1]) / prior_sd**2
    return torch.linalg.solve(precision, x.T @ y / noise_sd**2), precision.inverse()


@pytest.mark.parametrize("converted", [False, True])
def test_bayesian_layer_finds_the_posterior(float64, converted):
    """Linear regression by a layer with a prior; a guide of full covariance is exact."""
    torch.manual_seed(3)
    x = torch.randn(40, 2)
    y = x @ torch.tensor([0.7, -1.2]) + 0.5 * torch.randn(40)
    prior = PyroSample(dist.Normal(0.0, 2.0).expand([1, 2]).to_event(2))
    if converted:
        net = nn.Sequential(nn.Linear(2, 1, bias=False))
        to_pyro_module_(net)
        for part in net.modules():
            for name, value in list(part.named_parameters(recurse=False)):
                setattr(
                    part, name, PyroSample(dist.Normal(0.0, 2.0).expand(value.shape).to_event(value.dim()))
                )
    else:
        net = PyroModule[nn.Sequential](PyroModule[nn.Linear](2, 1, bias=False))
        net[0].weight = prior

    class Regression(PyroModule):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x, y=None):
            mean = self.net(x).squeeze(-1)
            with ember.plate("data", len(x)):
                return ember.sample("y", dist.Normal(mean, 0.5), obs=y)

    model = Regression()
    assert list(poutine.trace(model).get_trace(x, y).stochastic_nodes) == ["net.0.weight", "data"]
    mean, covariance = exact_posterior(x, y, 2.0, 0.5)

    class Exact(PyroModule):
        def __init__(self):
            super().__init__()
            self.loc = PyroParam(torch.zeros(2))
            self.tril = PyroParam(0.1 * torch.eye(2), constraints.lower_cholesky)

        def forward(self, x, y=None):
            draw = ember.sample(
                "flat", dist.MultivariateNormal(self.loc, scale_tril=self.tril), infer={"is_auxiliary": True}
            )
            ember.sample("net.0.weight", dist.Delta(draw.unsqueeze(0), event_dim=2))

    guide = Exact()
    svi = SVI(model, guide, ClippedAdam({"lr": 0.05, "lrd": 0.98}), Trace_ELBO())
    for _ in range(350):
        svi.step(x, y)
    assert torch.allclose(guide.loc, mean, atol=0.05)
    tril = guide.tril.detach()
    assert torch.allclose(tril @ tril.T, covariance, atol=0.01)

    torch.manual_seed(0)
    num_samples = 500
    drawn = Predictive(model, guide=guide, num_samples=num_samples, return_sites=["y", "net.0.weight"])(x)
    assert drawn["y"].shape == (num_samples, 40)
    sd = (x @ covariance @ x.T).diagonal().add(0.25).sqrt()
    error = (drawn["y"].mean(0) - x @ guide.loc.detach()).abs() / sd * num_samples**0.5
    assert error.max() < 5


def test_bayesian_gru_in_a_guide_and_model():
    class Reader(PyroModule):
        def __init__(self):
            super().__init__()
            self.gru = PyroModule[nn.GRU](input_size=2, hidden_size=3)
            for name, value in list(self.gru.named_parameters()):
                setattr(
                    self.gru,
                    name,
                    PyroSample(dist.Normal(0.0, 1.0).expand(value.shape).to_event(value.dim())),
                )
            self.read = PyroModule[nn.Linear](3, 1)

        def forward(self, sequences, y):
            hidden = self.gru(sequences)[1]
            with ember.plate("data", sequences.size(1)):
                ember.sample("y", dist.Normal(self.read(hidden[0]).squeeze(-1), 1.0), obs=y)

    class MAP(PyroModule):
        def __init__(self, model):
            super().__init__("map")
            for name, value in nn.GRU(2, 3).named_parameters():
                setattr(self, name, PyroParam(0.1 * torch.randn(value.shape)))
            self.names = [name for name, _ in self.named_pyro_params()]

        def forward(self, sequences, y):
            for name in self.names:
                value = getattr(self, name)
                ember.sample(f"gru.{name}", dist.Delta(value, event_dim=value.dim()))

    sequences, y = torch.randn(5, 8, 2), torch.randn(8)
    model = Reader()
    guide = MAP(model)
    assert set(poutine.trace(model).get_trace(sequences, y).stochastic_nodes) == {
        f"gru.{n}" for n in guide.names
    } | {"data"}
    svi = SVI(model, guide, Adam({"lr": 0.05}), Trace_ELBO())
    losses = [svi.step(sequences, y) for _ in range(60)]
    assert losses[-1] < losses[0] - 1
    assert "read.weight" in ember.get_param_store()


def test_captured_step_refuses_parameters_that_come_and_go(data, monkeypatch):
    class Changing(PyroModule):
        def forward(self, x, y=None):
            # What the system is asked for is not among the facts that are watched.
            if os.getenv("EMBER_TEST_EXTRA"):
                self.extra = PyroParam(torch.tensor(0.0))
            with ember.plate("data", len(x)):
                ember.sample("y", dist.Normal(0.0, 1.0), obs=y)

    svi = SVI(Changing(), lambda *args: None, Adam({"lr": 0.01}), Trace_ELBO(), compile=True)
    svi.step(*data)
    monkeypatch.setenv("EMBER_TEST_EXTRA", "1")
    with pytest.raises(CaptureError, match="touches the parameters"):
        svi.step(*data)
