"""Crafted files: what loads as parameters can be read, trained and saved again; anything else is refused, and changes nothing."""

from __future__ import annotations

import random

import pytest
import torch

import ember
from ember.distributions import constraints as C
from ember.errors import SaveFileError
from ember.params import ParamStoreDict

NAN = float("nan")
REAL = {"constraint": "_Real", "args": {}}


def spec(name, **args):
    return {"constraint": name, "args": args}


CONSTRAINTS = {
    "bounds that are no numbers": spec("_Interval", lower_bound="x", upper_bound=[]),
    "bounds that are NaN": spec("_Interval", lower_bound=NAN, upper_bound=1.0),
    "bounds that are NaN, in a tensor": spec("_GreaterThan", lower_bound=torch.tensor([0.0, NAN, 0.0])),
    "bounds of another shape": spec("_GreaterThan", lower_bound=torch.zeros(2)),
    "a bound that is missing": spec("_Interval", lower_bound=0.0),
    "a bound that is None": spec("_GreaterThan", lower_bound=None),
    "a bound that is a dictionary": spec("_GreaterThan", lower_bound={"x": 1}),
    "a bound that is a set": spec("_GreaterThan", lower_bound={1}),
    "the base class": spec("Constraint"),
    "an abstract class": spec("_Dependent"),
    "a class of values that are no numbers": spec("_Boolean"),
    "a count": spec("_IntegerInterval", lower_bound=0, upper_bound=3),
    "a constraint in itself that does not work": spec(
        "_IndependentConstraint", base_constraint=spec("_Boolean"), reinterpreted_batch_ndims=1
    ),
    "more dimensions than there are": spec(
        "_IndependentConstraint", base_constraint=spec("_Simplex"), reinterpreted_batch_ndims=7
    ),
    "a count of dimensions that is text": spec(
        "_IndependentConstraint", base_constraint=REAL, reinterpreted_batch_ndims="one"
    ),
    "parts that are none": spec("_Cat", cseq=[], dim=0, lengths=[]),
    "parts that are too long": spec("_Cat", cseq=[REAL, REAL], dim=0, lengths=[1, 10**15]),
    "parts that are no constraints": spec("_Cat", cseq=[1, 2], dim=0, lengths=[1, 2]),
    "a function's name": spec("is_dependent"),
    "a module's attribute": spec("__name__"),
    "a name that is no text": {"constraint": ["_Real"], "args": {}},
    "arguments in a list": {"constraint": "_Real", "args": [1]},
    "an argument whose name is no text": {"constraint": "_Real", "args": {1: 2}},
    "more keys": {**REAL, "more": 1},
    "a vast text": {"constraint": "x" * 10**6, "args": {}},
}


def leaves():
    return {
        "larger than the file": torch.zeros(1).expand(10**12),
        "a little larger than its memory": torch.zeros(2).as_strided((3,), (0,)),
        "integers": torch.zeros(3, dtype=torch.long),
        "truth values": torch.zeros(3, dtype=torch.bool),
        "sparse": torch.zeros(3).to_sparse(),
        "a list": [1.0, 2.0],
        "None": None,
    }


def attack(path, params, constraints):
    """The files refuse to load; a store and its version are as before."""
    torch.save({"params": params, "constraints": constraints}, path)
    store = ParamStoreDict()
    store.setdefault("a", torch.ones(3), C.positive)
    leaf, version = store._params["a"], store.version
    for allow_pickle in (False, True):
        with pytest.raises(SaveFileError) as caught:
            store.load(path, allow_pickle=allow_pickle)
        assert len(str(caught.value)) < 1000
    assert store._params["a"] is leaf and store.version == version and list(store) == ["a"]
    return str(caught.value)


@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_constraints_that_do_not_work(tmp_path, kind):
    message = attack(tmp_path / "hostile.pt", {"a": torch.zeros(3)}, {"a": CONSTRAINTS[kind]})
    assert "'a'" in message and "hostile.pt" in message


@pytest.mark.parametrize("kind", leaves())
def test_leaves_that_are_none(tmp_path, kind):
    message = attack(tmp_path / "hostile.pt", {"a": leaves()[kind]}, {"a": REAL})
    assert "'a'" in message and "hostile.pt" in message


@pytest.mark.parametrize(
    ("value", "constraint"),
    [
        (torch.zeros(()), "_CorrCholesky"),
        (torch.zeros(4), "_CorrCholesky"),
        (torch.zeros(3), "_PositiveDefinite"),
        (torch.zeros(3, 2), "_LowerCholesky"),
    ],
)
def test_constraints_that_do_not_fit_the_leaf(tmp_path, value, constraint):
    attack(tmp_path / "hostile.pt", {"a": value}, {"a": spec(constraint)})


@pytest.mark.parametrize("name", [1, None, ("a",), 1.5])
def test_names_that_are_no_text(tmp_path, name):
    attack(tmp_path / "hostile.pt", {name: torch.zeros(3)}, {name: REAL})


def test_a_vast_name(tmp_path):
    name = "x" * 10**6
    attack(tmp_path / "hostile.pt", {name: torch.zeros(3)}, {name: spec("_Boolean")})


def test_a_constraint_of_vast_depth(tmp_path):
    deep = REAL
    for _ in range(60):
        deep = spec("_IndependentConstraint", base_constraint=deep, reinterpreted_batch_ndims=0)
    assert "levels deep" in attack(tmp_path / "hostile.pt", {"a": torch.zeros(3)}, {"a": deep})


@pytest.mark.parametrize("seed", range(20))
def test_random_descriptions_are_refused_or_readable(tmp_path, seed):
    dice = random.Random(seed)
    names = [name for home in (C, torch.distributions.constraints) for name in dir(home)]
    atoms = [0, 1, -1, 2.5, NAN, "x", None, [], {}, torch.ones(3), torch.ones(2), True, 10**30, REAL]

    def described(depth):
        args = (
            "lower_bound",
            "upper_bound",
            "base_constraint",
            "reinterpreted_batch_ndims",
            "cseq",
            "dim",
            "lengths",
        )
        chosen = dice.sample(args, dice.randrange(4))
        given = {
            arg: described(depth + 1) if depth < 3 and dice.random() < 0.4 else dice.choice(atoms)
            for arg in chosen
        }
        return {"constraint": dice.choice(names), "args": given}

    for _ in range(50):
        torch.save(
            {"params": {"a": torch.zeros(3)}, "constraints": {"a": described(0)}}, tmp_path / "random.pt"
        )
        store = ParamStoreDict()
        try:
            store.load(tmp_path / "random.pt")
        except SaveFileError:
            continue
        assert isinstance(store["a"], torch.Tensor)


def test_complex_parameters_load(tmp_path):
    store, loaded = ParamStoreDict(), ParamStoreDict()
    store["a"] = torch.tensor([1 + 2j])
    store.save(tmp_path / "complex.pt")
    loaded.load(tmp_path / "complex.pt")
    assert torch.equal(loaded["a"], store["a"])


def test_expanded_leaves_are_saved_whole(tmp_path):
    store, loaded = ParamStoreDict(), ParamStoreDict()
    store.set_state({"params": {"a": torch.ones(1).expand(4)}, "constraints": {"a": C.real}})
    store.save(tmp_path / "expanded.pt")
    loaded.load(tmp_path / "expanded.pt")
    assert loaded["a"].tolist() == [1.0] * 4


def test_what_loads_can_be_trained_and_saved_again(tmp_path):
    store = ember.get_param_store()
    bounds = C.interval(torch.zeros(3), torch.ones(3))
    store.setdefault("a", torch.full((3,), 0.25), bounds)
    for _ in range(2):
        store.save(tmp_path / "mine.pt")
        store.clear()
        store.load(tmp_path / "mine.pt")
        ember.param("a").sum().backward()
        assert store._params["a"].grad.tolist() == [0.1875] * 3
