"""Wrong programs and what each is told: the site, option or parameter, the value or shape, and the way out.

A new one is a row. Each is run eagerly and compiled, and is told the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import ember
from ember import distributions as dist
from ember import optim
from ember.infer import SVI, Predictive, Trace_ELBO, autoguide
from ember.optim import Adam

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([1.0, -1.0, 0.5])


@dataclass(frozen=True)
class Wrong:
    """A wrong program: what it raises (or warns of), and what the text must contain."""

    name: str
    program: Callable[[bool], object]
    kind: type[BaseException]
    says: tuple[str, ...]


def regression(x, y=None):
    b = ember.sample("b", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with ember.plate("rows", len(x)):
        return ember.sample("y", dist.Normal(x @ b, 1.0), obs=y)


def steps(compile, model, *args, guide=None, optimizer=None, loss=None, n=3):
    """Some steps of a model under an automatic guide."""
    guide = autoguide.AutoNormal(model) if guide is None else guide
    loss = Trace_ELBO() if loss is None else loss
    svi = SVI(model, guide, Adam({"lr": 0.01}) if optimizer is None else optimizer, loss, compile=compile)
    return [svi.step(*args) for _ in range(n)]


def run(compile, *args):
    """One call of run for the regression."""
    guide = autoguide.AutoNormal(regression)
    return SVI(regression, guide, Adam({"lr": 0.01}), Trace_ELBO(), compile=compile).run(
        *args, progress=False
    )


def with_optimizer(make):
    """A fit of the regression with an optimizer that is made inside."""
    return lambda compile: steps(compile, regression, X, Y, optimizer=make())


def scheduler(optimizer):
    return optim.ExponentialLR({"optimizer": optimizer, "optim_args": {"lr": 0.1}, "gamma": 0.9})


def exchanged(compile):
    guide = autoguide.AutoNormal(regression)
    return steps(compile, guide, X, Y, guide=regression)


BORDER = [
    Wrong(
        "loss class",
        lambda c: steps(c, regression, X, Y, loss=Trace_ELBO),
        ValueError,
        ("loss = Trace_ELBO()",),
    ),
    Wrong(
        "loss None", lambda c: SVI(regression, regression, Adam({}), None), ValueError, ("loss", "NoneType")
    ),
    Wrong(
        "guide class",
        lambda c: steps(c, regression, X, Y, guide=autoguide.AutoNormal),
        ValueError,
        ("guide", "AutoNormal(model)"),
    ),
    Wrong(
        "optimizer class",
        lambda c: steps(c, regression, X, Y, optimizer=torch.optim.Adam),
        ValueError,
        ("the class Adam", "ember.optim.Adam({'lr': 0.01})"),
    ),
    Wrong(
        "Predictive's third argument",
        lambda c: Predictive(regression, autoguide.AutoNormal(regression), 100),
        ValueError,
        ("posterior_samples", "AutoNormal", "guide=guide, num_samples=100"),
    ),
    Wrong("exchanged", exchanged, ValueError, ("changed places", "AutoNormal", "SVI(model, guide")),
    Wrong(
        "run without steps", lambda c: run(c, X, Y), TypeError, ("number of steps", "(20, 3)", "svi.run(1000")
    ),
    Wrong(
        "run of a float", lambda c: run(c, 5.0, X, Y), TypeError, ("number of steps", "5.0", "svi.run(1000")
    ),
]

OPTIMIZERS = [
    Wrong("Adam(lr=)", with_optimizer(lambda: Adam(lr=0.1)), TypeError, ("lr", "Adam({'lr': 0.1})")),
    Wrong(
        "ClippedAdam(lr=)",
        with_optimizer(lambda: optim.ClippedAdam({"lr": 0.1}, clip_norm=5.0)),
        TypeError,
        ("clip_norm", "ClippedAdam({'lr': 0.1, 'clip_norm': 5.0})"),
    ),
    Wrong("Adam(0.1)", with_optimizer(lambda: Adam(0.1)), AssertionError, ("optim_args", "{'lr': 0.1}")),
    Wrong(
        "lr as text",
        with_optimizer(lambda: Adam({"lr": "0.01"})),
        TypeError,
        ("'lr' of Adam", "'0.01'", "number"),
    ),
    Wrong(
        "one beta",
        with_optimizer(lambda: Adam({"betas": 0.9})),
        TypeError,
        ("'betas' of Adam", "got 0.9", "{'betas': (0.9, 0.999)}"),
    ),
    Wrong(
        "unknown option",
        with_optimizer(lambda: Adam({"learning_rate": 0.1})),
        TypeError,
        ("'learning_rate'", "its options are lr, betas"),
    ),
    Wrong(
        "SGD({})", with_optimizer(lambda: optim.SGD({})), UserWarning, ("SGD", "lr=0.001", "{'lr': 0.001}")
    ),
    Wrong(
        "scheduler with Ember's optimizer",
        with_optimizer(lambda: scheduler(Adam({"lr": 0.1}))),
        TypeError,
        ("'optimizer'", "PyroOptim", "{'optimizer': torch.optim.Adam"),
    ),
    Wrong(
        "scheduler with an optimizer",
        with_optimizer(lambda: scheduler(torch.optim.Adam([torch.zeros(1)]))),
        TypeError,
        ("'optimizer'", "an object of Adam", "{'optimizer': torch.optim.Adam"),
    ),
]

TABLE = BORDER + OPTIMIZERS


def told(compile: bool, wrong: Wrong) -> Any:
    """The text that a wrong program gets, with its notes."""
    with pytest.raises(wrong.kind) as caught, warnings.catch_warnings():
        warnings.simplefilter("error")
        wrong.program(compile)
    return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])


@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("wrong", TABLE, ids=lambda wrong: wrong.name)
def test_what_a_wrong_program_is_told(wrong: Wrong, compile: bool) -> None:
    text = told(compile, wrong)
    assert [part for part in wrong.says if part not in text] == [], text
