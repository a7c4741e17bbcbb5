"""Saved parameters: round trips, Pyro's files, crashes in the middle, files that are something else."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.distributions import transform_to

import ember
from ember.distributions import constraints as C
from ember.errors import SaveFileError
from ember.params import ParamStoreDict, constraint_codec

DATA = Path(__file__).parent / "data"

INSTANCES = {name: value for name in C.__all__ if isinstance(value := getattr(C, name), C.Constraint)}
BUILT = {
    "greater_than": C.greater_than(2.0),
    "greater_than of a tensor": C.greater_than(torch.tensor([1.0, 2.0])),
    "greater_than_eq": C.greater_than_eq(1.0),
    "less_than": C.less_than(0.5),
    "interval": C.interval(-1.0, 2.0),
    "half_open_interval": C.half_open_interval(0.0, 1.0),
    "integer_interval": C.integer_interval(0, 3),
    "multinomial": C.multinomial(4),
    "independent": C.independent(C.independent(C.simplex, 1), 1),
    "cat": C.cat([C.positive, C.real], dim=0, lengths=[1, 2]),
    "stack": C.stack([C.positive, C.softplus_positive], dim=-1),
    "zero_sum": C.zero_sum(2),
    "mixture": C.MixtureSameFamilyConstraint(C.positive),
}
# Classes of which the tables above have instances, and what is no class of constraints.
CLASSES = {"Constraint", "MixtureSameFamilyConstraint", "dependent_property", "is_dependent"} | set(BUILT)


def test_every_constraint_is_in_a_table():
    assert set(C.__all__) - set(INSTANCES) <= CLASSES


@pytest.mark.parametrize("constraint", [*INSTANCES.values(), *BUILT.values()], ids=[*INSTANCES, *BUILT])
def test_constraints_load_as_plain_data(constraint):
    file = io.BytesIO()
    torch.save(constraint_codec.encode(constraint), file)
    file.seek(0)
    loaded = constraint_codec.decode(torch.load(file, weights_only=True))
    assert type(loaded) is type(constraint) and repr(loaded) == repr(constraint)


VALUES = {
    "real": torch.tensor([1.0, -2.0]),
    "positive": torch.tensor([0.5, 3.0]),
    "softplus_positive": torch.tensor([0.25, 4.0]),
    "nonnegative": torch.tensor([0.5, 1.0]),
    "unit_interval": torch.tensor(0.25),
    "interval": torch.tensor([-0.5, 1.5]),
    "greater_than": torch.tensor(3.0),
    "greater_than of a tensor": torch.tensor([3.0, 4.0]),
    "less_than": torch.tensor(-3.0),
    "simplex": torch.tensor([0.2, 0.3, 0.5]),
    "lower_cholesky": torch.tensor([[1.0, 0.0], [0.5, 2.0]]),
    "softplus_lower_cholesky": torch.tensor([[1.0, 0.0], [0.5, 2.0]]),
    "unit_lower_cholesky": torch.tensor([[1.0, 0.0], [0.5, 1.0]]),
    "corr_cholesky": torch.tensor([[1.0, 0.0], [0.6, 0.8]]),
    "corr_matrix": torch.tensor([[1.0, 0.5], [0.5, 1.0]]),
    "positive_definite": torch.tensor([[2.0, 0.5], [0.5, 1.0]]),
    "ordered_vector": torch.tensor([-1.0, 0.5, 2.0]),
    "positive_ordered_vector": torch.tensor([0.5, 1.0, 2.0]),
    "sphere": torch.tensor([0.6, 0.8]),
    "real_vector": torch.tensor([1.0, 2.0]),
    "cat": torch.tensor([0.5, -1.0, 2.0]),
    "stack": torch.tensor([0.5, 2.0]),
}
TABLE = {**INSTANCES, **BUILT}


def filled():
    store = ParamStoreDict()
    for name, value in VALUES.items():
        store.setdefault(name, value.clone(), TABLE[name])
    return store


def same(left, right):
    assert list(left) == list(right)
    for name in left:
        assert torch.equal(left._params[name], right._params[name]), name
        assert type(left._constraints[name]) is type(right._constraints[name]), name


def test_round_trip(tmp_path):
    store, loaded = filled(), ParamStoreDict()
    store.save(tmp_path / "a.save")
    loaded.load(tmp_path / "a.save")
    same(loaded, store)
    assert all(leaf.requires_grad and leaf.is_leaf for leaf in loaded._params.values())
    assert loaded["simplex"].unconstrained() is loaded._params["simplex"]
    assert os.listdir(tmp_path) == ["a.save"]


def test_saving_leaves_the_store_as_it_is(tmp_path):
    store = filled()
    leaves = dict(store._params)
    store.save(str(tmp_path / "a.save"))
    assert all(store._params[name] is leaf and leaf.requires_grad for name, leaf in leaves.items())


def test_modules(tmp_path):
    net = torch.nn.Linear(2, 3)
    ember.module("net", net)
    store = ember.get_param_store()
    store.save(tmp_path / "a.save")
    store.clear()
    store.load(tmp_path / "a.save")
    other = torch.nn.Linear(2, 3)
    own = other.weight
    ember.module("net", other)
    assert other.weight is own
    ember.module("net", other, update_module_params=True)
    assert other.weight is ember.param("net$$$weight") and isinstance(other.weight, torch.nn.Parameter)
    assert torch.equal(other.weight, net.weight)


def test_an_open_statement_sees_loaded_values(tmp_path):
    store = ember.get_param_store()
    ember.param("x", torch.tensor(2.0), constraint=C.positive)
    store.save(tmp_path / "a.save")
    store["x"] = torch.tensor(7.0)
    store.load(tmp_path / "a.save")
    assert ember.param("x", torch.tensor(5.0)) == 2.0


class Odd(C.Constraint):
    """A constraint of the user's own."""

    event_dim = 0

    def check(self, value):
        return value == value


@transform_to.register(Odd)
def _identity(constraint):
    return transform_to(C.real)


def test_users_own_constraints_need_pickle(tmp_path):
    store, loaded = ParamStoreDict(), ParamStoreDict()
    store.setdefault("x", torch.tensor(2.0), Odd())
    store.save(tmp_path / "a.save")
    with pytest.raises(SaveFileError, match="allow_pickle=True"):
        loaded.load(tmp_path / "a.save")
    loaded.load(tmp_path / "a.save", allow_pickle=True)
    assert loaded["x"] == 2.0 and type(loaded._constraints["x"]) is Odd


def test_a_crash_in_the_middle_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.save"
    store = filled()
    store.save(path)
    old = path.read_bytes()

    def half(obj, file):
        file.write(old[: len(old) // 2])
        raise OSError("disk full")

    store["more"] = torch.ones(1000)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        with pytest.raises(OSError, match="disk full"):
            store.save(path)
        with pytest.raises(OSError, match="disk full"):
            store.save(tmp_path / "new.save")
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["a.save"]
    store.save(path)
    assert len(path.read_bytes()) > len(old)


def test_a_killed_process_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.save"
    filled().save(path)
    old = path.read_bytes()
    program = (
        "import os, sys, torch, ember\n"
        "store = ember.get_param_store(); store['x'] = torch.ones(9)\n"
        "def half(obj, file):\n    file.write(b'half'); file.flush(); os._exit(9)\n"
        "torch.save = half\n"
        "store.save(sys.argv[1])\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == 9
    assert path.read_bytes() == old


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def bad_files():
    def saved(obj):
        file = io.BytesIO()
        torch.save(obj, file)
        return file.getvalue()

    file = io.BytesIO()
    torch.save({"params": {}, "constraints": {}}, file)
    spec = {"constraint": "_Real", "args": {}}
    one = torch.ones(1)
    return {
        "empty": b"",
        "text": b"not a file of parameters",
        "cut": file.getvalue()[:-30],
        "pickle": pickle.dumps({"params": {}, "constraints": {}}),
        "a tensor": saved(one),
        "a list": saved([1, 2]),
        "a state_dict": saved(torch.nn.Linear(1, 1).state_dict()),
        "other keys": saved({"params": {}, "constraints": {}, "more": 1}),
        "no constraint": saved({"params": {"x": one}, "constraints": {}}),
        "no tensor": saved({"params": {"x": "one"}, "constraints": {"x": spec}}),
        "integers": saved({"params": {"x": torch.ones(1, dtype=torch.long)}, "constraints": {"x": spec}}),
        "unknown constraint": saved(
            {"params": {"x": one}, "constraints": {"x": {"constraint": "_Magic", "args": {}}}}
        ),
        "no constraint's name": saved(
            {"params": {"x": one}, "constraints": {"x": {"constraint": 3, "args": {}}}}
        ),
        "strange constraint": saved({"params": {"x": one}, "constraints": {"x": [1]}}),
        "strange arguments": saved(
            {"params": {"x": one}, "constraints": {"x": {"constraint": "_Real", "args": {"a": 1}}}}
        ),
        "no arguments": saved(
            {"params": {"x": one}, "constraints": {"x": {"constraint": "_Real", "args": None}}}
        ),
    }


@pytest.mark.parametrize("kind", bad_files())
@pytest.mark.parametrize("allow_pickle", [False, True])
def test_other_files_change_nothing(tmp_path, kind, allow_pickle):
    path = tmp_path / "bad.save"
    path.write_bytes(bad_files()[kind])
    store = filled()
    before = dict(store._params)
    with pytest.raises(SaveFileError):
        store.load(path, allow_pickle=allow_pickle)
    assert all(store._params[name] is leaf for name, leaf in before.items()) and len(store) == len(before)


def test_code_in_a_file_does_not_run(tmp_path):
    trap = tmp_path / "trap"
    torch.save({"params": {}, "constraints": {}, "x": Payload(trap)}, tmp_path / "evil.save")
    with pytest.raises(SaveFileError, match="allow_pickle=True"):
        ParamStoreDict().load(tmp_path / "evil.save")
    assert not trap.exists()


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        ParamStoreDict().load(tmp_path / "nothing")


# Files that Pyro 1.9.2 wrote.

PYRO_NAMES = [
    *(
        "real",
        "positive",
        "softplus_positive",
        "unit_interval",
        "interval",
        "greater_than",
        "greater_than_tensor",
    ),
    *(
        "less_than",
        "simplex",
        "lower_cholesky",
        "softplus_lower_cholesky",
        "unit_lower_cholesky",
        "corr_cholesky",
    ),
    *(
        "ordered_vector",
        "positive_ordered_vector",
        "sphere",
        "independent",
        "real_vector",
        "positive_definite",
    ),
    *("corr_matrix", "nonnegative"),
]


def test_pyros_constraints():
    store = ParamStoreDict()
    with pytest.raises(SaveFileError, match=r"Pyro wrote it.*allow_pickle=True"):
        store.load(DATA / "pyro_1_9_2_constraints.save")
    assert len(store) == 0
    store.load(DATA / "pyro_1_9_2_constraints.save", allow_pickle=True)
    assert list(store) == PYRO_NAMES
    renamed = {"greater_than_tensor": "greater_than of a tensor"}
    for name, value in store.items():
        expected = VALUES.get(renamed.get(name, name), torch.tensor([[1.0, 2.0]]))
        torch.testing.assert_close(value.detach(), expected)
    assert store._constraints["softplus_positive"] is C.softplus_positive
    assert store._constraints["sphere"] is C.sphere


def test_pyros_modules_can_be_used_and_saved_again(tmp_path):
    store = ember.get_param_store()
    store.load(DATA / "pyro_1_9_2_module.save", allow_pickle=True)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    ember.module("net", net, update_module_params=True)
    torch.manual_seed(3)
    expected = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    for own, other in zip(net.parameters(), expected.parameters(), strict=True):
        assert torch.equal(own, other)
    torch.testing.assert_close(ember.param("local").detach(), torch.arange(6.0) + 1)
    store.save(tmp_path / "mine.save")
    again = ParamStoreDict()
    again.load(tmp_path / "mine.save")  # no pickle needed any more
    same(again, store)


def test_pyros_files_load_without_pyro():
    program = (
        "import sys\n"
        "sys.modules['pyro'] = None\n"
        "from ember.params import ParamStoreDict\n"
        "store = ParamStoreDict()\n"
        "store.load(sys.argv[1], allow_pickle=True)\n"
        "print(len(store), [m for m in sys.modules if m.startswith('pyro.')])\n"
    )
    path = DATA / "pyro_1_9_2_constraints.save"
    run = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [str(len(PYRO_NAMES)), "[]"]
