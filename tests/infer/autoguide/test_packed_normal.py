"""AutoNormal over many sites: one draw of noise, operators in number of families, and the same mathematics as site by site."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import ember
import ember.distributions as dist
from ember.capture import Interpreter
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoDiagonalNormal, AutoNormal
from ember.optim import Adam
from ember.poutine import condition, replay, trace

pytestmark = pytest.mark.usefixtures("float64")


def scalars(n):
    def model():
        for i in range(n):
            prior = dist.Normal(0.0, 1.0) if i % 2 else dist.HalfNormal(1.0)
            ember.sample(f"x{i}", prior)

    return model


class Count(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def operators(guide):
    with torch.no_grad(), Count() as count:
        recorded = trace(guide).get_trace()
        recorded.compute_score_parts()
    checks = (
        "aten.detach.default",
        "aten._local_scalar_dense.default",
    )  # of the trace, for values that are not finite
    return [name for name in count.names if name not in checks]


@pytest.mark.parametrize("make", [AutoNormal, AutoDiagonalNormal])
def test_noise_is_drawn_at_once(make):
    names = operators(make(scalars(20)).prepare())
    families = 2 if make is AutoNormal else 1
    assert sum("normal" in name for name in names) == families


def test_operators_grow_by_one_a_site():
    """The softplus of each scale, which is the value of its parameter; and a draw for every fifteen sites."""
    few, many = (len(operators(AutoNormal(scalars(n)).prepare())) for n in (20, 120))
    assert 100 <= many - few <= 100 + 3 * 7


def test_recorded_operators_per_site():
    """Guide, model and log densities together; the update of the optimizer, and what validation asks, come on top."""
    nodes = []
    for n in (10, 60):
        ember.clear_param_store()
        model = scalars(n)
        svi = SVI(model, AutoNormal(model), Adam({"lr": 0.01}), Trace_ELBO(), compile=True)
        svi.programs.backend = Interpreter()
        with ember.validation_enabled(False):
            for _ in range(2):
                svi.step()
            for _ in range(2):
                svi.evaluate_loss()
        nodes.append(svi.capture_report.captures[-1].num_nodes)
    assert (nodes[1] - nodes[0]) / 50 <= 14


def test_a_thousand_sites():
    model = scalars(1000)
    svi = SVI(model, AutoNormal(model), Adam({"lr": 0.01}), Trace_ELBO())
    losses = [svi.step() for _ in range(3)]
    assert torch.tensor(losses).isfinite().all()


def test_log_densities_are_those_of_single_sites():
    guide = AutoNormal(scalars(6), init_scale=0.3).prepare()
    recorded = trace(guide).get_trace()
    recorded.compute_score_parts()
    for i in range(6):
        loc, scale = guide._get_loc_and_scale(f"x{i}")
        z = recorded.nodes[f"x{i}_unconstrained"]["value"]
        expected = torch.distributions.Normal(loc, scale).log_prob(z)
        torch.testing.assert_close(recorded.nodes[f"x{i}_unconstrained"]["log_prob"], expected)
        value = recorded.nodes[f"x{i}"]["value"]
        torch.testing.assert_close(value, z if i % 2 else z.exp())
        torch.testing.assert_close(recorded.nodes[f"x{i}"]["log_prob"], torch.zeros(()) if i % 2 else -z)


def test_gradients_are_those_of_single_sites():
    model = scalars(4)
    guide = AutoNormal(model).prepare()
    ember.set_rng_seed(1)
    Trace_ELBO().loss_and_grads(model, guide)
    for i in range(4):
        loc, scale = guide._get_loc_and_scale(f"x{i}")
        # E[d elbo] at this draw, by hand: elbo = log p(x(z)) + log|dx/dz| + log scale + const.
        leaf = dict(guide.named_parameters())
        grad = leaf[f"locs.x{i}_unconstrained"].grad
        ember.set_rng_seed(1)
        z = trace(guide).get_trace().nodes[f"x{i}_unconstrained"]["value"].detach()
        slope = z if i % 2 else (2 * z).exp() - 1  # of -log p(x(z)) - log|dx/dz|
        torch.testing.assert_close(grad, slope)
        by_scale = slope * (z - loc) / scale - 1 / scale
        raw = leaf[f"scales.x{i}_unconstrained"]
        torch.testing.assert_close(raw.grad, by_scale * raw.sigmoid())


def test_values_from_elsewhere_are_evaluated_anew():
    guide = AutoNormal(scalars(4), init_scale=0.5).prepare()
    value = torch.tensor(0.7)
    recorded = trace(condition(guide, data={"x1_unconstrained": value})).get_trace()
    loc, scale = guide._get_loc_and_scale("x1")
    recorded.compute_log_prob()
    expected = torch.distributions.Normal(loc, scale).log_prob(value)
    torch.testing.assert_close(recorded.nodes["x1_unconstrained"]["log_prob"], expected)
    assert recorded.nodes["x1"]["value"] == value


def test_a_replayed_run_finds_the_same_points():
    guide = AutoNormal(scalars(30)).prepare()
    first = trace(guide).get_trace()
    second = trace(replay(guide, trace=first)).get_trace()
    for i in range(30):
        assert torch.equal(first.nodes[f"x{i}"]["value"], second.nodes[f"x{i}"]["value"])
    torch.testing.assert_close(first.log_prob_sum(), second.log_prob_sum())


def test_a_distribution_draws_afresh_after_the_first_time():
    guide = AutoNormal(scalars(4)).prepare()
    fn = trace(guide).get_trace().nodes["x1_unconstrained"]["fn"]
    assert fn.rsample() != fn.rsample()
    assert fn.rsample((3,)).shape == (3,)


def test_a_subclass_may_give_other_parameters():
    class Wide(AutoNormal):
        def _get_loc_and_scale(self, name):
            loc, scale = super()._get_loc_and_scale(name)
            return loc + 100.0, scale * 0 + 1e-6

    values = Wide(scalars(4))()
    assert values["x1"].item() == pytest.approx(100.0, abs=1e-3)


def test_substituted_parameters_count():
    guide = AutoNormal(scalars(4)).prepare()
    tiny = {f"AutoNormal.scales.x{i}": torch.tensor(1e-9) for i in range(4)}
    with ember.poutine.substitute(data=tiny):
        values = guide()
    assert values["x1"].abs() < 1e-6


def test_improper_parameters_name_their_site():
    guide = AutoNormal(scalars(4)).prepare()
    guide.scales.x2 = torch.tensor(float("nan"))
    with pytest.raises(ValueError, match="scale") as info:
        trace(guide).get_trace()
    assert "x2" in str(info.value) or "x0_unconstrained" in str(info.value)


def test_scales_and_masks_of_single_sites():
    def model():
        with ember.poutine.scale(scale=3.0):
            ember.sample("a", dist.Normal(0.0, 1.0))
        with ember.poutine.mask(mask=torch.tensor(False)):
            ember.sample("b", dist.Normal(0.0, 1.0))
        with ember.plate("p", 3):
            ember.sample("c", dist.Normal(0.0, 1.0))
            ember.sample("d", dist.Normal(0.0, 1.0))

    guide = AutoNormal(model)
    elbo = Trace_ELBO(num_particles=5, vectorize_particles=True, max_plate_nesting=1)
    assert torch.tensor(elbo.loss(model, guide)).isfinite()
    recorded = trace(ember.poutine.mask(guide, mask=torch.tensor(False))).get_trace()
    assert float(recorded.log_prob_sum().detach()) == 0.0
