"""Values, and classes behind the scenes, that programs read from Pyro's modules."""

from __future__ import annotations

import importlib
import logging
import math
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy import integrate as quadrature

import ember
import ember.distributions as dist
from ember.infer.enumeration.posterior_sample import BackwardSampleMessenger
from ember.pyro import constants


@pytest.mark.parametrize(
    "path, name, value",
    [
        ("pyro.distributions.grouped_normal_normal", "LOG_ROOT_TWO_PI", 0.9189385332046727),
        ("pyro.distributions.sine_bivariate_von_mises", "pi", math.pi),
        ("pyro.distributions.sine_skewed", "pi", math.pi),
        ("pyro.distributions.stable_log_prob", "MAX_LOG", math.log10(sys.float_info.max)),
        ("pyro.distributions.stable_log_prob", "alpha_near_one_tolerance", 0.05),
        ("pyro.ops.ssm_gp", "five_thirds", 5 / 3),
        ("pyro.ops.ssm_gp", "root_three", 3**0.5),
    ],
)
def test_values(alias: None, path: str, name: str, value: float) -> None:
    assert getattr(importlib.import_module(path), name) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("path", ["pyro.infer.elbo", "pyro.distributions.one_one_matching"])
def test_a_logger_is_that_of_its_path(alias: None, path: str) -> None:
    assert importlib.import_module(path).logger is logging.getLogger(path)


def test_what_is_no_value() -> None:
    with pytest.raises(LookupError, match="no value 'wibble'"):
        constants.value_at("pyro.infer", "wibble")
    assert not constants.has("pyro.infer", "logger")


def test_classes_at_their_paths(alias: None) -> None:
    from pyro.distributions.transforms.unit_cholesky import unit_lower_cholesky
    from pyro.infer.autoguide.gaussian import AutoGaussian, AutoGaussianMeta
    from pyro.infer.traceenum_elbo import BackwardSampleMessenger as Backward
    from pyro.poutine.runtime import InferDict

    assert unit_lower_cholesky is dist.constraints.unit_lower_cholesky
    assert type(AutoGaussian) is AutoGaussianMeta
    assert Backward is BackwardSampleMessenger
    assert InferDict(enumerate="parallel") == {"enumerate": "parallel"}


def test_a_backend_of_ones_own() -> None:
    from ember.infer.autoguide.dependent.gaussian import AutoGaussian, AutoGaussianMeta

    class AutoGaussianMine(AutoGaussian):
        pass

    try:
        assert type(AutoGaussian(lambda: None, backend="mine")) is AutoGaussianMine
    finally:
        del AutoGaussianMeta.backends["mine"]


@pytest.mark.parametrize("num_points", [5, 40])
def test_integrals_of_logarithms(num_points: int) -> None:
    from ember.distributions.stable_log_prob import create_integrator

    domain = torch.tensor([[0.0, -1.0, 0.5], [1.0, 2.0, 0.5]], dtype=torch.float64)
    found = create_integrator(num_points)(lambda x: -x.square(), domain).exp()
    known = [quadrature.quad(lambda x: math.exp(-x * x), a, b)[0] for a, b in domain.T.tolist()]
    assert found.tolist() == pytest.approx(known, rel=1e-3 if num_points == 5 else 1e-12, abs=1e-15)


def test_rounded_values_pass_gradients() -> None:
    from ember.distributions.relaxed_straight_through import QuantizeBernoulli, QuantizeCategorical

    for quantize, hard in ((QuantizeBernoulli, [0.0, 1.0, 0.0]), (QuantizeCategorical, [0.0, 1.0, 0.0])):
        soft = torch.tensor([0.2, 0.7, 0.1], requires_grad=True)
        value: Any = quantize.apply(soft)
        assert value.tolist() == hard and value._unquantize is soft
        (value * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
        assert soft.grad is not None and soft.grad.tolist() == [1.0, 2.0, 3.0]


def test_backward_samples_are_of_the_joint_posterior() -> None:
    @ember.infer.config_enumerate
    def model() -> tuple[torch.Tensor, torch.Tensor]:
        x = ember.sample("x", dist.Bernoulli(0.3))
        y = ember.sample("y", dist.Bernoulli(torch.where(x == 1, 0.9, 0.2)))
        ember.sample("z", dist.Bernoulli(0.1 + 0.4 * x + 0.4 * y), obs=torch.tensor(1.0))
        return x, y

    with ember.poutine.enum(first_available_dim=-1):
        trace = ember.poutine.trace(model).get_trace()
    trace.compute_log_prob()
    trace.pack_tensors()
    ember.set_rng_seed(0)
    counts = torch.zeros(2, 2)
    for _ in range(1000):
        with BackwardSampleMessenger(trace, ember.poutine.Trace()):
            x, y = model()
        counts[int(x), int(y)] += 1
    joint = torch.tensor([[0.7 * 0.8 * 0.1, 0.7 * 0.2 * 0.5], [0.3 * 0.1 * 0.5, 0.3 * 0.9 * 0.9]])
    assert torch.allclose(counts / 1000, joint / joint.sum(), atol=0.05)


def test_save_visualization(alias: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyro.util import save_visualization

    drawn: dict[str, Any] = {"edges": []}
    graph = SimpleNamespace(
        node=lambda name, fillcolor, **options: drawn.__setitem__(name, fillcolor),
        edge=lambda source, target: drawn["edges"].append((source, target)),
        render=lambda path, **options: drawn.__setitem__("path", path),
    )
    monkeypatch.setattr("ember.structure.render._digraph", lambda: graph)

    def model() -> None:
        x = ember.sample("x", dist.Normal(0.0, 1.0))
        z = ember.sample("z", dist.Bernoulli(0.5))
        ember.sample("y", dist.Normal(x + z, 1.0), obs=torch.tensor(0.0))

    trace = ember.poutine.trace(model, graph_type="dense").get_trace()
    with pytest.warns(UserWarning, match="deprecated"):
        save_visualization(trace, "out")
    assert drawn["x"] == "lightgrey;.5:salmon" and drawn["z"] == "salmon" and drawn["y"] == "darkolivegreen3"
    assert ("x", "y") in drawn["edges"] and drawn["path"] == "out"


def test_a_surrogate_of_the_compiled_objective() -> None:
    from ember.pyro.jit import JitTrace_ELBO

    loc = torch.tensor(1.0, requires_grad=True)

    def model() -> None:
        ember.sample("x", dist.Normal(0.0, 1.0))

    def guide() -> None:
        ember.sample("x", dist.Normal(loc, 1.0))

    ember.set_rng_seed(0)
    objective = JitTrace_ELBO(num_particles=20_000, vectorize_particles=True)
    loss, surrogate = objective.loss_and_surrogate_loss(model, guide)
    surrogate.backward()
    assert loss.item() == pytest.approx(0.5, abs=0.03)  # the divergence, 0.5 loc^2
    assert loc.grad is not None and loc.grad.item() == pytest.approx(1.0, abs=0.03)
