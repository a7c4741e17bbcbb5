"""Options by parameter, changes seen at the next step, errors that change nothing, parameters that come and go."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
import torch

from ember import optim
from ember.errors import OptimizerError
from ember.optim import PyroOptim
from ember.params import ParamStoreDict, get_param_store

from .training import give_gradient, leaves


def unconstrained(store: ParamStoreDict) -> list[torch.Tensor]:
    return [leaf for _, leaf in store.named_parameters()]


def fill(store: ParamStoreDict) -> list[torch.Tensor]:
    for name, leaf in zip(("net$$$layer.weight", "loc", "scale", "x"), leaves(), strict=True):
        store[name] = leaf.detach()
    return unconstrained(store)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD, optim.clipped_adam.ClippedAdam])
def test_options_by_full_name(kind: Any, store: ParamStoreDict) -> None:
    rates = {"net.layer.weight": 0.1, "loc": 0.01, "scale": 0.1, "x": 0.0}
    params, expected = fill(store), leaves()
    optimizer = PyroOptim(kind, lambda name: {"lr": rates[name]})
    plain = [kind([param], lr=rate) for param, rate in zip(expected, rates.values(), strict=True)]
    for step in range(20):
        give_gradient(params, step)
        give_gradient(expected, step)
        optimizer(params)
        for each in plain:
            each.step()
    for param, other in zip(params, expected, strict=True):
        torch.testing.assert_close(param, other, rtol=1e-12, atol=1e-12)


def test_options_by_module_and_name(store: ParamStoreDict) -> None:
    seen = []

    def rates(module_name: str, param_name: str) -> dict[str, Any]:
        seen.append((module_name, param_name))
        return {"lr": 0.1}

    optimizer = PyroOptim(torch.optim.SGD, rates)
    optim.StepLR({"optimizer": torch.optim.SGD, "optim_args": rates, "step_size": 1})
    optimizer(fill(store)[:2])
    assert seen == [("net", "layer.weight"), ("loc", "loc")]


def test_options_must_be_dictionaries(store: ParamStoreDict) -> None:
    with pytest.raises(AssertionError, match="optim_args must be function that returns defaults"):
        optim.Adam(0.1)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="per-param optim arg must return defaults dictionary"):
        optim.Adam(lambda name: 0.1)(fill(store))


def test_functions_need_named_parameters() -> None:
    with pytest.raises(OptimizerError, match="in no parameter store"):
        optim.Adam(lambda name: {"lr": 0.1})(leaves())


def test_the_callers_dictionary_is_not_kept() -> None:
    options = {"lr": 0.1}
    optimizer = optim.SGD(options)
    options["lr"] = 99.0
    assert optimizer.pt_optim_args == {"lr": 0.1}


@pytest.mark.parametrize("options", [{"learning_rate": 0.1}, {"lr": -1.0}])
def test_bad_options_change_nothing(options: dict[str, Any], store: ParamStoreDict) -> None:
    params = fill(store)
    give_gradient(params, 0)
    before = [param.detach().clone() for param in params]
    optimizer = optim.Adam(lambda name: options if name == "x" else {"lr": 0.1})
    with pytest.raises((TypeError, ValueError)) as caught:
        optimizer(params)
    assert "while making the optimizer of parameter 'x'" in caught.value.__notes__
    assert len(optimizer.optim_objs) == 0
    assert all(torch.equal(param, value) for param, value in zip(params, before, strict=True))
    assert optimizer.get_state() == {}


def test_constructors_must_make_torch_optimizers() -> None:
    with pytest.raises(OptimizerError, match=r"no torch\.optim\.Optimizer"):
        PyroOptim(lambda params, **options: optim.Adam(options), {"lr": 0.1})(leaves())


def test_lbfgs_says_what_to_do() -> None:
    for make in (optim.LBFGS, lambda options: PyroOptim(torch.optim.LBFGS, options)):
        with pytest.raises(NotImplementedError, match="closure"):
            make({"lr": 1.0})


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD, torch.optim.Muon])
def test_changed_options_are_used_at_the_next_step(kind: Any) -> None:
    shape = "matrix" if kind is torch.optim.Muon else "dense"
    params, expected = leaves(shape), leaves(shape)
    optimizer = PyroOptim(kind, {"lr": 0.1})
    plain = [kind([param], lr=0.1) for param in expected]
    for step in range(6):
        if step >= 2:
            for i, rate in enumerate([0.1 * step, 0.5, 0.1 * step, 0.1]):
                optimizer.optim_objs[params[i]].param_groups[0]["lr"] = rate
                plain[i].param_groups[0]["lr"] = rate
        give_gradient(params, step)
        give_gradient(expected, step)
        optimizer(params)
        for each in plain:
            each.step()
    for param, other in zip(params, expected, strict=True):
        torch.testing.assert_close(param, other, rtol=1e-12, atol=1e-12)


def test_state_loaded_into_one_parameters_optimizer_is_used() -> None:
    params, expected = leaves(), leaves()
    optimizer = optim.Adam({"lr": 0.1})
    plain = [torch.optim.Adam([param], lr=0.1, foreach=False) for param in expected]
    for step in range(3):
        give_gradient(params, step)
        give_gradient(expected, step)
        optimizer(params)
        for each in plain:
            each.step()
    fresh = torch.optim.Adam([torch.zeros(())], lr=0.3).state_dict()
    optimizer.optim_objs[params[0]].load_state_dict(fresh)
    plain[0].load_state_dict(fresh)
    optimizer.optim_objs[params[1]].state.clear()
    plain[1].state.clear()
    for step in range(3, 6):
        give_gradient(params, step)
        give_gradient(expected, step)
        optimizer(params)
        for each in plain:
            each.step()
    for param, other in zip(params, expected, strict=True):
        torch.testing.assert_close(param, other, rtol=1e-12, atol=1e-12)


def test_decaying_rates_come_back_to_the_owners() -> None:
    params = leaves()
    optimizer = optim.ClippedAdam({"lr": 0.1, "lrd": 0.5})
    for step in range(3):
        give_gradient(params[: 2 + step], step)
        optimizer(params[: 2 + step])
    rates = [optimizer.optim_objs[param].param_groups[0]["lr"] for param in params]
    assert rates == [0.1 * 0.5**3, 0.1 * 0.5**3, 0.1 * 0.5**2, 0.1 * 0.5]


def test_plans_are_reused_while_nothing_changes() -> None:
    params = leaves()
    optimizer = optim.Adam({"lr": 0.1})
    give_gradient(params, 0)
    whole, part = optimizer.plan(params), optimizer.plan(params[:2])
    for _ in range(3):
        optimizer(params)
        optimizer(params[:2])
    give_gradient(params, 0)
    assert optimizer.plan(params[:2]) is part
    assert len(optimizer._plans) == 2
    for i in range(40):
        optimizer(params[: 1 + i % 4])
    assert len(optimizer._plans) <= 8
    assert optimizer.plan(params).slots == whole.slots


def test_the_view_can_forget_and_replace() -> None:
    params = leaves()
    optimizer = optim.Adam({"lr": 0.1})
    give_gradient(params, 0)
    optimizer(params)
    assert params[0] in optimizer.optim_objs
    assert all(one is other for one, other in zip(optimizer.optim_objs, params, strict=True))
    del optimizer.optim_objs[params[0]]
    assert params[0] not in optimizer.optim_objs
    optimizer.optim_objs[params[1]] = torch.optim.SGD([params[1]], lr=1.0)
    before = params[1].detach().clone()
    give_gradient(params, 1)
    expected = before - params[1].grad
    optimizer(params)
    torch.testing.assert_close(params[1].detach(), expected)
    assert optimizer.optim_objs[params[0]].state_dict()["state"][0]["step"] == 1
    optimizer.optim_objs.clear()
    assert len(optimizer.optim_objs) == 0
    with pytest.raises(KeyError, match="unconstrained"):
        optimizer.optim_objs[params[0]]


def test_a_forgotten_parameter_starts_afresh() -> None:
    params = leaves()
    optimizer = optim.Adam({"lr": 0.1})
    give_gradient(params, 0)
    optimizer(params)
    optimizer(params)
    del optimizer.optim_objs[params[0]]
    optimizer(params)
    steps = [optimizer.optim_objs[param].state_dict()["state"][0]["step"] for param in params]
    assert steps == [1, 3, 3, 3]


def test_parameters_that_left_the_store_are_dropped(store: ParamStoreDict) -> None:
    optimizer = optim.Adam({"lr": 0.1})
    gone = []
    for step in range(5):
        store.clear()
        params = fill(store)
        gone.append(weakref.ref(params[0]))
        give_gradient(params, step)
        optimizer(params)
        assert len(optimizer.optim_objs) == 4
        assert optimizer.optim_objs[params[0]].state_dict()["state"][0]["step"] == 1
    del params
    gc.collect()
    assert [ref() is None for ref in gone] == [True, True, True, True, False]
    store.clear()
    assert optimizer.get_state() == {}
    assert len(optimizer.optim_objs) == 0
    gc.collect()
    assert gone[-1]() is None


def test_a_parameter_replaced_at_every_step_costs_no_memory(store: ParamStoreDict) -> None:
    optimizer = optim.SGD({"lr": 0.1, "momentum": 0.9})
    for step in range(30):
        store["average"] = torch.zeros(2)
        give_gradient(unconstrained(store), step)
        optimizer(unconstrained(store))
        assert len(optimizer.optim_objs) == 1
        assert len(optimizer._plans) <= 1
    assert optimizer.records.num_parked == 0


def test_a_scope_takes_parameters_away_for_a_while_only() -> None:
    store = ParamStoreDict()
    with store.active():
        outer = fill(store)
        optimizer = optim.Adam({"lr": 0.1})
        give_gradient(outer, 0)
        optimizer(outer)
        inner_state = None
        for step in range(1, 3):
            with store.scope(inner_state) as inner_state:
                if step == 1:
                    fill(store)
                give_gradient(unconstrained(store), step)
                optimizer(unconstrained(store))
                steps = [each["state"][0]["step"] for each in optimizer.get_state().values()]
                assert steps == [step] * 4
        give_gradient(outer, 1)
        optimizer(outer)
        assert [each["state"][0]["step"] for each in optimizer.get_state().values()] == [2] * 4


def test_two_private_stores_keep_both_states() -> None:
    optimizer = optim.Adam({"lr": 0.1})
    stores = [ParamStoreDict(), ParamStoreDict()]
    for i, store in enumerate(stores):
        with store.active():
            fill(store)
            for step in range(i + 1):
                give_gradient(unconstrained(store), step)
                optimizer(unconstrained(store))
    for i, store in enumerate(stores):
        with store.active():
            assert optimizer.get_state()["x"]["state"][0]["step"] == i + 1
    with ParamStoreDict().active(), pytest.raises(OptimizerError, match="several parameter stores"):
        optimizer.get_state()
    del stores[1], store
    gc.collect()
    with ParamStoreDict().active():
        assert optimizer.get_state()["x"]["state"][0]["step"] == 1


def test_the_state_of_a_private_store_is_found_from_outside(store: ParamStoreDict) -> None:
    optimizer = optim.Adam({"lr": 0.1})
    private = ParamStoreDict()
    with private.active():
        fill(private)
        give_gradient(unconstrained(private), 0)
        optimizer(unconstrained(private))
    assert get_param_store() is store
    assert set(optimizer.get_state()) == {"net$$$layer.weight", "loc", "scale", "x"}


def test_unnamed_parameters_have_no_saved_state(store: ParamStoreDict) -> None:
    params = leaves()
    optimizer = optim.Adam({"lr": 0.1})
    give_gradient(params, 0)
    optimizer(params)
    assert optimizer.get_state() == {}
    assert len(optimizer.optim_objs) == 4
    store.set_state(
        {"params": {"late": params[0]}, "constraints": {"late": torch.distributions.constraints.real}}
    )
    assert list(optimizer.get_state()) == ["late"]


def train(result: list[torch.Tensor], seed: int) -> None:
    store = ParamStoreDict()
    with store.active():
        for i, leaf in enumerate(leaves(seed=seed)):
            store[f"p{i}"] = leaf.detach()
        optimizer = optim.ClippedAdam({"lr": 0.1, "lrd": 0.99})
        for step in range(100):
            give_gradient(unconstrained(store), step)
            optimizer(unconstrained(store))
        result.extend(leaf.detach() for leaf in unconstrained(store))


def test_two_threads_get_what_they_get_alone() -> None:
    alone: list[list[torch.Tensor]] = [[], []]
    together: list[list[torch.Tensor]] = [[], []]
    for seed in range(2):
        train(alone[seed], seed)
    threads = [threading.Thread(target=train, args=(together[seed], seed)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone[0] + alone[1], together[0] + together[1], strict=True):
        assert torch.equal(one, other)
