"""Warnings about NaN and infinite values."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from ember.nonfinite import torch_isinf, torch_isnan, warn_if_inf, warn_if_nan

NAN, INF = float("nan"), float("inf")


def messages(fn, *args, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = fn(*args, **kwargs)
    return result, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("value", [torch.tensor([1.0, NAN]), NAN])
def test_nan(value):
    result, said = messages(warn_if_nan, value, "loss")
    assert result is value and said == ["Encountered NaN: loss"]


@pytest.mark.parametrize("fn", [warn_if_nan, warn_if_inf])
@pytest.mark.parametrize("value", [torch.tensor([1.0, -2.0]), torch.tensor([1, 2]), 3, 2.5])
def test_finite_values_pass_in_silence(fn, value):
    assert fn(value, "x") is value


@pytest.mark.parametrize(
    ("allow", "said"),
    [
        ({}, ["Encountered +inf: x", "Encountered -inf: x"]),
        ({"allow_posinf": True}, ["Encountered -inf: x"]),
        ({"allow_neginf": True}, ["Encountered +inf: x"]),
        ({"allow_posinf": True, "allow_neginf": True}, []),
    ],
)
def test_inf(allow, said):
    value = torch.tensor([INF, -INF])
    assert messages(warn_if_inf, value, "x", **allow) == (value, said)


def test_without_a_message():
    assert messages(warn_if_nan, NAN)[1] == ["Encountered NaN."]
    assert messages(warn_if_inf, -INF)[1] == ["Encountered -inf."]


def test_warnings_point_at_the_caller():
    with pytest.warns(UserWarning) as caught:
        warn_if_nan(NAN, "here")
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning) as caught:
        warn_if_inf(torch.tensor(INF), "there", filename="model.py", lineno=7)
    assert (caught[0].filename, caught[0].lineno) == ("model.py", 7)


def test_gradients_are_watched():
    x = torch.tensor(0.0, requires_grad=True)
    y = warn_if_inf(x * 1, "root")
    with pytest.warns(UserWarning, match=r"Encountered \+inf: backward root"):
        torch.sqrt(y).backward()
    x = torch.tensor(0.0, requires_grad=True)
    y = warn_if_nan(x * 1, "root")
    with pytest.warns(UserWarning, match="Encountered NaN: backward root"):
        (torch.sqrt(y) * 0).backward()


def test_predicates():
    assert torch_isnan(NAN) and torch_isnan(torch.tensor([0.0, NAN])) and not torch_isnan(torch.tensor([INF]))
    assert (
        torch_isinf(-INF) and torch_isinf(torch.tensor([0.0, -INF])) and not torch_isinf(torch.tensor([NAN]))
    )
    assert not torch_isnan(1) and not torch_isinf(math.pi)
