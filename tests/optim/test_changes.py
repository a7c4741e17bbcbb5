"""Every change of options and state is counted; copies and files hold plain dicts."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from ember.optim import PyroOptim
from ember.optim.changes import Changes, States, Watched

from .training import give_gradient, leaves


def augmented(options: dict[str, Any]) -> None:
    options |= {"lr": 0.2}


CHANGES: list[Callable[[dict[str, Any]], Any]] = [
    lambda options: options.__setitem__("lr", 0.2),
    lambda options: options.__setitem__("new", None),
    lambda options: options.__delitem__("lr"),
    lambda options: options.update(lr=0.2),
    lambda options: options.update({"lr": 0.2}),
    augmented,
    lambda options: options.setdefault("new"),
    lambda options: options.pop("lr"),
    lambda options: options.popitem(),
    lambda options: options.clear(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_way_to_change_a_dict_counts(change: Callable[[dict[str, Any]], Any]) -> None:
    changes, plain = Changes(), {"lr": 0.1, "eps": 1.0}
    watched = Watched(dict(plain), changes)
    change(watched)
    change(plain)
    assert dict(watched) == plain
    assert changes.number > 0


def test_the_same_value_again_is_no_change() -> None:
    changes, tensor = Changes(), torch.zeros(2)
    watched: Watched[str, Any] = Watched({"lr": 0.1, "step": tensor}, changes)
    watched["lr"] = float("0.1")
    watched.update(step=tensor)
    watched.setdefault("lr", 7.0)
    assert changes.number == 0
    watched["step"] = tensor.clone()
    assert changes.number == 1


def test_state_is_counted_at_all_depths() -> None:
    changes, param = Changes(), torch.zeros(2)
    states = States({}, changes)
    states[param]["step"] = 1
    first = changes.number
    states[param] = {"step": 2}  # type: ignore[assignment]
    second = changes.number
    states[param]["step"] = 3
    assert 0 < first < second < changes.number


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_are_plain(duplicate: Callable[[Any], Any]) -> None:
    changes = Changes()
    copied = duplicate(Watched({"lr": 0.1}, changes))
    copied["lr"] = 0.2
    assert not isinstance(copied, Watched) and copied == {"lr": 0.2}
    assert changes.number == 0


def test_files_of_a_parameters_optimizer_load_without_trust() -> None:
    optimizer, params = PyroOptim(torch.optim.Adam, {"lr": 0.1}), leaves()
    give_gradient(params, 0)
    optimizer(params)
    shown = optimizer.optim_objs[params[1]]
    file = io.BytesIO()
    torch.save(shown.state_dict(), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    twin = torch.optim.Adam([params[1].detach().clone().requires_grad_()], lr=0.5)
    twin.load_state_dict(loaded)
    assert twin.param_groups[0]["lr"] == 0.1
    assert torch.equal(loaded["state"][0]["exp_avg"], shown.state[params[1]]["exp_avg"])
    assert copy.deepcopy(shown).state_dict()["param_groups"] == shown.state_dict()["param_groups"]


def test_torch_optimizers_are_made_when_somebody_asks() -> None:
    optimizer, params = PyroOptim(torch.optim.Adam, {"lr": 0.1}), leaves()
    give_gradient(params, 0)
    optimizer(params)
    records = list(optimizer.records)
    assert all(record.template is records[0].template for record in records)
    shown = optimizer.optim_objs[params[0]]
    assert type(shown) is torch.optim.Adam and shown.param_groups[0]["params"][0] is params[0]
    assert optimizer.optim_objs[params[0]] is shown
    shown.param_groups[0]["lr"] = 0.0
    before = params[0].detach().clone()
    give_gradient(params, 1)
    optimizer(params)
    assert torch.equal(params[0], before) and not torch.equal(params[1], leaves()[1])
    shown.param_groups[0]["lr"] = 0.1
    shown.step()
    assert not torch.equal(params[0], before) and shown.state[params[0]]["step"] == 3
