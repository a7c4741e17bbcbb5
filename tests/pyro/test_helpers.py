"""What only old or outlying programs import: old names, and the small helpers of Pyro's util modules."""

from __future__ import annotations

import gc
import warnings

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.pyro import helpers, legacy


def test_random_module_draws_a_new_module_from_the_prior_each_time() -> None:
    linear = torch.nn.Linear(2, 1)
    before = linear.weight.detach().clone()
    prior = {
        "weight": dist.Normal(torch.zeros(1, 2), 1.0).to_event(2),
        "bias": dist.Normal(torch.zeros(1), 1.0).to_event(1),
    }
    with pytest.warns(FutureWarning, match="PyroModule"):
        lifted = legacy.random_module("net", linear, prior)
    trace = poutine.trace(lifted).get_trace()
    drawn, again = trace.nodes["_RETURN"]["value"], lifted()
    assert [name for name, site in trace.nodes.items() if site["type"] == "sample"] == [
        "net$$$weight",
        "net$$$bias",
    ]
    assert torch.equal(drawn.weight, trace.nodes["net$$$weight"]["value"])
    assert drawn is not again and not torch.equal(drawn.weight, again.weight)
    assert torch.equal(linear.weight, before)
    assert len(ember.get_param_store()) == 0


def test_random_module_takes_a_module_only() -> None:
    with pytest.warns(FutureWarning), pytest.raises(AssertionError, match="not a NN module"):
        legacy.random_module("net", lambda: None, dist.Normal(0.0, 1.0))  # type: ignore[arg-type]


def test_optional_enters_the_context_only_if_the_condition_holds() -> None:
    with helpers.optional(pytest.raises(ZeroDivisionError), True):
        raise ZeroDivisionError
    with helpers.optional(pytest.raises(ZeroDivisionError), False):
        pass


def test_experimental_warnings_can_be_silenced() -> None:
    with helpers.ignore_experimental_warning():
        warnings.warn("new", helpers.ExperimentalWarning)
    with pytest.warns(helpers.ExperimentalWarning, match="new"):
        warnings.warn("new", helpers.ExperimentalWarning)


def test_jit_warnings_are_silenced_while_tracing_only() -> None:
    def shape_dependent(x: torch.Tensor) -> torch.Tensor:
        with helpers.ignore_jit_warnings():
            return x * 2 if bool(x.sum() > 0) else x

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit itself
        traced = torch.jit.trace(shape_dependent, torch.ones(2), check_trace=False)
    assert traced(torch.ones(2)).tolist() == [2.0, 2.0]
    with pytest.warns(UserWarning, match="outside"), helpers.ignore_jit_warnings():
        warnings.warn("outside")


def test_slices_numbers_and_seconds() -> None:
    assert [int(x) for x in helpers.jit_iter(torch.arange(3))] == [0, 1, 2]
    converted = helpers.torch_float(torch.tensor(1.0, dtype=torch.float64))
    assert isinstance(converted, torch.Tensor) and converted.dtype == torch.float32
    assert isinstance(helpers.torch_float(1), float)
    with helpers.timed() as timer:
        pass
    assert timer.elapsed == timer.end - timer.start >= 0


def test_a_weak_method_does_not_keep_its_object_alive() -> None:
    class Owner:
        @helpers.weakmethod
        def twice(self, x: int) -> int:
            return 2 * x

    owner = Owner()
    bound = owner.twice
    assert bound(3) == 6
    del owner
    gc.collect()
    with pytest.raises(ReferenceError, match="twice"):
        bound(3)


def test_docs_are_copied_where_there_are_none() -> None:
    class Source:
        def a(self) -> None:
            """Does a."""

        def b(self) -> None:
            """Does b."""

    @helpers.copy_docs_from(Source, full_text=True)
    class Target:
        def a(self) -> None: ...

        def b(self) -> None:
            """Its own."""

    assert (Target.a.__doc__, Target.b.__doc__) == ("Does a.", "Its own.")
