"""Every family: draws, log density and its gradient are the same numbers in C, or the reason says which operator is missing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.capture.native.values.unsupported import UnsupportedError
from ember.capture.recording.value_guard import ValueTakenError
from tests.capture.native.programs import QUICK, Compiled, Function, assert_same, flags
from tests.distributions.table import COMPOSED, ROWS

# Samplers that ask for values: no backend can have them.
NOT_CAPTURED = {
    "DirichletMultinomial-sparse",
    "HurdleDistribution",
    "OneHotCategoricalStraightThrough",
    "Poisson-sparse",
    "SineBivariateVonMises",
    "SineSkewed",
    "VonMises",
    "Wishart",
}
# What is missing, by family.
REFUSED: dict[str, str] = {}


def built(row, params: dict[str, Tensor]) -> dist.Distribution:
    return getattr(dist, row.name)(**{**row.params, **params})


def tensors(row) -> dict[str, Tensor]:
    return {
        name: value.double() if value.is_floating_point() else value
        for name, value in row.params.items()
        if isinstance(value, Tensor)
    }


def step(row, names: list[str]):
    def run(flat: list[Tensor]) -> list[Tensor]:
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_(t.is_floating_point()) for t in flat]
            d = built(row, dict(zip(names, leaves, strict=True)))
            x = d.rsample() if d.has_rsample else d.sample()
            again = d.sample((2,))
            density = d.log_prob(x)
            wanted = [leaf for leaf in leaves if leaf.requires_grad]
            if not (density.requires_grad and wanted):
                return [x, again, density]
            gradients = torch.autograd.grad(density.sum(), wanted, allow_unused=True)
        return [x, again, density, *(g for g in gradients if g is not None)]

    return run


def composed_step(name: str):
    def run(flat: list[Tensor]) -> list[Tensor]:
        d = COMPOSED[name]()
        x = d.sample()
        with torch.enable_grad():
            at = x.detach()
            if d.support is not None and not d.support.is_discrete:
                at = (x + flat[0]).requires_grad_(x.is_floating_point())
            density = d.log_prob(at)
            if not (density.requires_grad and at.requires_grad):
                return [x, density.detach()]
            return [x, density.detach(), *torch.autograd.grad(density.sum(), [at])]

    return run


def agree(name: str, function: Function, inputs: list[Tensor], tolerance: tuple[float, float]) -> None:
    with ember.validation_enabled(False), flags(*QUICK):
        try:
            compiled = Compiled(function, inputs)
        except UnsupportedError as error:
            assert REFUSED.get(name, "nothing") in str(error), f"{name}: {error}"
            return
        except (ValueTakenError, RuntimeError):
            assert name in NOT_CAPTURED
            return
        assert name not in REFUSED
        expected = compiled.expected(inputs)
        assert_same(
            [t.detach() for t in compiled.outcome(inputs)], [t.detach() for t in expected], [], tolerance
        )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_draws_densities_and_gradients(row, float64):
    params = tensors(row)
    agree(row.name, step(row, list(params)), list(params.values()), (1e-9, 1e-10))


@pytest.mark.parametrize("name", ["OneHotCategoricalStraightThrough", "VonMises"])
def test_densities_of_families_whose_draws_are_not_captured(name, float64):
    row = next(row for row in ROWS if row.name == name)
    params = tensors(row)
    x = built(row, params).sample()

    def run(flat: list[Tensor]) -> list[Tensor]:
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_() for t in flat[1:]]
            density = built(row, dict(zip(params, leaves, strict=True))).log_prob(flat[0])
            return [density.detach(), *torch.autograd.grad(density.sum(), leaves)]

    with ember.validation_enabled(False), flags(*QUICK):
        compiled = Compiled(run, [x, *params.values()])
        assert_same(
            compiled.outcome([x, *params.values()]),
            compiled.expected([x, *params.values()]),
            [],
            (1e-9, 1e-10),
        )


@pytest.mark.parametrize("name", sorted(COMPOSED))
def test_composed_families(name):
    with ember.validation_enabled(False):
        try:
            COMPOSED[name]().log_prob(COMPOSED[name]().sample())
        except NotImplementedError:
            pytest.skip("it has no sampler, or no density")
    # Their parameters are in single precision.
    agree(name, composed_step(name), [torch.zeros(())], (2e-5, 2e-5))
