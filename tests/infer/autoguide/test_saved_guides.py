"""A guide in a file of its own gives what it gave, where neither its model nor its store is there."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import ember
import ember.distributions as dist
from ember.errors import ModelError, SaveFileError
from ember.infer import SVI, Predictive, Trace_ELBO, autoguide
from ember.infer.autoguide import load_guide, save_guide

KINDS = {
    "AutoDelta": {},
    "AutoNormal": {},
    "AutoDiagonalNormal": {},
    "AutoMultivariateNormal": {},
    "AutoLowRankMultivariateNormal": {"rank": 2},
}


def model(x: torch.Tensor) -> None:
    loc = ember.sample("loc", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with ember.plate("groups", 3, dim=-2):
        scale = ember.sample("scale", dist.LogNormal(0.0, 1.0))
        weights = ember.sample("weights", dist.Dirichlet(torch.ones(2)))
        with ember.plate("rows", x.shape[-1], dim=-1):
            ember.sample("x", dist.Normal((weights * loc).sum(-1), scale), obs=x)


@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_what_it_gave(kind, tmp_path):
    ember.set_rng_seed(0)
    x = torch.randn(3, 5)
    guide = getattr(autoguide, kind)(model, **KINDS[kind])
    SVI(model, guide, ember.optim.Adam({"lr": 0.05}), Trace_ELBO()).run(20, x, progress=False)
    guide.save(tmp_path / "guide.pt")

    def draws(guide, *args):
        ember.set_rng_seed(3)
        values = guide(*args)
        if kind != "AutoDelta":
            values |= {f"{name} quantiles": q for name, q in guide.quantiles([0.1, 0.9], *args).items()}
        return {**values, **{f"{name} median": m for name, m in guide.median(*args).items()}}

    expected = draws(guide, x)
    predicted = Predictive(model, guide=guide, num_samples=4)
    ember.set_rng_seed(4)
    samples = predicted(x)["loc"]
    ember.clear_param_store()
    loaded = autoguide.AutoGuide.load(tmp_path / "guide.pt")
    assert type(loaded) is type(guide)
    found = draws(loaded)
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name
    ember.set_rng_seed(4)
    assert torch.equal(Predictive(model, guide=loaded, num_samples=4)(x)["loc"], samples)


def test_what_cannot_be_told_by_its_parameters(tmp_path):
    def subsampled():
        with ember.plate("rows", 10, subsample_size=4):
            ember.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ModelError, match="has not been run"):
        save_guide(autoguide.AutoNormal(model), tmp_path / "guide.pt")
    with pytest.raises(ModelError, match="AutoIAFNormal runs or differentiates"):
        save_guide(autoguide.AutoIAFNormal(model), tmp_path / "guide.pt")
    with pytest.raises(ModelError, match="'z' is in the subsampled plate 'rows'"):
        save_guide(autoguide.AutoNormal(subsampled).prepare(), tmp_path / "guide.pt")


def test_other_files(tmp_path):
    ember.get_param_store().save(str(tmp_path / "params.pt"))
    with pytest.raises(SaveFileError, match="holds no guide"):
        load_guide(tmp_path / "params.pt")
    torch.save({"ember guide": 1, "kind": "AutoNormal", "sites": 3}, tmp_path / "odd.pt")
    with pytest.raises(SaveFileError, match="malformed guide"):
        load_guide(tmp_path / "odd.pt")


def test_the_functions_are_the_methods(tmp_path):
    guide = autoguide.AutoNormal(model).prepare(torch.zeros(3, 5))
    save_guide(guide, tmp_path / "guide.pt")
    found = [load(tmp_path / "guide.pt").median()["loc"] for load in (load_guide, autoguide.AutoNormal.load)]
    assert torch.equal(found[0], guide.median()["loc"]) and torch.equal(*found)


def test_another_class_than_asked_for(tmp_path):
    autoguide.AutoNormal(model).prepare(torch.zeros(3, 5)).save(tmp_path / "guide.pt")
    with pytest.raises(
        SaveFileError, match=r"holds a guide of class AutoNormal, and AutoDelta\.load was asked for it"
    ):
        autoguide.AutoDelta.load(tmp_path / "guide.pt")


def test_what_inherits_may_have_functions_of_its_own(tmp_path):
    class Shifted(autoguide.AutoNormal):
        pass

    with pytest.raises(ModelError, match="Shifted runs or differentiates"):
        Shifted(model).prepare(torch.zeros(3, 5)).save(tmp_path / "guide.pt")


def test_in_a_new_process(tmp_path):
    """Neither the model's code nor the store is there."""
    ember.set_rng_seed(0)
    guide = autoguide.AutoMultivariateNormal(model)
    x = torch.randn(3, 5)
    SVI(model, guide, ember.optim.Adam({"lr": 0.05}), Trace_ELBO()).run(5, x, progress=False)
    guide.save(tmp_path / "guide.pt")
    code = (
        "import torch, ember; from ember.infer.autoguide import AutoGuide; "
        f"guide = AutoGuide.load({str(tmp_path / 'guide.pt')!r}); ember.set_rng_seed(3); "
        "print(sum(float(value.detach().double().sum()) for value in guide().values()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ember.set_rng_seed(3)
    assert float(done.stdout) == sum(float(value.detach().double().sum()) for value in guide(x).values())
