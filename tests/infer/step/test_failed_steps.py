"""A step of SVI that fails is as if it had not been asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import ember
from ember import distributions as dist
from ember.capture.choice import BackendName
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.optim import Adam

Model = Callable[[Tensor], None]


def labels(c: Tensor) -> None:
    weights = ember.sample("weights", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with ember.plate("rows", len(c)):
        ember.sample("obs", dist.Categorical(logits=weights, validate_args=False), obs=c)


def groups(c: Tensor) -> None:
    with ember.plate("groups", 3):
        means = ember.sample("means", dist.Normal(0.0, 1.0))
    with ember.plate("rows", len(c)):
        ember.sample("obs", dist.Normal(means.index_select(0, c), 1.0), obs=torch.ones(len(c)))


def shares(c: Tensor) -> None:
    z = ember.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
    with ember.plate("rows", len(c)):
        ember.sample("obs", dist.Normal(z.sum(), 1.0), obs=(6 // (c + 1)).to(torch.get_default_dtype()))


GOOD, BAD = torch.tensor([0, 2, 1, 1]), torch.tensor([0, -1, 1, 2])


def fitted(model: Model, backend: BackendName) -> SVI:
    ember.clear_param_store()
    ember.set_rng_seed(0)
    svi = SVI(model, AutoNormal(model), Adam({"lr": 0.05}), Trace_ELBO(), compile=True, backend=backend)
    for _ in range(4):
        svi.step(GOOD)
    return svi


CASES: list[tuple[Model, BackendName]] = [
    *((model, backend) for model in (labels, groups, shares) for backend in ("native", "interpreter")),
    (groups, "inductor"),
]


@pytest.mark.parametrize("in_a_run", [False, True])
@pytest.mark.parametrize(("model", "backend"), CASES)
def test_a_failed_step_has_changed_nothing(model: Model, backend: BackendName, in_a_run: bool) -> None:
    svi = fitted(model, backend)
    expected = [svi.step(GOOD) for _ in range(3)]
    params = {name: value.detach().clone() for name, value in ember.get_param_store().items()}
    svi = fitted(model, backend)
    for _ in range(2):
        with pytest.raises((IndexError, RuntimeError)) as info:
            svi.run(3, BAD, progress=False) if in_a_run else svi.step(BAD)
        assert "the operator" in info.value.__notes__[0]
    assert [svi.step(GOOD) for _ in range(3)] == expected
    for name, value in ember.get_param_store().items():
        assert torch.equal(value, params[name])
