"""Programs for several backends."""

from __future__ import annotations

import pytest
import torch


def test_the_backend_in_force_answers(alias: None) -> None:
    import ember
    from ember.contrib import minipyro
    from pyro.generic import distributions as dist
    from pyro.generic import infer, ops, pyro, pyro_backend

    assert infer.SVI is ember.infer.SVI and ops.zeros is torch.zeros
    with pyro_backend("minipyro"):
        assert (
            infer.SVI is minipyro.SVI
            and pyro.sample is minipyro.sample
            and dist.Normal is ember.distributions.Normal
        )
        with pyro_backend(infer="pyro.infer"):
            assert infer.SVI is ember.infer.SVI
        with pytest.raises(NotImplementedError, match=r"does not implement infer\.Predictive"):
            _ = infer.Predictive
    assert pyro.sample is ember.sample


def test_a_backend_of_ones_own(alias: None) -> None:
    from pyro.generic import ops, pyro_backend, register_backend

    register_backend("mine", {"ops": "math"})
    with pyro_backend("mine"):
        assert ops.pi == pytest.approx(3.14159, abs=1e-5)
    with pytest.raises(KeyError, match="wibble"):
        with pyro_backend("wibble"):
            pass
    with pytest.raises(KeyError, match="no part 'foo'"):
        with pyro_backend(foo="pyro"):
            pass
    assert ops.pi == torch.pi
