"""Names that import, and that say on use what there is instead."""

from __future__ import annotations

import importlib

import pytest

import ember.pyro
from ember.pyro import places, surface


@pytest.mark.parametrize(
    "path, name, instead",
    [
        ("pyro.infer", "MCMC", "NUTS in Pyro or NumPyro"),
        ("pyro.infer", "NUTS", "NUTS in Pyro or NumPyro"),
        ("pyro.infer", "HMC", "NUTS in Pyro or NumPyro"),
        ("pyro.infer", "RandomWalkKernel", "NUTS in Pyro or NumPyro"),
        ("pyro.infer.mcmc", "NUTS", "NUTS in Pyro or NumPyro"),
        ("pyro.infer.mcmc.api", "MCMC", "NUTS in Pyro or NumPyro"),
        ("pyro.infer.mcmc.util", "initialize_model", "NUTS in Pyro or NumPyro"),
        ("pyro.optim", "HorovodOptimizer", "torch.distributed"),
        ("pyro.optim.horovod", "HorovodOptimizer", "torch.distributed"),
        ("pyro.poutine", "collapse", "pyro.contrib.conjugate"),
        ("pyro.poutine.collapse_messenger", "CollapseMessenger", "pyro.contrib.conjugate"),
        ("pyro.distributions.torch_patch", "patch_dependency", "changes nothing in torch"),
    ],
)
def test_a_placeholder_imports_and_says_what_there_is(
    alias: None, path: str, name: str, instead: str
) -> None:
    placeholder = getattr(importlib.import_module(path), name)
    assert isinstance(placeholder, type) and not isinstance(3, placeholder)
    with pytest.raises(NotImplementedError) as caught:
        placeholder(lambda: None, num_samples=3)
    assert f"'{path}.{name}' is not in Ember. Instead:" in str(caught.value)
    assert instead in str(caught.value)


def test_a_program_may_inherit_from_one(alias: None) -> None:
    from pyro.infer.mcmc.mcmc_kernel import MCMCKernel

    class Kernel(MCMCKernel):  # type: ignore[misc]
        pass

    assert issubclass(Kernel, MCMCKernel)
    with pytest.raises(NotImplementedError, match="Instead"):
        Kernel()
    with pytest.raises(AttributeError, match="has no 'setup'"):
        _ = MCMCKernel.setup


def test_they_are_gone_without_the_drop_in() -> None:
    with ember.pyro.installed():
        importlib.import_module("pyro.infer.mcmc")
    assert not hasattr(ember.infer, "NUTS")


def test_every_name_of_an_absent_module_can_be_read(alias: None) -> None:
    for path in surface.paths():
        if any(path == absent or path.startswith(absent + ".") for absent in places.ABSENT):
            module = importlib.import_module(path)
            for name in surface.names_at(path).own:
                assert hasattr(module, name), f"{path}.{name}"
