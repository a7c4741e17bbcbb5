"""What holds for every handler: four ways to use it, a clean stack, pickling, methods, no effect when it has nothing to do."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.poutine import handlers
from ember.poutine.runtime import THREAD


def program(offset=0.0):
    """Draws a number and a plate of numbers around it."""
    scale = ember.param("scale", torch.tensor(1.5))
    z = ember.sample("z", dist.Normal(offset, scale))
    with ember.plate("rows", 3):
        x = ember.sample("x", dist.Normal(z, 1.0))
    ember.sample("seen", dist.Normal(z, 1.0), obs=torch.tensor(0.25))
    return z, x


def never(_: Any) -> bool:
    return False


def no_settings(_: Any) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Row:
    name: str
    idle: dict[str, Any] = field(default_factory=dict)
    """A configuration under which the handler changes nothing."""


ROWS = [
    Row("block", {"hide": ["absent"]}),
    Row("broadcast"),
    Row("condition", {"data": {}}),
    Row("do", {"data": {"z": None}}),
    Row("enum", {"first_available_dim": -2}),
    Row("equalize", {"sites": ["absent"]}),
    Row("escape", {"escape_fn": never}),
    Row("infer_config", {"config_fn": no_settings}),
    Row("lift", {"prior": {}}),
    Row("mask", {"mask": True}),
    Row("reparam", {"config": {}}),
    Row("replay", {"trace": poutine.Trace()}),
    Row("scale", {"scale": 1.0}),
    Row("seed", {"rng_seed": 0}),
    Row("substitute", {"data": {}}),
    Row("trace"),
    Row("uncondition"),
]
all_handlers = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
# What these rows do to a program is never nothing: an observed site is drawn, generators are set.
ACTIVE = {"uncondition", "seed"}


def handler_of(row):
    return getattr(poutine, row.name)


def values(trace):
    return {name: site["value"] for name, site in trace.nodes.items() if name[0] != "_"}


def run(wrapped):
    """The values of all sites after the same seed."""
    ember.clear_param_store()
    ember.set_rng_seed(7)
    return values(poutine.trace(wrapped).get_trace())


def assert_equal(left, right):
    assert list(left) == list(right)
    for name in left:
        assert torch.equal(left[name], right[name]), name


def test_every_handler_has_a_row():
    made = {
        name for name, value in vars(handlers).items() if callable(value) and hasattr(value, "__signature__")
    }
    assert made == {row.name for row in ROWS}
    assert made <= set(poutine.__all__)


@all_handlers
def test_three_ways_to_wrap_are_one(row):
    handler = handler_of(row)

    def with_block(*args):
        with handler(**row.idle):
            return program(*args)

    at_once = run(handler(program, **row.idle))
    assert_equal(at_once, run(handler(**row.idle)(program)))
    assert_equal(at_once, run(with_block))


@all_handlers
def test_positional_configuration_follows_the_function(row):
    if len(row.idle) == 1 and row.name != "block":
        handler = handler_of(row)
        assert_equal(run(handler(program, *row.idle.values())), run(handler(program, **row.idle)))


@all_handlers
def test_without_work_nothing_changes(row):
    if row.name not in ACTIVE:
        assert_equal(run(handler_of(row)(program, **row.idle)), run(program))


@all_handlers
def test_twice_is_once(row):
    handler = handler_of(row)
    once = handler(program, **row.idle)
    assert_equal(run(handler(once, **row.idle)), run(once))


@all_handlers
@pytest.mark.parametrize("other", ROWS, ids=lambda row: row.name)
def test_idle_handlers_commute(row, other):
    one, two = handler_of(row), handler_of(other)
    assert_equal(
        run(one(two(program, **other.idle), **row.idle)), run(two(one(program, **row.idle), **other.idle))
    )


@all_handlers
def test_wrapped_functions_keep_name_and_docstring(row):
    wrapped = handler_of(row)(program, **row.idle)
    assert (wrapped.__name__, wrapped.__doc__) == (program.__name__, program.__doc__)
    assert poutine.unwrap(wrapped) is program


@all_handlers
def test_results_and_arguments_pass_through(row):
    wrapped = handler_of(row)(lambda a, *, b: (a, b), **row.idle)
    assert wrapped(1, b=2) == (1, 2)


@all_handlers
@pytest.mark.parametrize("where", ["function", "with", "post"])
def test_stack_is_clean_after_an_error(row, where):
    handler = handler_of(row)

    class Broken(poutine.Messenger):
        def _pyro_post_sample(self, msg):
            if msg["name"] == "x":
                raise KeyError("broken on purpose")

    def fails():
        with ember.plate("outer", 2):
            if where == "function":
                raise KeyError("broken on purpose")
            with Broken():
                program()

    with pytest.raises(KeyError, match="broken on purpose"):
        if where == "with":
            with handler(**row.idle):
                fails()
        else:
            handler(fails, **row.idle)()
    assert THREAD.stack == []
    assert THREAD.plate_dims == []


@all_handlers
def test_a_bad_function_is_refused_with_the_way_out(row):
    with pytest.raises(ValueError, match="is not callable, did you mean to pass it as a keyword arg"):
        handler_of(row)(3, **row.idle)
    with pytest.raises(ValueError, match="is not callable, did you mean to pass it as a keyword arg"):
        handler_of(row)(**row.idle)(3)


@all_handlers
def test_decorates_methods(row):
    handler = handler_of(row)

    class Model:
        offset = 10.0

        @handler(**row.idle)
        def method(self, more=0.0):
            return program(self.offset + more)

    assert_equal(run(Model().method), run(lambda: handler(program, **row.idle)(10.0)))
    assert_equal(run(lambda: Model.method(Model(), 5.0)), run(lambda: handler(program, **row.idle)(15.0)))


@all_handlers
def test_wrapped_functions_are_picklable(row):
    wrapped = handler_of(row)(program, **row.idle)
    file = io.BytesIO()
    torch.save(wrapped, file)
    file.seek(0)
    copies = [torch.load(file, weights_only=False), pickle.loads(pickle.dumps(wrapped))]
    for copy in copies:
        assert_equal(run(copy), run(wrapped))


@all_handlers
def test_a_handler_enters_itself_once_only(row):
    instance = handler_of(row)(**row.idle)
    with instance, pytest.raises(ValueError, match="cannot install a Messenger instance twice"), instance:
        pass
    with instance:
        assert THREAD.stack == [instance]


def test_bare_decorators_on_methods():
    class Model:
        @poutine.block
        def hidden(self):
            return ember.sample("z", dist.Normal(0.0, 1.0))

        @poutine.uncondition
        def drawn(self):
            return ember.sample("z", dist.Normal(0.0, 1.0), obs=torch.tensor(100.0))

    assert "z" not in poutine.trace(Model().hidden).get_trace()
    assert Model().drawn() < 100.0


def test_handlers_wrap_anything_callable():
    class Callable:
        def __call__(self):
            return ember.sample("z", dist.Normal(0.0, 1.0))

    assert "z" in poutine.trace(poutine.scale(Callable(), scale=2.0)).get_trace()
    layer = torch.nn.Linear(2, 2)
    assert poutine.trace(layer)(torch.zeros(2)).shape == (2,)
    assert poutine.unwrap(poutine.block(poutine.trace(layer))) is layer


def test_the_outermost_wins():
    def f():
        return ember.sample("z", dist.Normal(0.0, 1.0)), ember.param("p", torch.tensor(0.0))

    inner, outer = torch.tensor(1.0), torch.tensor(2.0)
    assert poutine.condition(poutine.condition(f, {"z": inner}), {"z": outer})()[0] is outer
    assert poutine.substitute(poutine.substitute(f, {"p": inner}), {"p": outer})()[1] is outer
