"""Validation: its switch, its errors, and the quick checks that may only say yes."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

import ember
import ember.distributions as dist
from ember import poutine, settings
from ember.distributions import constraints
from ember.distributions.fast_checks import is_surely_valid
from ember.infer.traces.validate_all import unchecked

TorchBase = torch.distributions.Distribution


def flags() -> tuple[bool, bool]:
    return dist.is_validation_enabled(), TorchBase._validate_args


@pytest.mark.parametrize("value", [True, False])
def test_switch(value: bool) -> None:
    before = flags()
    with dist.validation_enabled(value):
        assert flags() == (value, value)
        if value:
            with pytest.raises(ValueError):
                dist.Normal(0.0, -1.0)
        else:
            dist.Normal(0.0, -1.0)
    assert flags() == before
    with pytest.raises(ZeroDivisionError), dist.validation_enabled(value):
        raise ZeroDivisionError
    assert flags() == before


def test_flags_come_back_separately() -> None:
    before = flags()
    with settings.context(validate_distributions_pyro=False, validate_distributions_torch=True):
        with dist.validation_enabled(False):
            assert flags() == (False, False)
        assert flags() == (False, True)
    assert flags() == before


def test_enable_validation() -> None:
    with dist.validation_enabled():
        dist.enable_validation(False)
        assert flags() == (False, False)
        dist.enable_validation(True)
        assert flags() == (True, True)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("Normal", (0.0, -1.0)),
        ("Normal", (torch.nan, 1.0)),
        ("Normal", (torch.zeros(2), tensor([1.0, 0.0]))),
        ("Gamma", (tensor([1.0, -1.0]), 1.0)),
        ("Dirichlet", (tensor([1.0, -1.0]),)),
        ("Bernoulli", (tensor([0.5, 1.5]),)),
        ("Categorical", (tensor([[0.5, -0.5]]),)),
        ("Uniform", (1.0, 0.0)),
        ("Poisson", (-1.0,)),
        ("Poisson", (tensor([1.0, -1.0]),)),
        ("Binomial", (2, tensor([1.5]))),
        ("MultivariateNormal", (torch.zeros(2), -torch.eye(2))),
        ("StudentT", (0.0,)),
        ("HalfCauchy", (-1.0,)),
        ("LKJCholesky", (3, -1.0)),
    ],
)
def test_bad_arguments_raise_as_in_torch(name: str, args: Any) -> None:
    with pytest.raises(ValueError) as theirs:
        getattr(torch.distributions, name)(*args, validate_args=True)
    with pytest.raises(ValueError) as ours:
        getattr(dist, name)(*args, validate_args=True)
    assert str(ours.value) == str(theirs.value)
    if name in {"Normal", "Gamma", "Bernoulli", "Uniform", "Poisson"}:
        getattr(dist, name)(*args, validate_args=False)


def test_a_bad_beta_names_its_own_argument() -> None:
    """Torch names the concentration of the Dirichlet distribution inside."""
    with pytest.raises(ValueError, match=r"Expected parameter concentration1 .* of distribution Beta"):
        dist.Beta(tensor([1.0, torch.nan]), 1.0)


@pytest.mark.parametrize(
    ("name", "args", "value"),
    [
        ("Normal", (torch.zeros(2), torch.ones(2)), tensor([torch.nan, 0.0])),
        ("Normal", (torch.zeros(2), torch.ones(2)), torch.zeros(3)),
        ("Normal", (0.0, 1.0), 0.0),
        ("Gamma", (torch.ones(2), torch.ones(2)), tensor([-1.0, 1.0])),
        ("Beta", (torch.ones(2), torch.ones(2)), tensor([1.5, 0.5])),
        ("Dirichlet", (torch.ones(3),), tensor([0.5, 0.5, 0.5])),
        ("Dirichlet", (torch.ones(3),), tensor([0.5, 0.5])),
        ("Bernoulli", (tensor([0.5]),), tensor([0.5])),
        ("Categorical", (torch.ones(3),), tensor(4)),
        ("Poisson", (1.0,), tensor(0.5)),
        ("HalfCauchy", (1.0,), tensor(-1.0)),
        ("LogNormal", (0.0, 1.0), tensor(-1.0)),
        ("Uniform", (0.0, 1.0), tensor(2.0)),
    ],
)
def test_bad_values_raise_as_in_torch(name: str, args: Any, value: Any) -> None:
    with pytest.raises(ValueError) as theirs:
        getattr(torch.distributions, name)(*args, validate_args=True).log_prob(value)
    with pytest.raises(ValueError) as ours:
        getattr(dist, name)(*args, validate_args=True).log_prob(value)
    assert str(ours.value) == str(theirs.value)


def test_infinities_are_real() -> None:
    x = tensor([torch.inf, -torch.inf])
    assert (dist.Normal(torch.zeros(2), 1.0, validate_args=True).log_prob(x) == -torch.inf).all()


CHECKED: list[Any] = [
    constraints.real,
    constraints.positive,
    constraints.nonnegative,
    constraints.less_than(1.0),
    constraints.unit_interval,
    constraints.interval(-1, 2.5),
    constraints.greater_than(tensor([0.0, 1.0])),
    constraints.independent(constraints.positive, 1),
    constraints.boolean,
]
numbers = st.sampled_from([-1.0, 0.0, 0.1, 0.5, 1.0, 2.5, 3.0, torch.inf, -torch.inf, torch.nan])


@pytest.mark.parametrize("constraint", CHECKED, ids=repr)
@given(
    values=st.lists(numbers, min_size=2, max_size=2)
    | st.lists(st.lists(numbers, min_size=2, max_size=2), max_size=3)
)
def test_quick_checks_never_say_yes_wrongly(constraint: Any, values: Any) -> None:
    value = tensor(values).reshape(-1, 2)
    if is_surely_valid(constraint, value):
        assert constraint.check(value).all()


@pytest.mark.parametrize("constraint", CHECKED[:6], ids=repr)
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_quick_checks_recognise_plain_values(constraint: Any, shape: tuple[int, ...]) -> None:
    assert is_surely_valid(constraint, torch.full(shape, 0.5))
    assert is_surely_valid(constraint, torch.full(shape, 0.5, requires_grad=True))
    assert not is_surely_valid(constraint, torch.zeros(0))


def test_validation_leaves_no_graph() -> None:
    scale = torch.ones(3, requires_grad=True)
    d = dist.Normal(torch.zeros(3), scale, validate_args=True)
    d.log_prob(torch.zeros(3)).sum().backward()
    assert scale.grad is not None and (scale.grad == -1).all()


def test_missing_arg_constraints_warns_as_in_torch() -> None:
    class Bare(dist.TorchDistribution):
        support = constraints.real

    with pytest.warns(UserWarning, match="does not define `arg_constraints`"):
        Bare(validate_args=True)
    d = Bare(validate_args=False)
    assert d._validate_args is False and d.batch_shape == ()


def test_blocks_of_two_threads_that_overlap_leave_validation_on() -> None:
    before = flags()
    inside, first_ended = threading.Event(), threading.Event()

    def other() -> None:
        with ember.validation_enabled(False):
            inside.set()
            first_ended.wait(10)

    with ember.validation_enabled(False):
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
    first_ended.set()
    thread.join()
    assert flags() == before


def test_what_one_thread_leaves_unchecked_is_checked_in_others() -> None:
    seen = []

    def other() -> None:
        try:
            dist.Normal(0.0, -1.0)
        except ValueError:
            seen.append((dist.is_validation_enabled(), poutine.is_validation_enabled()))

    with unchecked():
        dist.Normal(0.0, -1.0)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert seen == [(True, True)]
