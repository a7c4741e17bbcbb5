"""The recorded update: on flat buffers, with the numbers of eager steps; what is shown lies in the buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ember.errors import CaptureError
from ember.optim import PyroOptim
from ember.optim.traced import Outdated, TracedUpdate

from .tables import RULES, Rule
from .training import give_gradient, leaves

UNTRACED = (torch.optim.Adafactor, torch.optim.Muon, torch.optim.SparseAdam)
RECORDED = [
    rule
    for rule in RULES
    if rule.gradient == "dense"
    and rule.kind not in UNTRACED
    and not any(isinstance(value, Tensor) for value in rule.options.values())
]
CLIPS = [
    {},
    {"clip_norm": 0.3},
    {"clip_value": 0.2},
    {"clip_global_norm": 0.5},
    {"clip_norm": 0.8, "clip_value": 0.1},
]


def many() -> list[Tensor]:
    """Parameters of several shapes, some of them alike, not in the order of their shapes."""
    return leaves() + leaves(seed=1)


def started(make: Callable[[], PyroOptim], steps: int = 1) -> tuple[PyroOptim, list[Tensor]]:
    optimizer, params = make(), many()
    for step in range(steps):
        give_gradient(params, step)
        optimizer(params)
    return optimizer, params


def take(update: TracedUpdate, params: list[Tensor], step: int, good: bool | None = None) -> None:
    give_gradient(params, step)
    grads = [None if param.grad is None else param.grad.clone() for param in params]
    with torch.no_grad():
        update.apply(
            [param.detach() for param in params],
            grads,
            update.tensors,
            None if good is None else torch.tensor(good),
        )
    update.write_back()


def assert_same(optimizer: PyroOptim, params: list[Tensor], other: PyroOptim, expected: list[Tensor]) -> None:
    for param, value in zip(params, expected, strict=True):
        torch.testing.assert_close(param, value, rtol=1e-11, atol=1e-12)
        own, others = optimizer.optim_objs[param], other.optim_objs[value]
        assert own.state[param].keys() == others.state[value].keys()
        for key, tensor in own.state[param].items():
            torch.testing.assert_close(tensor, others.state[value][key], rtol=1e-11, atol=1e-12)
            assert tensor.shape == others.state[value][key].shape
        rates = [each.param_groups[0].get("lr", 0.0) for each in (own, others)]
        assert rates[0] == pytest.approx(rates[1], rel=1e-14)


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: "-".join(clip) or "free")
@pytest.mark.parametrize("rule", RECORDED, ids=lambda rule: rule.label)
def test_steps_are_those_of_eager_execution(rule: Rule, clip: dict[str, float]) -> None:
    make = lambda: PyroOptim(rule.kind, rule.options, clip)
    eager, expected = started(make)
    recorded, params = started(make)
    update = TracedUpdate(recorded.plan(params))
    for step in range(1, 6):
        give_gradient(expected, step)
        eager(expected)
        take(update, params, step)
    assert_same(recorded, params, eager, expected)
    assert update.outdated(recorded.records) is None


@pytest.mark.parametrize("rule", RECORDED, ids=lambda rule: rule.label)
def test_a_bad_step_changes_nothing(rule: Rule) -> None:
    recorded, params = started(lambda: PyroOptim(rule.kind, rule.options))
    update = TracedUpdate(recorded.plan(params))
    take(update, params, 1, good=True)
    before = [tensor.clone() for tensor in [*params, *update.tensors]]
    take(update, params, 2, good=False)
    assert all(torch.equal(a, b) for a, b in zip([*params, *update.tensors], before, strict=True))
    take(update, params, 2, good=True)
    assert not torch.equal(params[0], before[0])


def test_the_state_of_a_group_is_one_tensor_a_key_and_what_is_shown_are_views() -> None:
    recorded, params = started(lambda: PyroOptim(torch.optim.Adam, {"lr": 0.1}))
    held = recorded.optim_objs[params[1]].state[params[1]]["exp_avg"]
    update = TracedUpdate(recorded.plan(params))
    assert len(update.tensors) == 4
    for param in params:
        state = recorded.optim_objs[param].state[param]
        assert state["exp_avg"].shape == param.shape and state["step"].shape == ()
        assert state["exp_avg"].untyped_storage().data_ptr() == update.tensors[1].data_ptr()
    before = held.clone()
    take(update, params, 1)
    assert held is recorded.optim_objs[params[1]].state[params[1]]["exp_avg"]
    assert not torch.equal(held, before)


def test_steps_of_some_parameters_and_of_all_share_their_state() -> None:
    make = lambda: PyroOptim(torch.optim.Adam, {"lr": 0.1})
    eager, expected = started(make)
    recorded, params = started(make)
    updates = [TracedUpdate(recorded.plan(params)), TracedUpdate(recorded.plan(params[2:5]))]
    for step in range(1, 9):
        touched = slice(2, 5) if step % 3 == 0 else slice(None)
        give_gradient(expected[touched], step)
        eager(expected[touched])
        if step % 4 == 3:
            give_gradient(params[touched], step)
            recorded(params[touched])
        else:
            take(updates[step % 3 == 0], params[touched], step)
        assert all(update.outdated(recorded.records) is None for update in updates)
    assert_same(recorded, params, eager, expected)


def test_a_parameter_without_a_gradient_is_left_alone() -> None:
    make = lambda: PyroOptim(torch.optim.Adam, {"lr": 0.1, "weight_decay": 0.1})
    eager, expected = started(make)
    recorded, params = started(make)
    update = TracedUpdate(recorded.plan(params))
    for step in range(1, 4):
        for group in (params, expected):
            give_gradient(group, step)
            group[3].grad = None
        eager(expected)
        grads = [param.grad for param in params]
        with torch.no_grad():
            update.apply([param.detach() for param in params], grads, update.tensors)
    assert_same(recorded, params, eager, expected)


def test_large_complex_and_mixed_parameters() -> None:
    def made() -> tuple[PyroOptim, list[Tensor]]:
        generator = torch.Generator().manual_seed(0)
        params = [
            torch.randn(shape, dtype=dtype, generator=generator).requires_grad_()
            for shape in [(5000,), (3,), (), (3,)]
            for dtype in (torch.float32, torch.float64, torch.complex128)
        ]
        return PyroOptim(torch.optim.Adam, {"lr": 0.1}), params

    (eager, expected), (recorded, params) = made(), made()
    for optimizer, group in ((eager, expected), (recorded, params)):
        for param in group:
            param.grad = param.detach() - 1
        optimizer(group)
    update = TracedUpdate(recorded.plan(params))
    for _ in range(3):
        for group in (expected, params):
            for param in group:
                param.grad = param.detach() - 1
        eager(expected)
        with torch.no_grad():
            update.apply([p.detach() for p in params], [p.grad for p in params], update.tensors)
    for param, other in zip(params, expected, strict=True):
        torch.testing.assert_close(param, other)


def cleared(optimizer: PyroOptim, param: Tensor) -> None:
    optimizer.optim_objs[param].state.clear()


def cleared_inside(optimizer: PyroOptim, param: Tensor) -> None:
    optimizer.optim_objs[param].state[param].clear()


def popped(optimizer: PyroOptim, param: Tensor) -> None:
    optimizer.optim_objs[param].state.pop(param)


def replaced(optimizer: PyroOptim, param: Tensor) -> None:
    optimizer.optim_objs[param].state[param]["exp_avg"] = torch.ones_like(param)


def new_state(optimizer: PyroOptim, param: Tensor) -> None:
    optimizer.optim_objs[param].state = {}


def loaded(optimizer: PyroOptim, param: Tensor) -> None:
    own = optimizer.optim_objs[param]
    own.load_state_dict(own.state_dict())


def forgotten(optimizer: PyroOptim, param: Tensor) -> None:
    del optimizer.optim_objs[param]


def other_class(optimizer: PyroOptim, param: Tensor) -> None:
    optimizer.optim_objs[param] = torch.optim.SGD([param], lr=0.1)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(
    "change", [cleared, cleared_inside, popped, replaced, new_state, loaded, forgotten, other_class]
)
def test_another_state_is_noticed(change: Callable[[PyroOptim, Tensor], None], held: bool) -> None:
    recorded, params = started(lambda: PyroOptim(torch.optim.Adam, {"lr": 0.1}))
    if held:
        assert len(list(recorded.optim_objs.values())) == len(params)
    update = TracedUpdate(recorded.plan(params))
    assert update.outdated(recorded.records) is None
    change(recorded, params[2])
    assert update.outdated(recorded.records) is Outdated.STATE
    give_gradient(params, 1)
    recorded(params)
    again = TracedUpdate(recorded.plan(params))
    take(again, params, 2)
    assert again.outdated(recorded.records) is None


def hooked(optimizer: PyroOptim, param: Tensor) -> None:
    optimizer.optim_objs[param].register_step_post_hook(lambda *_: None)


def decayed(optimizer: PyroOptim, param: Tensor) -> None:
    optimizer.optim_objs[param].param_groups[0]["weight_decay"] = 0.3


def other_group(optimizer: PyroOptim, param: Tensor) -> None:
    own = optimizer.optim_objs[param]
    own.param_groups = [{**own.param_groups[0], "eps": 0.1}]


def more_groups(optimizer: PyroOptim, param: Tensor) -> None:
    optimizer.optim_objs[param].add_param_group({"params": [torch.zeros(1)]})


@pytest.mark.parametrize("change", [hooked, decayed, other_group, more_groups])
def test_other_options_are_noticed(change: Callable[[PyroOptim, Tensor], None]) -> None:
    recorded, params = started(lambda: PyroOptim(torch.optim.Adam, {"lr": 0.1}))
    update = TracedUpdate(recorded.plan(params))
    change(recorded, params[2])
    assert update.outdated(recorded.records) is Outdated.OPTIONS


def test_new_rates_are_taken_up() -> None:
    make = lambda: PyroOptim(torch.optim.Adam, {"lr": 0.1})
    eager, expected = started(make)
    recorded, params = started(make)
    update = TracedUpdate(recorded.plan(params))
    for step in range(1, 5):
        for optimizer, group in ((eager, expected), (recorded, params)):
            for param in group:
                optimizer.optim_objs[param].param_groups[0]["lr"] = 0.1 / step
        give_gradient(expected, step)
        eager(expected)
        assert update.outdated(recorded.records) is None
        take(update, params, step)
    assert_same(recorded, params, eager, expected)
    recorded.optim_objs[params[0]].param_groups[0]["lr"] = 7.0
    assert update.outdated(recorded.records) is Outdated.OPTIONS


def test_nothing_is_compared_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, params = started(lambda: PyroOptim(torch.optim.Adam, {"lr": 0.1}), steps=2)
    update = TracedUpdate(recorded.plan(params))
    for name in ("follow", "hold"):
        monkeypatch.setattr(recorded.records, name, lambda *_: pytest.fail("compared"))
    for step in range(3):
        assert update.outdated(recorded.records) is None
        take(update, params, step)
        recorded(params)


class Plain(torch.optim.Optimizer):
    """A class that updates each parameter by itself, with state and a rate that it changes."""

    parameterwise = True

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["lr"] *= 0.9
            for p in group["params"]:
                if p.grad is not None:
                    state = self.state[p]
                    if not state:
                        state["sum"] = torch.zeros_like(p)
                    state["sum"].add_(p.grad)
                    p.add_(state["sum"], alpha=-group["lr"])


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: "-".join(clip) or "free")
def test_a_foreign_class_is_recorded_by_its_own_code(clip: dict[str, float]) -> None:
    compiling = torch.compiler.is_compiling
    make = lambda: PyroOptim(Plain, {"lr": 0.1}, clip)
    eager, expected = started(make)
    recorded, params = started(make)
    update = TracedUpdate(recorded.plan(params))
    for step in range(1, 5):
        give_gradient(expected, step)
        eager(expected)
        take(update, params, step)
        before = [tensor.clone() for tensor in [*params, *update.tensors]]
        take(update, params, step, good=False)
        assert all(torch.equal(a, b) for a, b in zip([*params, *update.tensors], before, strict=True))
    assert_same(recorded, params, eager, expected)
    assert torch.compiler.is_compiling is compiling


def test_state_that_would_come_into_being_in_a_recorded_step_is_refused() -> None:
    params = many()
    optimizer = PyroOptim(torch.optim.Adam, {"lr": 0.1})
    update = TracedUpdate(optimizer.plan(params))
    with pytest.raises(CaptureError, match=r"Adam: None.*comes into being"):
        take(update, params, 0)


def test_a_private_key_of_the_state_stays_as_it_is() -> None:
    recorded, params = started(lambda: PyroOptim(torch.optim.Adam, {"lr": 0.1}))
    recorded.optim_objs[params[0]].state[params[0]]["mine"] = torch.arange(7)
    update = TracedUpdate(recorded.plan(params))
    take(update, params, 1)
    assert update.outdated(recorded.records) is None
    assert recorded.optim_objs[params[0]].state[params[0]]["mine"].tolist() == [*range(7)]


def test_parameters_of_at_most_4096_entries_share_a_buffer() -> None:
    params = [torch.zeros(size, requires_grad=True) for size in (4096, 3, 4097)]
    optimizer = PyroOptim(torch.optim.Adam, {"lr": 0.1})
    give_gradient(params, 0)
    optimizer(params)
    update = TracedUpdate(optimizer.plan(params))
    held = [
        optimizer.optim_objs[param].state[param]["exp_avg"].untyped_storage().data_ptr() for param in params
    ]
    assert held[0] == held[1] != held[2] and len(update.tensors) > 0
