"""What users build on: Messenger subclasses, registered actions, effectful functions, the stack."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.poutine.messenger import Messenger, block_messengers
from ember.poutine.runtime import _PYRO_STACK, am_i_wrapped, apply_stack, effectful

NORMAL = dist.Normal(0.0, 1.0)


def test_subclasses_act_before_and_after():
    log = []

    class Logger(Messenger):
        def _pyro_sample(self, msg):
            log.append(("before", msg["name"], msg["value"]))

        def _pyro_post_sample(self, msg):
            log.append(("after", msg["name"], msg["value"] is not None))

        def _pyro_param(self, msg):
            msg["value"] = torch.tensor(5.0)

    with Logger():
        ember.sample("x", NORMAL)
        assert ember.param("p", torch.tensor(1.0)) == 5.0
    assert log == [("before", "x", None), ("after", "x", True)]


def test_process_message_sees_every_type():
    kinds = []

    class All(Messenger):
        def _process_message(self, msg):
            kinds.append(msg["type"])
            super()._process_message(msg)

    with All(), ember.plate("p", 2):
        ember.sample("x", NORMAL)
        ember.param("q", torch.tensor(1.0))
        ember.subsample(torch.ones(2), event_dim=0)
        ember.barrier(3)
        poutine.get_mask()
    assert kinds == ["sample", "sample", "param", "subsample", "barrier", "inspect"]


def test_handlers_run_from_the_inside_out_and_back():
    order = []

    class Named(Messenger):
        def __init__(self, name):
            self.name = name

        def _pyro_sample(self, msg):
            order.append(self.name)

        def _pyro_post_sample(self, msg):
            order.append("post " + self.name)

    with Named("outer"), Named("inner"):
        ember.sample("x", NORMAL)
    assert order == ["inner", "outer", "post outer", "post inner"]


def test_stop_hides_from_the_outside():
    class Stop(Messenger):
        def _pyro_sample(self, msg):
            msg["stop"] = True

    with poutine.trace() as outer, Stop(), poutine.trace() as inner:
        ember.sample("x", NORMAL)
    assert "x" in inner.trace and "x" not in outer.trace


def test_register_and_unregister():
    class Mine(Messenger):
        pass

    names = []

    @Mine.register(type="sample")
    def note(msg):
        names.append(msg["name"])

    @Mine.register(type="sample", post=True)
    def note_after(msg):
        names.append(msg["name"] + " done")

    with Mine():
        ember.sample("x", NORMAL)
    assert Mine.unregister(note, type="sample") is note
    with Mine():
        ember.sample("y", NORMAL)
    assert names == ["x", "x done"]
    for method in (Mine.register, Mine.unregister):
        with pytest.raises(ValueError, match="An operation type name must be provided"):
            method(note)


def test_handlers_leave_in_order():
    outer, inner = poutine.block(), poutine.block()
    outer.__enter__()
    inner.__enter__()
    with pytest.raises(ValueError, match="not on the bottom of the stack"):
        outer.__exit__(None, None, None)
    # After an error, what the inner handlers left behind goes too.
    outer.__exit__(KeyError, KeyError(), None)
    assert _PYRO_STACK == []


def test_block_messengers():
    with poutine.trace() as recorder:
        with block_messengers(lambda handler: handler is recorder) as muted:
            ember.sample("x", NORMAL)
        ember.sample("y", NORMAL)
    assert muted == [recorder] and list(recorder.trace) == ["y"]


def test_effectful():
    @effectful(type="greet")
    def greet(who, *, loud=False):
        """Say hello."""
        return ("HELLO " if loud else "hello ") + who

    class Rename(Messenger):
        def _pyro_greet(self, msg):
            assert (msg["kwargs"], msg["name"], msg["infer"]) == ({"loud": True}, "n", {"a": 1})
            msg["args"] = ("you",)

    assert greet("me") == "hello me" and greet.__doc__ == "Say hello."
    with Rename():
        assert greet("me", loud=True, name="n", infer={"a": 1}) == "HELLO you"
    with poutine.trace() as recorder:
        assert greet("me", name="n", obs="seen") == "seen"
    assert len(recorder.trace) == 0
    assert effectful(greet, type="greet") is greet
    with pytest.raises(AssertionError, match="must provide a type label"):
        effectful(len)
    with pytest.raises(AssertionError, match="cannot use 'message' as keyword"):
        effectful(len, type="message")


def test_apply_stack_takes_plain_dicts():
    msg = {
        "type": "sample",
        "name": "x",
        "fn": NORMAL,
        "is_observed": False,
        "args": (),
        "kwargs": {},
        "value": None,
        "infer": {},
        "scale": 1.0,
        "mask": None,
        "cond_indep_stack": (),
        "done": False,
        "stop": False,
        "continuation": None,
    }
    with poutine.trace() as recorder, poutine.scale(scale=2.0):
        apply_stack(msg)
    assert recorder.trace.nodes["x"]["value"] is msg["value"] and recorder.trace.nodes["x"]["scale"] == 2.0


def test_continuations_run_last():
    called = []

    class Later(Messenger):
        def _pyro_sample(self, msg):
            msg["continuation"] = lambda msg: called.append(msg["name"] in recorder.trace)

    with poutine.trace() as recorder, Later():
        ember.sample("x", NORMAL)
    assert called == [True]


def test_the_stack_reads_as_a_list():
    assert _PYRO_STACK == [] and len(_PYRO_STACK) == 0 and not am_i_wrapped()
    with poutine.block() as block:
        assert am_i_wrapped() and _PYRO_STACK[-1] is block and block in _PYRO_STACK
        assert list(_PYRO_STACK) == [block] and _PYRO_STACK.index(block) == 0
    with poutine.block() as block:
        _PYRO_STACK.pop()
        _PYRO_STACK.append(block)


def test_messages_of_inspection_are_not_traced():
    with poutine.trace() as recorder:
        poutine.get_mask()
        poutine.get_plates()
    assert len(recorder.trace) == 0


def test_do_not_trace():
    with poutine.trace() as recorder:
        ember.sample("x", NORMAL, infer={"_do_not_trace": True})
    assert len(recorder.trace) == 0
