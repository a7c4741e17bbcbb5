"""Validation in captured steps: what an eager step refuses, a captured one refuses in the same words, and changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, tensor

import ember
from ember import distributions as dist
from ember import poutine
from ember.infer import SVI, Trace_ELBO
from ember.optim import SGD, Adam

NAN = float("nan")
Args = tuple[Tensor, ...]


@dataclass(frozen=True)
class Case:
    """A model of which ``site`` makes the likelihood of data, given a latent number."""

    name: str
    site: Callable[..., Any]
    good: Args
    bad: Args
    accepted: bool = False
    """Whether an eager step accepts the bad arguments."""


def observed(
    make: Callable[[Tensor], Any], good: Tensor, bad: Tensor, name: str, accepted: bool = False
) -> Case:
    """A case in which the data are bad."""
    return Case(name, lambda z, data: (make(z), data), (good,), (bad,), accepted)


def given(make: Callable[[Tensor, Tensor], Any], value: Tensor, good: Tensor, bad: Tensor, name: str) -> Case:
    """A case in which an argument of the distribution is bad."""
    return Case(name, lambda z, arg: (make(z, arg), value), (good,), (bad,))


def scaled(z: Tensor, scale: Tensor) -> Any:
    with poutine.scale(scale=scale):
        ember.sample("scaled", dist.Normal(z, 1.0), obs=tensor(0.3))
    return dist.Normal(z, 1.0), tensor(0.5)


ONES, HALVES = torch.ones(3), torch.full((3,), 0.5)
LABELS = tensor([0.0, 1.0, 1.0])
EYE = torch.eye(2)
CASES = [
    observed(lambda z: dist.Bernoulli(z.sigmoid()), LABELS, tensor([0.0, 2.0, 1.0]), "a label 2"),
    observed(lambda z: dist.Poisson(z.exp()), ONES, tensor([1.5, 2.0, 0.0]), "a count 1.5"),
    observed(lambda z: dist.Poisson(z.exp()), ONES, tensor([-1.0, 2.0, 0.0]), "a count -1"),
    observed(
        lambda z: dist.Categorical(logits=z * torch.arange(3.0)),
        tensor([0, 2, 1]),
        tensor([0, 3, 1]),
        "a label 3",
    ),
    observed(lambda z: dist.Normal(z, 1.0), HALVES, tensor([0.5, NAN, 1.0]), "data with NaN"),
    observed(lambda z: dist.LogNormal(z, 1.0), HALVES, tensor([0.5, -1.0, 1.0]), "negative data"),
    observed(
        lambda z: dist.Gamma(z.exp() * ONES, 1.0).to_event(1), HALVES, tensor([0.5, -1.0, 1.0]), "an event"
    ),
    observed(lambda z: dist.Dirichlet(z.exp() * ONES), ONES / 3, HALVES, "no simplex"),
    observed(
        lambda z: dist.Bernoulli(z.sigmoid()).mask(tensor([True, False, True])),
        LABELS,
        tensor([0.0, 2.0, 1.0]),
        "a label that a mask leaves out",
    ),
    observed(
        lambda z: dist.NanMaskedNormal(z, 1.0),
        HALVES,
        tensor([0.5, NAN, 1.0]),
        "gaps that are meant",
        accepted=True,
    ),
    observed(
        lambda z: dist.Bernoulli(z.sigmoid(), validate_args=False),
        LABELS,
        tensor([0.0, 2.0, 1.0]),
        "no validation at the site",
        accepted=True,
    ),
    given(
        lambda z, p: dist.Bernoulli(p * z.sigmoid() / z.sigmoid()),
        ONES,
        HALVES,
        ONES * 1.3,
        "a probability 1.3",
    ),
    given(lambda z, a: dist.Beta(a + 0 * z, 2.0), HALVES, HALVES, -HALVES, "a negative concentration"),
    given(lambda z, a: dist.Normal(z + a, 1.0), HALVES, HALVES, HALVES * NAN, "a location that is NaN"),
    given(lambda z, a: dist.Normal(z, a), HALVES, HALVES, tensor([1.0, 0.0, 1.0]), "a scale of 0"),
    given(lambda z, p: dist.Geometric(p + 0 * z), ONES, HALVES, HALVES * 0, "a probability 0"),
    given(
        lambda z, c: dist.MultivariateNormal(z * ONES[:2], c),
        HALVES[:2],
        EYE,
        EYE - 0.6,
        "an indefinite covariance",
    ),
    given(
        lambda z, c: dist.MultivariateNormal(z * ONES[:2], c),
        HALVES[:2],
        EYE,
        tensor([[1.0, 0.5], [0.0, 1.0]]),
        "a covariance that is not symmetric",
    ),
    Case("a negative factor", scaled, (tensor(2.0),), (tensor(-2.0),)),
]


def programs(case: Case) -> tuple[Callable[..., None], Callable[..., None]]:
    """Model and guide of a case."""

    def model(*args: Tensor) -> None:
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        fn, data = case.site(z, *args)
        rows = ember.plate("rows", len(data)) if data.dim() > fn.event_dim else nullcontext()
        with rows:
            ember.sample("x", fn, obs=data)

    def guide(*args: Tensor) -> None:
        loc = ember.param("loc", tensor(0.1))
        scale = ember.param("scale", tensor(0.2), constraint=dist.constraints.positive)
        ember.sample("z", dist.Normal(loc, scale))

    return model, guide


@dataclass
class Fit:
    """An SVI that has taken some good steps."""

    svi: SVI

    @classmethod
    def of(cls, case: Case, evaluates: bool = True, **how: Any) -> Fit:
        ember.clear_param_store()
        ember.set_rng_seed(0)
        svi = SVI(*programs(case), Adam({"lr": 0.0}), Trace_ELBO(), **how)
        for _ in range(4):
            svi.step(*case.good)
            if evaluates:
                svi.evaluate_loss(*case.good)
        return cls(svi)

    def state(self) -> tuple[Any, ...]:
        store = ember.get_param_store()
        leaves = {name: store.leaf(name).detach().clone() for name in store}
        return leaves, copy.deepcopy(self.svi.optim.get_state()), torch.get_rng_state()

    def outcome(self, call: str, args: Args) -> Any:
        """The loss of a call, or what it raises."""
        torch.manual_seed(1)
        try:
            if call == "run":
                return self.svi.run(3, *args, progress=False).losses.tolist()
            return getattr(self.svi, call)(*args)
        except Exception as error:
            return type(error), str(error)


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal, bit for bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


CALLS = ("step", "run", "evaluate_loss")
IN_C = ("a label 2", "a label 3", "data with NaN", "no simplex", "no validation at the site", "a scale of 0")
CAPTURED = [(case, "interpreter") for case in CASES]
CAPTURED += [
    (case, "native")
    for case in CASES
    if case.name in (*IN_C, "an indefinite covariance", "a negative factor")
]


@pytest.mark.parametrize(("case", "backend"), CAPTURED, ids=lambda value: getattr(value, "name", value))
def test_as_eager(case: Case, backend: str) -> None:
    check(case, backend, CALLS)


def test_as_eager_by_inductor() -> None:
    check(next(case for case in CASES if case.name == "a scale of 0"), "inductor", CALLS[:2])


def check(case: Case, backend: str, calls: tuple[str, ...]) -> None:
    fit = Fit.of(case, compile=False)
    expected = {call: fit.outcome(call, case.bad) for call in calls}
    after = fit.outcome("step", case.good)
    fit = Fit.of(case, evaluates="evaluate_loss" in calls, compile=True, backend=backend)
    captures = list(fit.svi.capture_report.captures)
    assert {capture.backend for capture in captures} == {backend}
    for call in calls:
        torch.manual_seed(1)
        before = fit.state()
        found = fit.outcome(call, case.bad)
        if case.accepted:
            assert found == pytest.approx(expected[call], rel=1e-5)
        else:
            assert isinstance(found, tuple)
            assert found == expected[call]
            assert same(fit.state(), before)
    # A program that has failed is as good as before.
    assert fit.outcome("step", case.good) == pytest.approx(after, rel=1e-5)
    assert fit.svi.capture_report.captures == captures


def drifting(**how: Any) -> SVI:
    """A fit of a normal guide that sooner or later draws a negative rate."""

    def model() -> None:
        rate = ember.sample("rate", dist.Exponential(1.0))
        ember.sample("x", dist.Normal(rate, 1.0), obs=tensor(-9.0))

    def guide() -> None:
        loc = ember.param("loc", tensor(2.0, dtype=torch.float64))
        ember.sample("rate", dist.Normal(loc, 0.1))

    ember.clear_param_store()
    return SVI(model, guide, SGD({"lr": 0.01}), Trace_ELBO(), **how)


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_a_run_ends_at_the_step_that_fails(backend: str) -> None:
    steps, outcomes, losses = [], [], []
    for how in ({"compile": False}, {"compile": True, "backend": backend}):
        svi = drifting(**how)
        torch.manual_seed(3)
        seen: list[float] = []
        with pytest.raises(ValueError, match="Error while computing log_prob at site 'rate'") as info:
            svi.run(
                1000,
                progress=False,
                callback=lambda step, loss, seen=seen: seen.append(loss),
                callback_interval=1,
            )
        steps.append(ember.param("loc").item())
        outcomes.append(str(info.value).partition("invalid values")[0])
        losses.append(seen)
    assert outcomes[0] == outcomes[1]
    assert 8 < len(losses[0]) == len(losses[1])
    assert losses[1] == pytest.approx(losses[0])
    assert steps[1] == pytest.approx(steps[0])


@pytest.mark.parametrize(
    "switch", [ember.enable_validation, torch.distributions.Distribution.set_default_validate_args]
)
def test_validation_may_be_switched_between_steps(switch: Callable[[bool], None]) -> None:
    case = CASES[0]
    refused = Fit.of(case).outcome("step", case.bad)
    assert refused[0] is ValueError
    try:
        switch(False)
        fit = Fit.of(case, evaluates=False, compile=True, backend="interpreter")
        for on in (True, False, True, False):
            switch(on)
            for _ in range(4):
                good, bad = fit.outcome("step", case.good), fit.outcome("step", case.bad)
                assert (bad == refused) is on
                assert isinstance(good, float)
    finally:
        switch(True)
    # One program for each kind, and they are kept.
    assert len(fit.svi.capture_report.captures) == 2


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_parameters_that_become_invalid(backend: str) -> None:
    case = CASES[0]
    found = []
    for how in ({"compile": False}, {"compile": True, "backend": backend}):
        fit = Fit.of(case, **how)
        leaf = ember.get_param_store().leaf("scale")
        for bad in (-1e4, NAN):
            with torch.no_grad():
                before = leaf.clone()
                leaf.fill_(bad)
                found.append(fit.outcome("step", case.good))
                assert "Expected parameter scale" in found[-1][1]
                leaf.copy_(before)
        found.append(fit.outcome("step", case.good))
    assert found[3:5] == found[:2]
    assert found[5] == pytest.approx(found[2], rel=1e-5)


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_a_stable_run_leaves_steps_out_that_have_no_loss_either(backend: str) -> None:
    """Where a value is invalid but the loss finite, it ends; a step whose loss is NaN is left out, as in eager runs."""

    def fit(**how: Any) -> tuple[SVI, Tensor]:
        data, case = HALVES.clone(), CASES[4]
        ember.clear_param_store()
        ember.set_rng_seed(0)
        return SVI(*programs(case), SGD({"lr": 0.01}), Trace_ELBO(), **how), data

    results = []
    for how in ({"compile": False}, {"compile": True, "backend": backend}):
        svi, data = fit(**how)
        svi.run(4, data, progress=False, stable=True)
        data[1] = NAN
        bad = svi.run(3, data, progress=False, stable=True)
        data[1] = 0.5
        good = svi.run(3, data, progress=False, stable=True)
        results.append((bad.num_skipped, good.num_skipped, good.num_steps))
    assert results == [(3, 0, 3)] * 2
