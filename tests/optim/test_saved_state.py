"""Saving and resuming, over every optimizer and scheduler; state that waits; errors that change nothing."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ember import optim
from ember.errors import OptimizerError, SaveFileError
from ember.optim import PyroOptim
from ember.optim.lr_scheduler import PyroLRScheduler
from ember.params import ParamStoreDict

from .tables import RULES, SCHEDULES, Rule, Schedule
from .training import give_gradient, leaves

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning"),
    pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning"),
]


def fill(store: ParamStoreDict, gradient: str = "dense") -> list[torch.Tensor]:
    for i, leaf in enumerate(leaves(gradient)):
        store[f"p{i}"] = leaf.detach()
    return unconstrained(store)


def unconstrained(store: ParamStoreDict) -> list[torch.Tensor]:
    return [leaf for _, leaf in store.named_parameters()]


def train(
    optimizer: PyroOptim, store: ParamStoreDict, steps: range, gradient: str, metric: tuple[float, ...]
) -> None:
    for step in steps:
        params = unconstrained(store)
        touched = params if step >= 3 else params[:-1]
        give_gradient(touched, step, gradient)
        optimizer(touched)
        if isinstance(optimizer, PyroLRScheduler):
            optimizer.step(*metric)


def assert_resumes_exactly(
    make: Callable[[], PyroOptim],
    store: ParamStoreDict,
    path: Path,
    gradient: str = "dense",
    metric: tuple[float, ...] = (),
) -> None:
    fill(store, gradient)
    optimizer = make()
    train(optimizer, store, range(2), gradient, metric)
    optimizer.save(path)
    saved = {name: leaf.detach().clone() for name, leaf in store.named_parameters()}
    train(optimizer, store, range(2, 8), gradient, metric)
    expected = [leaf.detach().clone() for leaf in unconstrained(store)]
    expected_state = optimizer.get_state()

    store.clear()
    for name, value in saved.items():
        store[name] = value
    resumed = make()
    resumed.load(path)
    train(resumed, store, range(2, 8), gradient, metric)
    for leaf, other in zip(unconstrained(store), expected, strict=True):
        assert torch.equal(leaf, other)
    assert_equal_trees(resumed.get_state(), expected_state)


def assert_equal_trees(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal_trees(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_equal_trees(*pair)
    else:
        assert one == other


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.label}-{rule.gradient}")
def test_a_resumed_run_equals_the_run_never_stopped(
    rule: Rule, store: ParamStoreDict, tmp_path: Path
) -> None:
    assert_resumes_exactly(
        lambda: PyroOptim(rule.kind, rule.options), store, tmp_path / "optim.pt", rule.gradient
    )


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.kind.__name__)
def test_a_resumed_schedule_equals_the_one_never_stopped(
    schedule: Schedule, store: ParamStoreDict, tmp_path: Path
) -> None:
    inner = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.1}}
    metric = (1.0,) if schedule.metric else ()
    make = lambda: PyroLRScheduler(schedule.kind, {**inner, **schedule.options})
    assert_resumes_exactly(make, store, tmp_path / "optim.pt", metric=metric)


def test_the_saved_form_is_that_of_pyro(store: ParamStoreDict) -> None:
    params = fill(store)
    optimizer = optim.Adam({"lr": 0.1})
    give_gradient(params, 0)
    optimizer(params)
    state = optimizer.get_state()
    assert list(state) == ["p0", "p1", "p2", "p3"]
    assert set(state["p1"]) == {"state", "param_groups"}
    assert set(state["p1"]["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    assert state["p1"]["state"][0]["step"] == 1
    assert state["p1"]["param_groups"][0]["params"] == [0]
    assert state["p1"]["param_groups"][0]["fused"] is None
    assert state["p1"]["param_groups"][0]["foreach"] is None
    scheduler = optim.StepLR({"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.1}, "step_size": 2})
    scheduler(params)
    assert set(scheduler.get_state()["p0"]) == {"scheduler", "optimizer"}


def pyro_file(params: list[torch.Tensor], kind: Any, **options: Any) -> dict[Any, Any]:
    """What Pyro 1.9 writes: the state dict of one plain torch optimizer a parameter; None for a parameter that is gone."""
    plain = [kind([param], **options) for param in params]
    for step in range(3):
        give_gradient(params, step)
        for each in plain:
            each.step()
    states: dict[Any, Any] = {f"p{i}": each.state_dict() for i, each in enumerate(plain)}
    states[None] = plain[0].state_dict()
    return states


def test_a_file_of_pyro_loads(store: ParamStoreDict, tmp_path: Path) -> None:
    expected = leaves()
    torch.save(pyro_file(expected, torch.optim.Adam, lr=0.1), tmp_path / "pyro.pt")
    for i, leaf in enumerate(expected):
        store[f"p{i}"] = leaf.detach().clone()
    optimizer = optim.Adam({"lr": 99.0})
    optimizer.load(tmp_path / "pyro.pt")
    assert set(optimizer.get_state()) == {"p0", "p1", "p2", "p3"}
    params = unconstrained(store)
    give_gradient(params, 3)
    optimizer(params)
    assert optimizer.optim_objs[params[0]].param_groups[0]["lr"] == 0.1
    assert optimizer.optim_objs[params[0]].state_dict()["state"][0]["step"] == 4


def test_integer_steps_of_pyros_clipped_adam_load(store: ParamStoreDict) -> None:
    params = fill(store)
    make = lambda: optim.ClippedAdam({"lr": 0.1})
    one, other = make(), make()
    for step in range(2):
        give_gradient(params, step)
        one(params)
    state = one.get_state()
    for each in state.values():
        each["state"][0]["step"] = int(each["state"][0]["step"])
    copies = [leaf.detach().clone() for leaf in params]
    give_gradient(params, 2)
    one(params)
    expected = [leaf.detach().clone() for leaf in params]
    for i, value in enumerate(copies):
        store[f"p{i}"] = value
    other.set_state(state)
    params = unconstrained(store)
    give_gradient(params, 2)
    other(params)
    for leaf, value in zip(params, expected, strict=True):
        assert torch.equal(leaf, value)


def test_state_waits_for_its_parameter_and_is_saved_on(store: ParamStoreDict) -> None:
    params = fill(store)
    optimizer = optim.Adam({"lr": 0.1})
    give_gradient(params, 0)
    optimizer(params)
    state = optimizer.get_state()
    store.clear()
    later = optim.Adam({"lr": 0.1})
    later.set_state(state)
    assert_equal_trees(later.get_state(), state)
    params = fill(store)
    give_gradient(params[:1], 1)
    later(params[:1])
    assert later.get_state()["p0"]["state"][0]["step"] == 2
    assert later.get_state()["p3"]["state"][0]["step"] == 1
    give_gradient(params, 1)
    later(params)
    assert later.get_state()["p3"]["state"][0]["step"] == 2
    assert later._state_waiting_to_be_consumed == {}


def test_a_state_is_a_copy(store: ParamStoreDict) -> None:
    params = fill(store)
    optimizer = optim.Adam({"lr": 0.1})
    give_gradient(params, 0)
    optimizer(params)
    state = optimizer.get_state()
    kept = copy.deepcopy(state)
    optimizer(params)
    assert_equal_trees(state, kept)
    optimizer.set_state(state)
    optimizer(params)
    assert_equal_trees(state, kept)


@pytest.mark.parametrize("replace_first", [True, False])
def test_rolling_back_to_a_snapshot(store: ParamStoreDict, replace_first: bool) -> None:
    params = fill(store)
    optimizer = optim.Adam({"lr": 0.1})
    for step in range(2):
        give_gradient(params, step)
        optimizer(params)
    state, values = optimizer.get_state(), [leaf.detach().clone() for leaf in params]
    results = []
    for _ in range(2):
        if replace_first:
            for i, value in enumerate(values):
                store[f"p{i}"] = value.clone()
            optimizer.set_state(state)
        else:
            optimizer.set_state(state)
            for i, value in enumerate(values):
                store[f"p{i}"] = value.clone()
        for step in range(2, 5):
            give_gradient(unconstrained(store), step)
            optimizer(unconstrained(store))
        results.append([leaf.detach().clone() for leaf in unconstrained(store)])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_set_state_reaches_parameters_that_are_in_use(store: ParamStoreDict) -> None:
    params = fill(store)
    optimizer = optim.Adam({"lr": 0.1})
    give_gradient(params, 0)
    optimizer(params)
    state = optimizer.get_state()
    optimizer(params)
    optimizer.set_state(state)
    assert optimizer.optim_objs[params[0]].state_dict()["state"][0]["step"] == 1
    optimizer(params)
    assert optimizer.optim_objs[params[0]].state_dict()["state"][0]["step"] == 2


def good_state(store: ParamStoreDict) -> tuple[PyroOptim, dict[str, Any]]:
    params = fill(store)
    optimizer = optim.Adam({"lr": 0.1})
    give_gradient(params, 0)
    optimizer(params)
    return optimizer, optimizer.get_state()


def spoil_shape(state: dict[str, Any]) -> None:
    state["p3"]["state"][0]["exp_avg"] = torch.zeros(7)


def spoil_groups(state: dict[str, Any]) -> None:
    state["p3"]["param_groups"].append(state["p3"]["param_groups"][0])


def spoil_kind(state: dict[str, Any]) -> None:
    state["p3"] = torch.optim.SGD([torch.zeros(1)], lr=0.1).state_dict()


def spoil_form(state: dict[str, Any]) -> None:
    state["p3"] = {"weights": torch.zeros(3)}


def spoil_schedule(state: dict[str, Any]) -> None:
    state["p3"] = {"scheduler": {}, "optimizer": state["p3"]}


@pytest.mark.parametrize("spoil", [spoil_shape, spoil_groups, spoil_kind, spoil_form, spoil_schedule])
def test_a_bad_state_changes_nothing(
    spoil: Callable[[dict[str, Any]], None], store: ParamStoreDict, tmp_path: Path
) -> None:
    optimizer, state = good_state(store)
    before = optimizer.get_state()
    state["p0"]["state"][0]["exp_avg"] += 1.0
    spoil(state)
    with pytest.raises(OptimizerError, match="p3"):
        optimizer.set_state(state)
    torch.save(state, tmp_path / "bad.pt")
    with pytest.raises(SaveFileError, match=r"bad\.pt.*p3"):
        optimizer.load(tmp_path / "bad.pt")
    assert_equal_trees(optimizer.get_state(), before)
    assert optimizer._state_waiting_to_be_consumed == {}


def test_a_bad_state_that_waited_changes_nothing(store: ParamStoreDict) -> None:
    _, state = good_state(store)
    for key in ("exp_avg", "exp_avg_sq"):
        state["p3"]["state"][0][key] = torch.zeros(7)
    optimizer = optim.Adam({"lr": 0.1})
    optimizer.set_state(state)
    params = unconstrained(store)
    values = [leaf.detach().clone() for leaf in params]
    with pytest.raises(OptimizerError, match=r"'p3' has exp_avg of shape \(7,\)"):
        optimizer(params)
    assert len(optimizer.optim_objs) == 0
    assert all(torch.equal(leaf, value) for leaf, value in zip(params, values, strict=True))


def test_a_schedules_state_needs_the_same_schedule(store: ParamStoreDict) -> None:
    params = fill(store)
    inner = {"optimizer": torch.optim.SGD, "optim_args": {"lr": 0.1}}
    one = optim.ExponentialLR({**inner, "gamma": 0.5})
    one(params)
    other = optim.StepLR({**inner, "step_size": 3})
    other(params)
    before = other.get_state()
    with pytest.raises(OptimizerError, match="not of StepLR: it lacks step_size"):
        other.set_state(one.get_state())
    with pytest.raises(OptimizerError, match="has no scheduler's part"):
        other.set_state({name: state["optimizer"] for name, state in one.get_state().items()})
    assert_equal_trees(other.get_state(), before)


@pytest.mark.parametrize("content", [b"", b"not a torch file", b"PK\x03\x04broken"])
def test_corrupt_files_say_so(content: bytes, store: ParamStoreDict, tmp_path: Path) -> None:
    optimizer, before = good_state(store)
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(SaveFileError, match=r"bad\.pt"):
        optimizer.load(tmp_path / "bad.pt")
    assert_equal_trees(optimizer.get_state(), before)


def test_foreign_files_say_so(store: ParamStoreDict, tmp_path: Path) -> None:
    optimizer, before = good_state(store)
    for content in ([1, 2], {"params": torch.zeros(2)}, {3: {}}):
        torch.save(content, tmp_path / "foreign.pt")
        with pytest.raises(SaveFileError, match=r"foreign\.pt"):
            optimizer.load(tmp_path / "foreign.pt")
    assert_equal_trees(optimizer.get_state(), before)


def test_a_crash_while_saving_leaves_the_old_file(
    store: ParamStoreDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer, before = good_state(store)
    path = tmp_path / "optim.pt"
    optimizer.save(path)
    optimizer(unconstrained(store))

    def crash(obj: object, file: Any) -> None:
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(KeyboardInterrupt):
        optimizer.save(path)
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["optim.pt"]
    fresh = optim.Adam({"lr": 0.1})
    fresh.load(path)
    assert_equal_trees(fresh.get_state(), before)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_and_pickles_go_on_from_the_same_state(duplicate: Any, store: ParamStoreDict) -> None:
    params = fill(store)
    optimizer = optim.Adam({"lr": 0.1}, {"clip_norm": 5.0})
    give_gradient(params, 0)
    optimizer(params)
    twin = duplicate(optimizer)
    values = [leaf.detach().clone() for leaf in params]
    give_gradient(params, 1)
    optimizer(params)
    expected = [leaf.detach().clone() for leaf in params]
    with torch.no_grad():
        for leaf, value in zip(params, values, strict=True):
            leaf.copy_(value)
    give_gradient(params, 1)
    twin(params)
    assert all(torch.equal(leaf, value) for leaf, value in zip(params, expected, strict=True))
