"""Sites that depend on each other."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoGaussian, AutoStructured
from ember.optim import Adam
from ember.poutine import trace

pytestmark = pytest.mark.usefixtures("float64")


def chain():
    a = ember.sample("a", dist.Normal(0.0, 1.0))
    b = ember.sample("b", dist.Normal(torch.stack([a, -a], -1), 1.0).to_event(1))
    ember.sample("y", dist.Normal(b, 0.5).to_event(1), obs=torch.tensor([1.0, 2.0]))


def test_dependencies_shift_by_upstream_noise():
    guide = AutoStructured(
        chain, conditionals={"a": "normal", "b": "delta"}, dependencies={"b": {"a": "linear"}}
    ).prepare()
    guide.deps.b.a.weight.data.copy_(torch.tensor([[2.0], [-3.0]]))
    guide.locs.a = torch.tensor([0.7])
    values = guide()
    shift = values["a"] - 0.7
    torch.testing.assert_close(values["b"], guide.locs.b + torch.stack([2 * shift, -3 * shift]))


def test_the_density_is_that_of_the_joint_normal():
    guide = AutoStructured(chain, conditionals="mvn", dependencies={"b": {"a": "linear"}}).prepare()
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    recorded = trace(guide).get_trace()
    a, b = (recorded.nodes[name]["value"] for name in "ab")
    weight = guide.deps.b.a.weight
    sd_a = guide.scales.a * guide.scale_trils.a[0]
    factor = guide.scales.b[:, None] * guide.scale_trils.b
    top = torch.cat([sd_a[:, None], torch.zeros(1, 2)], 1)
    tril = torch.cat([top, torch.cat([weight * sd_a, factor], 1)], 0)
    joint = torch.distributions.MultivariateNormal(torch.cat([guide.locs.a, guide.locs.b]), scale_tril=tril)
    expected = joint.log_prob(torch.cat([a.reshape(1), b]))
    torch.testing.assert_close(recorded.log_prob_sum(), expected)


def test_functions_as_conditionals_and_dependencies():
    def noise():
        scale = ember.param("a_scale", torch.tensor(0.1))
        return ember.sample("a_aux", dist.Normal(torch.zeros(1), scale).to_event(1))

    guide = AutoStructured(
        chain,
        conditionals={"a": noise, "b": "normal"},
        dependencies={"b": {"a": lambda x: torch.cat([x, x**2], -1)}},
    )
    svi = SVI(chain, guide, Adam({"lr": 0.01}), Trace_ELBO())
    assert torch.tensor([svi.step() for _ in range(3)]).isfinite().all()
    assert trace(guide).get_trace().nodes["a_aux"]["infer"]["is_auxiliary"]


def test_what_is_upstream_comes_first():
    guide = AutoStructured(
        chain, conditionals={"a": "normal", "b": "normal"}, dependencies={"a": {"b": "linear"}}
    ).prepare()
    assert [name for name, _ in guide._sorted_sites] == ["b", "a"]


def test_median_and_deltas():
    guide = AutoStructured(chain, conditionals="normal", dependencies={}).prepare()
    assert guide.median()["b"].shape == (2,) and not guide.median()["b"].requires_grad
    deltas = guide.get_deltas()
    assert set(deltas) == {"a", "b"} and deltas["b"].event_shape == (2,)
    assert set(guide.get_deltas(save_params=["a"])) == {"a"}


def test_bad_input():
    with pytest.raises(ValueError, match=r"Unsupported conditional type: gamma.*'a'"):
        AutoStructured(chain, conditionals="gamma", dependencies={})()
    with pytest.raises(ValueError, match="no conditional for site 'b'"):
        AutoStructured(chain, conditionals={"a": "normal"}, dependencies={})()
    kinds = {"a": "normal", "b": "normal"}
    with pytest.raises(ValueError, match="'linear' or a callable, but got cubic"):
        AutoStructured(chain, conditionals=kinds, dependencies={"b": {"a": "cubic"}})()
    with pytest.raises(AssertionError, match="cyclic dependency"):
        both = {"b": {"a": "linear"}, "a": {"b": "linear"}}
        AutoStructured(chain, conditionals=kinds, dependencies=both)()
    with pytest.raises(AssertionError, match="depends on itself"):
        AutoStructured(chain, conditionals=kinds, dependencies={"b": {"b": "linear"}})
    with pytest.raises(AssertionError, match="no conditional for 'c'"):
        AutoStructured(chain, conditionals=kinds, dependencies={"c": {"b": "linear"}})


def test_dependencies_are_found():
    guide = AutoStructured(chain).prepare()
    assert {name: list(ups) for name, ups in guide.dependencies.items() if ups} == {"b": ["a"]}
    assert guide.deps.b.a.weight.shape == (2, 1)


def test_the_funsor_backend_says_what_to_use():
    with pytest.raises(NotImplementedError, match="dense"):
        AutoGaussian(chain, backend="funsor")
    assert type(AutoGaussian(chain, backend="dense")).__name__ == "AutoGaussianDense"


def test_gaussian_precision_has_the_models_zeros():
    def model():
        x = ember.sample("x", dist.Normal(0.0, 1.0))
        inner = ember.plate("inner", 3, dim=-1)
        with ember.plate("outer", 2, dim=-2):
            y = ember.sample("y", dist.Normal(x, 1.0))
            with inner:
                z = ember.sample("z", dist.Normal(y, 1.0))
        ember.sample("total", dist.Normal(y.sum((-1, -2)), 1.0), obs=torch.tensor(0.0))
        with inner:
            ember.sample("column", dist.Normal(z.sum(-2), 1.0), obs=torch.zeros(3))

    precision = AutoGaussian(model).prepare().get_posterior().precision_matrix.abs() > 1e-9
    y, z = torch.arange(1, 3), torch.arange(3, 9).reshape(2, 3)
    expected = torch.eye(9, dtype=torch.bool)
    expected[0, y] = expected[y, 0] = True
    expected[y[0], y[1]] = expected[y[1], y[0]] = True  # by their total
    for i in range(2):
        expected[y[i], z[i]] = expected[z[i], y[i]] = True
    for j in range(3):
        expected[z[0, j], z[1, j]] = expected[z[1, j], z[0, j]] = True  # by the sum of their column
    assert torch.equal(precision, expected)
