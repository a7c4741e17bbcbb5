"""Automatic guides at the paths where Pyro has them, and a program that uses them."""

from __future__ import annotations

import importlib

import pytest

import ember

PATHS = {
    "pyro.infer.autoguide.guides": "AutoNormal AutoDelta AutoGuide AutoGuideList AutoIAFNormal prototype_hide_fn",
    "pyro.infer.autoguide.effect": "AutoMessenger AutoMessengerMeta AutoNormalMessenger AutoRegressiveMessenger",
    "pyro.infer.autoguide.gaussian": "AutoGaussian AutoGaussianDense AutoGaussianFunsor",
    "pyro.infer.autoguide.initialization": "InitMessenger init_to_mean init_to_generated",
    "pyro.infer.autoguide.structured": "AutoStructured",
    "pyro.infer.autoguide.utils": "deep_setattr helpful_support_errors mean_field_entropy _product",
    "pyro.contrib.autoguide": "AutoNormal init_to_median",
    "pyro.contrib.easyguide": "EasyGuide easy_guide",
    "pyro.contrib.easyguide.easyguide": "EasyGuide Group easy_guide",
    "pyro.contrib.zuko": "ZukoToPyro",
    "pyro.poutine.guide": "GuideMessenger",
}


@pytest.mark.parametrize("path", PATHS)
def test_paths(alias: None, path: str) -> None:
    module = importlib.import_module(path)
    for name in PATHS[path].split():
        value = getattr(module, name)
        public = getattr(ember.infer.autoguide, name, value)
        assert value is public


PROGRAM = """
import pyro, pyro.distributions as dist, torch
pyro.set_rng_seed(0)
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
def model(data):
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(data)):
        pyro.sample("x", dist.Normal(loc, 1.0), obs=data)
guide = AutoNormal(model)
svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
for _ in range(300):
    svi.step(torch.full((9,), 2.0))
print(*sorted(pyro.get_param_store()), guide.median()["loc"].item())
"""


def test_a_program(run_python, tmp_path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    *names, median = run_python("-m", "ember.pyro", "program.py").stdout.split()
    assert names == ["AutoNormal.locs.loc", "AutoNormal.scales.loc"]
    # The posterior mean; Adam's last steps move about it.
    assert float(median) == pytest.approx(1.8, abs=0.3)
