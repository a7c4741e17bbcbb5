"""Generated C names sites in comments: no name of a site may be taken for code."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO


@pytest.mark.parametrize("name", ["x4000", "x1", "a*/b", "a/*b", "a\nb", "A", "P"])
def test_any_name_of_a_site_will_do(name: str) -> None:
    def model() -> None:
        z = ember.sample(name, dist.Normal(0.0, 1.0))
        ember.sample("data", dist.Normal(z, 1.0), obs=torch.tensor(2.0))

    def guide() -> None:
        ember.sample(name, dist.Normal(ember.param("loc", torch.tensor(0.0)), 0.5))

    def losses(compile: bool) -> list[float]:
        store = ember.params.ParamStoreDict()
        torch.manual_seed(0)
        adam = ember.optim.Adam({"lr": 0.1})
        svi = SVI(model, guide, adam, Trace_ELBO(), compile=compile, backend="native", param_store=store)
        return [svi.step() for _ in range(4)]

    assert losses(True) == pytest.approx(losses(False), rel=1e-5)
