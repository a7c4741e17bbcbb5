"""Python asks for values of arguments, and of tensors outside: a program is for these values, and others are noticed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember import optim
from ember.errors import CaptureError, Reason
from ember.infer import SVI, Trace_ELBO

pytestmark = pytest.mark.usefixtures("float64")
OUTSIDE = torch.tensor(1.0)


def latent() -> Tensor:
    z: Tensor = ember.sample("z", dist.Normal(0.0, 1.0))
    return z


def observed(z: Any, x: Any) -> None:
    with ember.plate("rows", len(x)):
        ember.sample("x", dist.Normal(z, 0.5), obs=x)


def branches(x: Tensor) -> None:
    observed(latent() * (2.0 if x.sum() > 0 else 0.5), x)


def branches_twice(x: Tensor) -> None:
    z = latent()
    if x[0] > 0:
        z = z * (1.5 if x[1] > 0.0 else 0.7)
    observed(z, x)


def asserts(x: Tensor) -> None:
    assert (x < 100).all()
    assert x.isfinite().all(), "finite"
    observed(latent(), x)


def counts(x: Tensor) -> None:
    z = latent()
    for _ in range(int(x.abs().max())):
        z = z * 1.1
    observed(z, x)


def takes_an_item(x: Tensor) -> None:
    observed(latent() + x[0].item(), x)


def lists(x: Tensor) -> None:
    observed(latent() + sum(x.sign().tolist()), x)


def uses_numpy(x: Tensor) -> None:
    observed(latent() + float(np.mean(x.numpy())), x)


def uses_an_array(x: Tensor) -> None:
    observed(latent() + float(np.asarray(x).max()), x)


def picks_by_a_mask(x: Tensor) -> None:
    observed(latent(), x[x > 0])


def selects_by_a_mask(x: Tensor) -> None:
    observed(latent() * torch.masked_select(x, x > 0).sum(), x)


def picks_latent_rows(x: Tensor) -> None:
    with ember.plate("latent", 4):
        w = ember.sample("w", dist.Normal(0.0, 1.0))
    observed(w[x > 0].sum(), x)


def where(x: Tensor) -> None:
    observed(latent() + torch.where(x > 0)[0].sum(), x)


def nonzero(x: Tensor) -> None:
    observed(latent() + (x > 0).nonzero().sum(), x)


def one_hot(x: Tensor) -> None:
    codes = torch.nn.functional.one_hot((x > 0).long() + (x > 3).long())
    observed(latent() * codes.shape[-1], x)


def equal(x: Tensor) -> None:
    observed(latent() * (1.0 if torch.equal(x, x.abs()) else 2.0), x)


def asks_what_is_made_in_place(x: Tensor) -> None:
    seen = torch.zeros(2)
    seen[0] = x[0]
    before = bool(seen[0] > 0)
    seen.mul_(-1.0)
    observed(latent() * (1.0 + before) + float(seen.sum() > 0), x)


def asks_outside(x: Tensor) -> None:
    observed(latent() * OUTSIDE.item(), x)


def not_a_number(x: Tensor) -> None:
    observed(latent() + (0.0 if x[0].log().isnan() else 1.0) + float(np.isnan(x[1].log().item())), x)


MODELS = [
    branches, branches_twice, asserts, counts, takes_an_item, lists, uses_numpy, uses_an_array, picks_by_a_mask,
    selects_by_a_mask, picks_latent_rows, where, nonzero, one_hot, equal, asks_what_is_made_in_place, asks_outside,
    not_a_number,
]  # fmt: skip


def guide(x: Tensor, weight: float = 1.0) -> None:
    loc = ember.param("loc", torch.tensor(0.3))
    ember.sample("z", dist.Normal(loc, 0.8))


def guide_of_rows(x: Tensor) -> None:
    with ember.plate("latent", 4):
        ember.sample("w", dist.Normal(ember.param("loc", torch.tensor(0.3)), 0.8))


START = [1.0, 2.0, -0.5, 0.25]
OTHER = [-1.0, 4.0, 2.5, 0.25]


def replaced(x: Tensor) -> Tensor:
    return torch.tensor(OTHER)


def in_place(x: Tensor) -> Tensor:
    OUTSIDE.fill_(-2.0)
    return x.copy_(torch.tensor(OTHER))


def by_data(x: Tensor) -> Tensor:
    OUTSIDE.data.fill_(-2.0)
    x.data.copy_(torch.tensor(OTHER))
    return x


def by_numpy(x: Tensor) -> Tensor:
    OUTSIDE.numpy()[()] = -2.0
    x.numpy()[:] = OTHER
    return x


CHANGES = [replaced, in_place, by_data, by_numpy]


def new_svi(model: Callable[..., None], compile: Any, backend: Any = "interpreter") -> SVI:
    OUTSIDE.fill_(1.0)
    ember.clear_param_store()
    ember.set_rng_seed(0)
    own = guide_of_rows if model is picks_latent_rows else guide
    return SVI(model, own, optim.Adam({"lr": 0.05}), Trace_ELBO(), compile=compile, backend=backend)


def fitted(svi: SVI, change: Callable[[Tensor], Tensor], how: str) -> list[float]:
    """Losses before a change, after it, and back at what was before."""
    losses: list[float] = []
    x = torch.tensor(START)
    for _ in range(2):
        losses += (
            svi.run(4, x, progress=False).losses.tolist() if how == "run" else [svi.step(x) for _ in range(4)]
        )
        x = change(x)
        losses += (
            svi.run(4, x, progress=False).losses.tolist() if how == "run" else [svi.step(x) for _ in range(4)]
        )
        OUTSIDE.fill_(1.0)
        x = torch.tensor(START) if change is replaced else x.copy_(torch.tensor(START))
    return losses


@pytest.mark.parametrize("how", ["step", "run"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_other_values_are_noticed(
    model: Callable[..., None], change: Callable[[Tensor], Tensor], how: str
) -> None:
    expected = fitted(new_svi(model, False), change, how)
    svi = new_svi(model, True)
    found = fitted(svi, change, how)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert 1 <= ember.capture.explain(svi).num_captures <= 2


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_native_programs_agree(model: Callable[..., None]) -> None:
    expected = fitted(new_svi(model, False), in_place, "step")
    svi = new_svi(model, True, "auto")
    assert fitted(svi, in_place, "step") == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert {capture.backend for capture in ember.capture.explain(svi).captures} == {"native"}


def test_an_assert_that_fails_later_raises() -> None:
    svi, x = new_svi(asserts, True), torch.tensor(START)
    for _ in range(4):
        svi.step(x)
    x.data[0] = 200.0
    for _ in range(3):
        with pytest.raises(AssertionError):
            svi.step(x)
    with pytest.raises(AssertionError):
        svi.run(3, x, progress=False)
    x.data[0] = float("nan")
    with pytest.raises(AssertionError):
        svi.step(x)
    x.data[0] = 1.0
    calls = ember.capture.explain(svi).eager_calls
    svi.step(x)
    assert ember.capture.explain(svi).eager_calls == calls


def test_values_that_are_others_in_every_call_are_refused_in_the_end() -> None:
    def losses(svi: SVI, count: int = 50) -> list[float]:
        return [svi.step(torch.tensor(START) * (1 + 0.01 * i)) for i in range(count)]

    with pytest.raises(CaptureError, match="others in call after call") as raised:
        losses(new_svi(takes_an_item, True))
    assert raised.value.reason is Reason.VALUE_READ
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = losses(new_svi(takes_an_item, "auto"))
    assert found == pytest.approx(losses(new_svi(takes_an_item, False)))


def test_numbers_that_change_beside_values_that_are_asked_get_few_programs() -> None:
    """As a weight that grows from epoch to epoch does, in a model that asks for the largest count of a batch."""

    def model(x: Tensor, weight: float) -> None:
        with ember.poutine.scale(scale=weight):
            z = latent()
        observed(z * int(x.abs().max()), x)

    def losses(svi: SVI) -> list[float]:
        return [svi.step(torch.tensor(START), 0.1 + 0.05 * (i // 4)) for i in range(40)]

    svi = new_svi(model, True)
    found = losses(svi)
    assert found == pytest.approx(losses(new_svi(model, False)))
    programs = ember.capture.explain(svi).num_captures
    assert programs <= 4
    for _ in range(20):
        svi.step(torch.tensor(START), 1.0)
    report = ember.capture.explain(svi)
    assert report.num_captures == programs + 1 and report.captures[-1].calls > 5


def test_a_step_that_changes_what_was_asked_is_refused() -> None:
    def model(x: Tensor) -> None:
        z = latent() * (2.0 if x[0] > 0 else 0.5)
        observed(z, x + 0.0)
        x.sub_(0.3)

    with pytest.raises(CaptureError, match="value of a tensor"):
        fitted(new_svi(model, True), in_place, "step")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fitted(new_svi(model, "auto"), in_place, "step")
    assert found == pytest.approx(fitted(new_svi(model, False), in_place, "step"))


def test_arrays_cannot_be_written_to() -> None:
    """Eagerly the tensor would change with the array."""

    def model(x: Tensor) -> None:
        x.numpy()[0] += 1.0
        observed(latent(), x)

    with pytest.raises(CaptureError, match="read-only"):
        fitted(new_svi(model, True), replaced, "step")


def test_large_tensors_are_not_compared_as_wholes() -> None:
    def model(x: Tensor) -> None:
        ember.sample("x", dist.Normal(latent(), 1.0), obs=torch.tensor(float(np.mean(x.numpy()))))

    svi = new_svi(model, True)
    svi.step(torch.zeros(1 << 20))
    with pytest.raises(CaptureError, match="value of a tensor"):
        svi.step(torch.zeros(1 << 20))
