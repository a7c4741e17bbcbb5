"""Names made of the structure of a program."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.contrib.autoname import autoname, name_count, named, sample, scope
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam

B = dist.Bernoulli(0.5)


def names(program) -> list[str]:
    nodes = poutine.trace(program).get_trace().nodes
    return [name for name, site in nodes.items() if site["type"] == "sample"]


@autoname
def inner():
    sample(B)


@autoname
def outer():
    inner()
    inner()
    sample(B)
    sample("x", B)
    sample(B)


@autoname(name="model")
def loops():
    for _ in autoname(range(2), name="time"):
        sample(B)
        inner()


def with_blocks():
    with autoname(name="prefix"):
        inner()
        sample(B)


@autoname
def over_a_plate():
    for _ in autoname(ember.plate("rows", 2)):
        sample("y", B)


@pytest.mark.parametrize(
    "program, expected",
    [
        (inner, ["inner/Bernoulli"]),
        (
            outer,
            [
                "outer/inner/Bernoulli",
                "outer/inner__1/Bernoulli",
                "outer/Bernoulli",
                "outer/x",
                "outer/Bernoulli1",
            ],
        ),
        (
            loops,
            [
                "model/time/Bernoulli",
                "model/time/inner/Bernoulli",
                "model/time__1/Bernoulli",
                "model/time__1/inner/Bernoulli",
            ],
        ),
        (with_blocks, ["prefix/inner/Bernoulli", "prefix/Bernoulli"]),
    ],
)
def test_names_of_programs(program, expected: list[str]) -> None:
    assert names(program) == expected
    assert names(program) == expected  # nothing is left of the first run


def test_a_plate_names_its_scope() -> None:
    assert names(over_a_plate) == ["rows", "over_a_plate/rows/y", "over_a_plate/rows__1/y"]


def test_an_error_leaves_no_scope_behind() -> None:
    def fails():
        with autoname(name="broken"):
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        fails()
    assert names(inner) == ["inner/Bernoulli"]


def test_what_cannot_be_named() -> None:
    with pytest.raises(AttributeError, match=r"write autoname\(\.\.\., name=\.\.\.\)"):
        autoname(range(2))
    with pytest.raises(ValueError, match="3 is not callable"):
        autoname(3)
    with pytest.raises(NotImplementedError, match="and not int"):
        sample(3)


@scope(prefix="a")
def scoped():
    ember.sample("x", B)


@name_count
def counted():
    for _ in range(3):
        ember.sample("x", B)
    ember.sample("x__1", B)


@name_count
def counted_scopes():
    for _ in range(2):
        with scope(prefix="a"):
            for _ in range(2):
                ember.sample("x", B)


@name_count
def counted_inside():
    for _ in range(2):
        with scope(prefix="a", inner=True):
            ember.sample("x", B)


@scope(prefix="o")
@name_count
def counted_in_a_scope():
    for _ in range(2):
        with scope(prefix="a"):
            ember.sample("x", B)


@pytest.mark.parametrize(
    "program, expected",
    [
        (scoped, ["a/x"]),
        (scope(scoped, prefix="b"), ["b/a/x"]),
        (scope(lambda: ember.sample("x", B)), ["<lambda>/x"]),
        (counted, ["x", "x__1", "x__2", "x__3"]),
        (counted_scopes, ["a/x", "a/x__1", "a__1/x", "a__1/x__1"]),
        (counted_inside, ["a/x", "a/x__1"]),
        (counted_in_a_scope, ["o/a/x", "o/a__1/x"]),
        (scope(counted, prefix="z"), ["z/x", "z/x__1", "z/x__2", "z/x__3"]),
    ],
)
def test_scopes_and_counts(program, expected: list[str]) -> None:
    assert names(program) == expected
    assert names(program) == expected


def test_a_scope_needs_a_prefix() -> None:
    with pytest.raises(ValueError, match="no prefix was provided"), scope():
        pass


def test_scoped_sites_are_conditioned_and_replayed() -> None:
    conditioned = poutine.condition(scoped, data={"a/x": torch.tensor(1.0)})
    assert poutine.trace(conditioned).get_trace().nodes["a/x"]["is_observed"]
    first = poutine.trace(counted).get_trace()
    again = poutine.trace(poutine.replay(counted, trace=first)).get_trace()
    assert all(torch.equal(first.nodes[n]["value"], again.nodes[n]["value"]) for n in names(counted))


@pytest.mark.parametrize("mode", [False, True])
def test_named_models_are_fitted(mode: bool) -> None:
    @autoname(name="m")
    def model(data):
        z = sample("z", dist.Normal(0.0, 1.0))
        with scope(prefix="s"):
            ember.sample("x", dist.Normal(z, 1.0), obs=data)

    def guide(data):
        loc = ember.param("loc", torch.tensor(0.0))
        with autoname(name="m"):
            sample("z", dist.Normal(loc, 0.7))

    ember.clear_param_store()
    ember.set_rng_seed(0)
    svi = SVI(model, guide, Adam({"lr": 0.05}), Trace_ELBO(), compile=mode)
    for _ in range(300):
        svi.step(torch.tensor(2.0))
    assert ember.param("loc").item() == pytest.approx(1.0, abs=0.15)  # half of the datum


def test_objects_name_their_values() -> None:
    def model():
        state = named.Object("state")
        state.x.sample_(B)
        state.y.param_(torch.ones(2))
        state.xs = named.List()
        state.xs.add().sample_(B)
        state.xs.add().v.sample_(B)
        state.table = named.Dict()
        state.table["a"].sample_(B)
        state.table[3].q.sample_(B, obs=torch.tensor(0.0))
        assert isinstance(state.x, torch.Tensor) and isinstance(state.xs[0], torch.Tensor)
        return state

    ember.clear_param_store()
    nodes = poutine.trace(model).get_trace().nodes
    assert [name for name in nodes if name[0] != "_"] == [
        "state.x",
        "state.y",
        "state.xs[0]",
        "state.xs[1].v",
        "state.table['a']",
        "state.table[3].q",
    ]


def test_what_has_a_value_keeps_it() -> None:
    state = named.Object("o")
    state.x = 1
    with pytest.raises(RuntimeError, match=r"Cannot overwrite o\.x"):
        state.x = 2
    state.d = named.Dict()
    state.d["a"] = 3
    with pytest.raises(RuntimeError, match=r"Cannot overwrite o\.d\['a'\]"):
        state.d["a"] = 4
    with pytest.raises(RuntimeError, match=r"before storing it in a named.Object"):
        named.List().add()
    with pytest.raises(RuntimeError, match=r"unnamed named.Dict"):
        named.Dict()["k"]
    with pytest.raises(RuntimeError, match=r"Cannot rename named.List: a"):
        state.l = named.List("a")
    with pytest.raises(RuntimeError, match="the root"):
        named.Object("root").sample_(B)
    state.p.q.sample_(B)
    with pytest.raises(RuntimeError, match=r"Cannot \.sample_ an initialized named\.Object o\.p"):
        state.p.sample_(B)
