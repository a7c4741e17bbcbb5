"""The store: constrained values over unconstrained leaves, by name."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import ember
from ember.distributions import constraints
from ember.errors import ParameterError, UnknownParameterError
from ember.params import ParamStoreDict, normalize_param_name, param_with_module_name
from ember.params import module_from_param_with_module_name as module_part
from ember.params import user_param_name as user_part


@pytest.fixture
def store():
    return ember.get_param_store()


def maps(store):
    """All that the store holds, for comparison before and after."""
    return dict(store._params), dict(store._param_to_name), dict(store._constraints)


def test_values_are_constrained_and_leaves_are_not(store):
    x = store.setdefault("x", torch.tensor([0.5, 2.0]), constraints.positive)
    leaf = store._params["x"]
    assert x.unconstrained() is leaf and leaf.is_leaf and leaf.requires_grad
    torch.testing.assert_close(leaf.detach(), torch.tensor([0.5, 2.0]).log())
    leaf.data.fill_(0.0)
    assert store["x"].tolist() == [1.0, 1.0]
    assert x.tolist() == [0.5, 2.0]


def test_without_a_constraint_the_users_tensor_is_the_leaf(store):
    mine = torch.ones(3)
    value = ember.param("x", mine)
    assert value is mine and mine.requires_grad
    assert store["x"] is mine and store["x"].unconstrained() is mine and store._params["x"] is mine


def test_the_first_statement_decides(store):
    ember.param("x", torch.tensor(2.0), constraint=constraints.positive)
    assert ember.param("x", torch.zeros(7), constraint=constraints.real) == 2.0
    assert store._constraints["x"] is constraints.positive
    store.setdefault("y", torch.ones(2))
    store.setdefault("y", torch.zeros(2))
    assert store["y"].tolist() == [1.0, 1.0]


def test_initial_values_may_be_lazy(store):
    calls = []

    def init():
        calls.append(1)
        return torch.tensor(1.0)

    for _ in range(3):
        ember.param("x", init)
        with ember.poutine.trace():
            ember.param("x", init)
    assert calls == [1]
    with pytest.raises(ZeroDivisionError):
        ember.param("y", lambda: 1 / 0)
    assert list(store) == ["x"]


def test_mapping(store):
    assert not store and len(store) == 0
    store["b"] = torch.tensor(1.0)
    store.setdefault("a", torch.tensor(2.0), constraints.positive)
    assert list(store) == list(store.keys()) == ["b", "a"] and len(store) == 2 and store
    assert "a" in store and "z" not in store
    assert [(name, value.item()) for name, value in store.items()] == [("b", 1.0), ("a", 2.0)]
    assert [value.item() for value in store.values()] == [1.0, 2.0]
    assert dict(store.named_parameters()) == store._params
    assert store.param_name(store._params["a"]) == "a"
    assert store.param_name(torch.tensor(2.0)) is None


def test_assignment_keeps_the_constraint_and_drops_the_old_leaf(store):
    store.setdefault("x", torch.tensor(2.0), constraints.positive)
    old = store._params["x"]
    store["x"] = torch.tensor([3.0, 4.0])
    assert store["x"].tolist() == [3.0, 4.0]
    assert store._constraints["x"] is constraints.positive
    assert store._params["x"] is not old and old not in store._param_to_name
    assert len(store._param_to_name) == 1


def test_leaves_are_contiguous(store):
    store["x"] = torch.ones(4, 3).t()
    assert store._params["x"].is_contiguous()


def test_deletion(store):
    store["x"] = torch.tensor(1.0)
    store["y"] = torch.tensor(1.0)
    del store["x"]
    assert list(store) == list(store._constraints) == list(store._param_to_name.values()) == ["y"]
    store.clear()
    assert maps(store) == ({}, {}, {})


def test_unknown_names(store):
    store["loc"] = torch.tensor(1.0)
    for ask in (
        lambda: ember.param("scale"),
        lambda: store["scale"],
        lambda: store.get_param("scale"),
        lambda: store.__delitem__("scale"),
    ):
        with pytest.raises(KeyError, match="unknown parameter 'scale'; the store has: 'loc'") as caught:
            ask()
        assert isinstance(caught.value, UnknownParameterError) and "initial value" in str(caught.value)
    assert list(store) == ["loc"]


@pytest.mark.parametrize(
    ("value", "constraint"),
    [
        (torch.tensor(-1.0), constraints.positive),
        (torch.tensor(0.0), constraints.positive),
        (torch.tensor(2.0), constraints.unit_interval),
        (torch.tensor([0.7, -0.7]), constraints.simplex),
        (torch.tensor([[1.0, 1.0], [0.0, 1.0]]), constraints.lower_cholesky),
        (torch.tensor([2.0, 1.0]), constraints.ordered_vector),
    ],
)
def test_values_outside_of_their_constraint(store, value, constraint):
    store["kept"] = torch.tensor(1.0)
    before = maps(store)
    with pytest.raises(ParameterError, match=r"(?s)parameter 'x'.* outside its constraint") as caught:
        ember.param("x", value, constraint=constraint)
    assert isinstance(caught.value, ValueError)
    assert maps(store) == before
    with ember.validation_enabled(False):
        ember.param("x", value, constraint=constraint)


def test_assignment_outside_of_the_constraint_changes_nothing(store):
    store.setdefault("x", torch.tensor(2.0), constraints.positive)
    before = maps(store)
    with pytest.raises(ParameterError, match="parameter 'x'"):
        store["x"] = torch.tensor(-2.0)
    assert maps(store) == before and store["x"] == 2.0


def test_rounding_is_no_violation():
    row = torch.full((7,), 1 / 7) * (1 + 3e-6)
    torch.testing.assert_close(ember.param("p", row, constraint=constraints.simplex).sum(), torch.tensor(1.0))


def test_weights_become_probabilities(store):
    weights = torch.tensor([1.0, 3.0])
    torch.testing.assert_close(ember.param("p", weights, constraint=constraints.simplex), weights / 4)


@pytest.mark.parametrize("value", ["text", [1.0], torch.tensor([1, 2]), torch.tensor(True)])
def test_what_cannot_be_a_parameter(store, value):
    with pytest.raises(ParameterError, match="parameter 'x'"):
        ember.param("x", value)
    assert len(store) == 0


@pytest.mark.parametrize("value", [3, 2.5])
def test_numbers_become_tensors(value):
    assert ember.param("x", value).item() == value


def test_parameters_made_without_gradients_have_them_later():
    with torch.no_grad():
        ember.param("x", torch.tensor(1.0))
        ember.param("y", torch.tensor(1.0), constraint=constraints.positive)
    assert ember.param("x").requires_grad and ember.param("y").requires_grad


def test_gradients_flow_through_the_constraint(store):
    y = ember.param("y", torch.tensor(3.0), constraint=constraints.positive)
    (y**2).backward()
    torch.testing.assert_close(store._params["y"].grad, torch.tensor(18.0))  # d exp(u)^2 / du = 2 y^2


def test_match(store):
    for name in ("net.loc", "net.scale", "other"):
        store[name] = torch.tensor(1.0)
    assert set(store.match(r"net\.")) == {"net.loc", "net.scale"}
    assert set(store.match("")) == set(store)
    assert set(store.match("loc")) == set()
    assert set(store.match(".*loc")) == {"net.loc"}


def test_state_is_merged(store):
    ember.param("x", torch.tensor(2.0), constraint=constraints.positive)
    state = store.get_state()
    assert set(state) == {"params", "constraints"} and state["params"]["x"] is store._params["x"]
    assert not hasattr(state["params"]["x"], "unconstrained")
    store.clear()
    store["z"] = torch.tensor(1.0)
    store.set_state(state)
    assert store["x"] == 2.0 and set(store) == {"x", "z"} and store._params["x"] is state["params"]["x"]
    store.set_state(state)
    assert len(store._param_to_name) == 2


@pytest.mark.parametrize(
    "bad",
    [
        3,
        {},
        {"params": {}},
        {"params": {}, "constraints": {}, "more": 1},
        {"params": {"x": torch.ones(1)}, "constraints": {}},
    ],
)
def test_malformed_states_change_nothing(store, bad):
    store["kept"] = torch.tensor(1.0)
    before = maps(store)
    with pytest.raises(AssertionError, match="malformed ParamStore"):
        store.set_state(bad)
    assert maps(store) == before


def test_scope(store):
    outside = ember.param("x", torch.tensor(1.0))
    with store.scope() as state:
        assert len(store) == 0
        ember.param("y", torch.tensor(2.0), constraint=constraints.positive)
    assert list(store) == ["x"] and store["x"] is outside
    assert list(state["params"]) == ["y"] and state["constraints"]["y"] is constraints.positive
    with store.scope(state) as again:
        assert again is state and store["y"] == 2.0
        store["y"] = torch.tensor(5.0)
        with store.scope() as inner:
            store["z"] = torch.tensor(0.0)
        assert list(store) == ["y"] and list(inner["params"]) == ["z"]
    torch.testing.assert_close(state["params"]["y"].exp(), torch.tensor(5.0))


def test_a_failed_scope_restores_the_store_and_leaves_the_state(store):
    store["x"] = torch.tensor(1.0)
    state = {"params": {}, "constraints": {}}
    with pytest.raises(KeyError), store.scope(state):
        store["y"] = torch.tensor(1.0)
        raise KeyError
    assert list(store) == ["x"] and state == {"params": {}, "constraints": {}}
    with pytest.raises(AssertionError, match="malformed"), store.scope({"params": {}}):
        pass
    assert list(store) == ["x"]


def test_active(store):
    private = ParamStoreDict()
    with private.active() as entered:
        assert entered is private is ember.get_param_store()
        ember.param("x", torch.tensor(1.0))
        with store.active():
            assert ember.get_param_store() is store
        assert ember.get_param_store() is private
    assert ember.get_param_store() is store
    assert (list(private), list(store)) == (["x"], [])


def test_copies_are_independent(store):
    ember.param("x", torch.tensor(2.0), constraint=constraints.positive)
    ember.param("y", torch.tensor(3.0))
    for twin in (copy.deepcopy(store), pickle.loads(pickle.dumps(store))):
        assert {name: value.item() for name, value in twin.items()} == {"x": 2.0, "y": 3.0}
        twin["x"] = torch.tensor(9.0)
    assert store["x"] == 2.0


def test_deprecated_names(store):
    store["x"] = torch.tensor(1.0)
    with pytest.warns(DeprecationWarning):
        assert list(store.get_all_param_names()) == ["x"]
    with pytest.warns(DeprecationWarning):
        store.replace_param("x", torch.tensor(2.0), store["x"])
    assert store["x"] == 2.0


def test_names():
    full = param_with_module_name("net", "layer.weight")
    assert full == "net$$$layer.weight"
    assert (module_part(full), user_part(full)) == ("net", "layer.weight")
    assert (module_part("loc"), user_part("loc")) == ("loc", "loc")
    assert normalize_param_name(full) == "net.layer.weight"
    assert ember.params.param_store.normalize_param_name is normalize_param_name
