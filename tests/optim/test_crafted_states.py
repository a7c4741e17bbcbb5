"""States that somebody wrote or changed by hand: what cannot work is told on loading, with its place and the way out."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ember import optim
from ember.errors import OptimizerError, SaveFileError
from ember.optim import PyroOptim
from ember.optim.lr_scheduler import PyroLRScheduler
from ember.params import ParamStoreDict

from .tables import RULES, Rule
from .test_saved_state import assert_equal_trees, fill, unconstrained
from .training import give_gradient

pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")

NAN = math.nan
LR = {"lr": 0.1}
ADAM = (torch.optim.Adam, LR)
GOOD = torch.full((2, 3), 0.5)
# The class and its options, where in the state, what is put there (... for: taken away), what the error says.
BAD: list[tuple[tuple[Any, dict[str, Any]], str, object, str]] = [
    (ADAM, "lr", "fast", r"'p1' has lr='fast'.*one finite number.*Mend it, or take 'p1' out"),
    (ADAM, "lr", NAN, r"'p1' has lr=nan.*one finite number"),
    (ADAM, "lr", math.inf, r"'p1' has lr=inf.*one finite number"),
    (ADAM, "lr", None, r"'p1' has lr=None.*one finite number"),
    (ADAM, "lr", torch.tensor([0.1, 0.2]), r"'p1' has lr=a tensor of shape \(2,\).*one finite number"),
    (ADAM, "lr", torch.tensor(NAN), r"'p1' has lr=.*one finite number"),
    (ADAM, "lr", -1.0, r"'p1' has lr=-1.0, which Adam does not take: Invalid learning rate"),
    (ADAM, "betas", (0.9,), r"'p1' has betas=\(0.9,\).*must be 2 numbers"),
    (ADAM, "betas", 0.9, r"'p1' has betas=0.9.*must be 2 numbers"),
    (ADAM, "betas", (0.9, 1.5), r"'p1' has betas=\(0.9, 1.5\), which Adam does not take: Invalid beta"),
    (ADAM, "betas", (0.9, NAN), r"'p1' has betas=\(0.9, nan\)"),
    (ADAM, "betas", ("a", "b"), r"'p1' has betas=\('a', 'b'\), which Adam does not take"),
    (ADAM, "eps", NAN, r"'p1' has eps=nan"),
    (ADAM, "eps", [1e-8], r"'p1' has eps=\[1e-08\].*must be a number"),
    (ADAM, "amsgrad", "yes", r"'p1' has amsgrad='yes'.*must be True or False"),
    (ADAM, "amsgrad", True, r"'p1' lacks max_exp_avg_sq, which every step of Adam reads"),
    (ADAM, "momentum", 0.9, r"'p1' has momentum=0.9. Adam has no such option: it takes lr, betas"),
    (ADAM, "initial_lr", "slow", r"'p1' has initial_lr='slow'"),
    (
        ADAM,
        "state.exp_avg",
        ...,
        r"'p1' lacks exp_avg, which every step of Adam reads: it has step, exp_avg_sq",
    ),
    (ADAM, "state.step", ..., r"'p1' lacks step"),
    (ADAM, "state.step", "three", r"'p1' has step='three', which must be one number"),
    (ADAM, "state.step", NAN, r"'p1' has step=nan, which must be finite"),
    (ADAM, "state.step", -2, r"'p1' has step=-2.0, which must be finite and not negative"),
    (ADAM, "state.step", torch.ones(3), r"'p1' has step=a tensor of shape \(3,\), which must be one number"),
    (ADAM, "state.exp_avg", [0.0], r"'p1' has exp_avg=\[0.0\], which must be a tensor"),
    (ADAM, "state.exp_avg", torch.tensor(0.0), r"'p1' has exp_avg\w* of shape \(.*\), but"),
    (ADAM, "state.exp_avg", torch.zeros(6), r"'p1' has exp_avg\w* of shape \(.*\), but"),
    (
        ADAM,
        "state.exp_avg",
        torch.ones(2, 3, dtype=torch.int64),
        r"exp_avg of torch.int64, which must be of a fl",
    ),
    (
        ADAM,
        "state.weight",
        GOOD,
        r"'p1' has weight=a tensor.*which Adam does not keep: it keeps step, exp_avg",
    ),
    (ADAM, "state", 5, r"'p1' is no torch optimizer's"),
    (
        ADAM,
        "state",
        {5: {}},
        r"'p1' is of 5 in 'state', but of 0 in 'param_groups': its entries would be lost",
    ),
    (ADAM, "state", {0: 3.0}, r"'p1' has state=3.0. It must be a dictionary"),
    (ADAM, "params", 0, r"'p1' is not that of one parameter"),
    (
        (torch.optim.Adagrad, LR),
        "state",
        {},
        r"'p1' lacks step, which every step of Adagrad reads: it has nothing",
    ),
    (
        (torch.optim.SGD, LR),
        "nesterov",
        True,
        r"'p1' has lr=.*nesterov=True.*which SGD does not take: Nesterov",
    ),
    ((torch.optim.RMSprop, LR), "momentum", 0.5, r"'p1' lacks momentum_buffer"),
    ((optim.clipped_adam.ClippedAdam, LR), "lrd", "slow", r"'p1' has lrd='slow'.*must be a number"),
    ((optim.clipped_adam.ClippedAdam, LR), "clip_norm", NAN, r"'p1' has clip_norm=nan"),
    ((optim.adagrad_rmsprop.AdagradRMSProp, {}), "state.sum", ..., r"'p1' lacks sum"),
    ((torch.optim.Adafactor, LR), "lr", "fast", r"'p1' has lr='fast'"),
    (
        (torch.optim.Adafactor, LR),
        "d",
        0.1,
        r"'p1' has d=0.1, which Adafactor does not take: Clipping threshold",
    ),
]


def trained(store: ParamStoreDict, optimizer: PyroOptim) -> PyroOptim:
    params = fill(store)
    for step in range(2):
        give_gradient(params, step)
        optimizer(params)
    return optimizer


def spoil(state: dict[str, Any], place: str, value: object) -> None:
    first, _, rest = place.partition(".")
    holder, key = (state["state"][0], rest) if rest else (state, first)
    if not rest and first != "state":
        holder = state["param_groups"][0]
    if value is ...:
        del holder[key]
    else:
        holder[key] = value


@pytest.mark.parametrize("is_known", [True, False], ids=["in use", "waiting"])
@pytest.mark.parametrize(
    ("kind", "place", "value", "error"), BAD, ids=[f"{k[0].__name__}-{p}-{v}" for k, p, v, _ in BAD]
)
def test_a_state_that_cannot_work_is_told_on_loading(
    kind: tuple[Any, dict[str, Any]],
    place: str,
    value: object,
    error: str,
    is_known: bool,
    store: ParamStoreDict,
    tmp_path: Path,
) -> None:
    optimizer = trained(store, PyroOptim(*kind))
    state = optimizer.get_state()
    state["p0"]["param_groups"][0]["weight_decay"] = 0.5  # a good change, which must not be taken up alone
    if "weight_decay" not in optimizer.get_state()["p0"]["param_groups"][0]:
        del state["p0"]["param_groups"][0]["weight_decay"]
    spoil(state["p1"], place, value)
    if not is_known:
        optimizer = PyroOptim(*kind)
    before = optimizer.get_state()
    with pytest.raises(OptimizerError, match=error):
        optimizer.set_state(state)
    torch.save(state, tmp_path / "crafted.pt")
    with pytest.raises(SaveFileError, match=rf"crafted\.pt.*{error}"):
        optimizer.load(tmp_path / "crafted.pt")
    assert_equal_trees(optimizer.get_state(), before)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.label}-{rule.gradient}")
def test_what_was_saved_loads(rule: Rule, store: ParamStoreDict) -> None:
    fill(store, rule.gradient)
    params = unconstrained(store)
    optimizer = PyroOptim(rule.kind, rule.options)
    for taken in range(2):
        for step in range(taken):
            give_gradient(params, step, rule.gradient)
            optimizer(params)
        state = optimizer.get_state()
        optimizer.set_state(state)
        assert_equal_trees(optimizer.get_state(), state)
        PyroOptim(rule.kind, rule.options).set_state(state)


def older(state: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """As earlier versions of torch, Pyro and Ember wrote it."""
    for name, change in {
        "steps as Python's numbers": lambda each: each["state"][0].update(step=2),
        "without later options": lambda each: [
            each["param_groups"][0].pop(key, None)
            for key in ("decoupled_weight_decay", "fused", "differentiable")
        ],
        "before the first step": lambda each: each["state"].clear(),
        "betas as a list": lambda each: each["param_groups"][0].update(betas=[0.9, 0.99]),
        "the rate of a schedule": lambda each: each["param_groups"][0].update(initial_lr=0.2),
        "named parameters": lambda each: each["param_groups"][0].update(param_names=["p"]),
        "numbered otherwise": lambda each: (
            each["state"].update({3: each["state"].pop(0)}),
            each["param_groups"][0].update(params=[3]),
        ),
    }.items():
        made = copy.deepcopy(state)
        for each in made.values():
            change(each)
        yield name, made


def test_what_older_versions_wrote_loads(store: ParamStoreDict) -> None:
    optimizer = trained(store, optim.Adam({"lr": 0.1}))
    state = optimizer.get_state()
    for name, made in older(state):
        for user in (optimizer, optim.Adam({"lr": 0.3})):
            user.set_state(made)
            give_gradient(unconstrained(store), 1)
            user(unconstrained(store))
            assert user.get_lr() == dict.fromkeys(state, 0.1), name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("last_epoch", "two"),
        ("base_lrs", ["a"]),
        ("base_lrs", 3.0),
        ("gamma", NAN),
        ("gamma", None),
        ("_last_lr", [NAN]),
    ],
)
def test_a_schedule_that_cannot_work(key: str, value: object, store: ParamStoreDict) -> None:
    options = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.1}, "gamma": 0.5}
    optimizer = trained(store, PyroLRScheduler(torch.optim.lr_scheduler.ExponentialLR, options))
    before = optimizer.get_state()
    state = optimizer.get_state()
    state["p1"]["scheduler"][key] = value
    with pytest.raises(OptimizerError, match=rf"'p1' has {key}=.* for ExponentialLR"):
        optimizer.set_state(state)
    assert_equal_trees(optimizer.get_state(), before)


def test_classes_that_nobody_knows_are_asked_for_their_rate_only(store: ParamStoreDict) -> None:
    class Own(torch.optim.SGD):
        def __init__(self, params: Any, lr: float, mood: str) -> None:
            super().__init__(params, lr)
            self.param_groups[0]["mood"] = mood

    optimizer = trained(store, PyroOptim(Own, {"lr": 0.1, "mood": "good"}))
    state = optimizer.get_state()
    state["p1"]["param_groups"][0]["mood"] = "bad"
    state["p1"]["state"] = {0: {"memory": [1, 2]}}
    optimizer.set_state(state)
    assert optimizer.get_state()["p1"]["param_groups"][0]["mood"] == "bad"
    state["p1"]["param_groups"][0]["lr"] = "fast"
    with pytest.raises(OptimizerError, match="lr='fast'"):
        optimizer.set_state(state)


STATES = torch.load(Path(__file__).parent / "data" / "pyro_1_9_2_optimizers.save")


PYRO_OPTIONS: dict[str, dict[str, Any]] = {
    "AdagradRMSProp": {},
    "ExponentialLR": {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.5}, "gamma": 0.5},
}


@pytest.mark.parametrize("name", STATES)
def test_what_pyro_wrote_loads(name: str, store: ParamStoreDict) -> None:
    state = STATES[name]
    for before in (True, False):
        store.clear()
        store["loc"], store["scale"] = torch.zeros(2, 3), torch.tensor(1.0)
        optimizer = getattr(optim, name)(PYRO_OPTIONS.get(name, {"lr": 0.5}))
        params = unconstrained(store)
        if not before:
            give_gradient(params, 0)
            optimizer(params)
        optimizer.set_state(state)
        give_gradient(params, 0)
        optimizer(params)
        assert all(leaf.isfinite().all() for leaf in params)
        (entry,) = (
            optimizer.get_state()["loc"].get("optimizer", optimizer.get_state()["loc"])["state"].values()
        )
        assert entry.get("step", torch.tensor(4.0)).max() == 4
