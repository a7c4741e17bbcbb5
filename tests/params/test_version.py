"""The store's version: one number that says whether names, leaves and constraints are still the same."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref

import pytest
import torch

import ember
from ember.distributions import constraints
from ember.params import ParamStoreDict


@pytest.fixture
def store():
    store = ParamStoreDict()
    store.setdefault("x", torch.tensor(2.0), constraints.positive)
    return store


def fail_to_change(store):
    with pytest.raises(ValueError):
        store["x"] = torch.tensor(-1.0)


def load_itself(store, folder):
    store.save(str(folder / "params.pt"))
    store.load(str(folder / "params.pt"))


CHANGES = {
    "set": lambda store, _: store.__setitem__("x", torch.tensor(3.0)),
    "set a new name": lambda store, _: store.__setitem__("y", torch.tensor(3.0)),
    "delete": lambda store, _: store.__delitem__("x"),
    "setdefault": lambda store, _: store.setdefault("y", torch.tensor(1.0)),
    "get_param": lambda store, _: store.get_param("y", torch.tensor(1.0)),
    "set_state": lambda store, _: store.set_state(store.get_state()),
    "load": load_itself,
    "clear": lambda store, _: store.clear(),
    "replace_param": lambda store, _: store.replace_param("x", torch.tensor(3.0), store["x"]),
    "_params[name] = leaf": lambda store, _: store._params.__setitem__("x", torch.zeros(())),
    "del _params[name]": lambda store, _: store._params.__delitem__("x"),
    "_params.pop": lambda store, _: store._params.pop("x"),
    "_params.pop of nothing": lambda store, _: store._params.pop("none", None),
    "_params.popitem": lambda store, _: store._params.popitem(),
    "_params.setdefault": lambda store, _: store._params.setdefault("y", torch.zeros(())),
    "_params.update": lambda store, _: store._params.update(y=torch.zeros(())),
    "_params |= ...": lambda store, _: store._params.__ior__({"y": torch.zeros(())}),
    "_params.clear": lambda store, _: store._params.clear(),
    "_constraints[name] = constraint": lambda store, _: store._constraints.__setitem__("x", constraints.real),
    "_param_to_name": lambda store, _: store._param_to_name.pop(store._params["x"]),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_changes_are_counted(store, tmp_path, name):
    before = store.version
    CHANGES[name](store, tmp_path)
    assert store.version != before and store.version == store.version


READS = {
    "value": lambda store: store["x"],
    "setdefault of a known name": lambda store: store.setdefault("x", torch.tensor(9.0)),
    "items": lambda store: list(store.items()),
    "get_state": lambda store: store.get_state(),
    "match": lambda store: store.match("x"),
    "copy": copy.deepcopy,
    "pickle": lambda store: pickle.loads(pickle.dumps(store)),
    "values of the leaf": lambda store: store._params["x"].data.fill_(0.0),
    "a failed change": fail_to_change,
}


@pytest.mark.parametrize("name", READS)
def test_reading_changes_no_version(store, name):
    before = store.version
    READS[name](store)
    assert store.version == before


def test_each_scope_has_its_own_and_comes_back(store):
    outside = store.version
    with store.scope() as state:
        inside = store.version
        assert inside != outside
        with store.scope(state):
            assert store.version not in (inside, outside)
        assert store.version == inside
        store["y"] = torch.tensor(1.0)
        assert store.version != inside
    assert store.version == outside


def test_no_two_stores_share_one(store):
    others = [ParamStoreDict(), ParamStoreDict(), copy.deepcopy(store), ember.get_param_store()]
    assert len({store.version, *(other.version for other in others)}) == 5


def test_a_scope_is_seen_by_its_thread_only(store):
    outside, seen = store.version, []
    with store.scope():
        thread = threading.Thread(target=lambda: seen.append(store.version))
        thread.start()
        thread.join()
    assert seen == [outside]


def test_threads_that_write_at_once_leave_a_new_number(store):
    before = store.version

    def write(first):
        for i in range(200):
            store._constraints[f"{first}{i}"] = constraints.real

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.version > before and len(store._constraints) == 801


def test_copies_of_the_dicts_are_plain(store):
    before = store.version
    for twin in (store._params.copy(), copy.copy(store._params), copy.deepcopy(store._params)):
        assert type(twin) is dict and list(twin) == ["x"]
        twin.clear()
    assert type(pickle.loads(pickle.dumps(store._constraints))) is dict
    assert store.version == before


def test_a_scope_frees_its_leaves_without_the_garbage_collector(store):
    gc.disable()
    try:
        with store.scope() as state:
            store["big"] = torch.zeros(3)
        leaf = weakref.ref(state["params"]["big"])
        del state
        assert leaf() is None
    finally:
        gc.enable()
