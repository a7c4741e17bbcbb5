"""Deep copies that change their tensors."""

from __future__ import annotations

import torch
from torch import nn

import ember.pyro
from ember.distributions.copying import deep_to, detach


def test_all_tensors_are_moved_and_the_original_stays() -> None:
    shared = torch.ones(2)
    d = torch.distributions.Normal(shared, torch.ones(2))
    moved = deep_to({"d": d, "again": shared, "net": nn.Linear(2, 1)}, torch.float64)
    assert moved["d"].loc.dtype == moved["net"].weight.dtype == torch.float64
    assert moved["d"].loc is moved["d"].loc and isinstance(moved["net"].weight, nn.Parameter)
    assert d.loc.dtype == torch.float32


def test_histories_are_left_behind() -> None:
    w = torch.ones(2, requires_grad=True)
    d = detach(torch.distributions.Normal(w * 2, 1.0))
    assert not d.loc.requires_grad and d.loc.tolist() == [2.0, 2.0]


def test_they_are_where_programs_import_them() -> None:
    with ember.pyro.installed():
        from pyro.distributions.util import deep_to as there

        assert there is deep_to
