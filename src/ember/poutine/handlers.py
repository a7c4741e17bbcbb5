"""The handlers as users call them: ``h(fn, ...)``, ``@h(...)`` or ``with h(...)``, each made from its class."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterable
from typing import Any

from ember.poutine.block_messenger import BlockMessenger
from ember.poutine.broadcast_messenger import BroadcastMessenger
from ember.poutine.condition_messenger import ConditionMessenger
from ember.poutine.do_messenger import DoMessenger
from ember.poutine.enum_messenger import EnumMessenger
from ember.poutine.equalize_messenger import EqualizeMessenger
from ember.poutine.escape_messenger import EscapeMessenger
from ember.poutine.infer_config_messenger import InferConfigMessenger
from ember.poutine.lift_messenger import LiftMessenger
from ember.poutine.markov_messenger import MarkovMessenger
from ember.poutine.mask_messenger import MaskMessenger
from ember.poutine.messenger import Messenger
from ember.poutine.queue_messenger import queue as queue
from ember.poutine.reparam_messenger import ReparamMessenger
from ember.poutine.replay_messenger import ReplayMessenger
from ember.poutine.scale_messenger import ScaleMessenger
from ember.poutine.seed_messenger import SeedMessenger
from ember.poutine.substitute_messenger import SubstituteMessenger
from ember.poutine.trace_messenger import TraceMessenger
from ember.poutine.uncondition_messenger import UnconditionMessenger


def make_handler(name: str, messenger: type[Messenger]) -> Callable[..., Any]:
    """The function ``name(fn=None, ...)``: the messenger if ``fn`` is None, else ``fn`` under the messenger."""

    def handler(fn: Any = None, *args: object, **kwargs: object) -> Any:
        if fn is not None and not (callable(fn) or isinstance(fn, Iterable)):
            raise ValueError(f"{fn} is not callable, did you mean to pass it as a keyword arg?")
        instance = messenger(*args, **kwargs)
        return instance if fn is None else functools.update_wrapper(instance(fn), fn, updated=())

    handler.__name__ = handler.__qualname__ = name
    handler.__doc__ = messenger.__doc__
    own = inspect.signature(messenger).parameters.values()
    first = inspect.Parameter("fn", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
    # Behind the optional ``fn``, a signature can show a parameter without default, and what follows it, as keywords only.
    named = list(itertools.dropwhile(lambda p: p.default is not p.empty, own))
    rest = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) if p in named else p for p in own]
    handler.__signature__ = inspect.Signature([first, *rest])  # type: ignore[attr-defined]
    return handler


block = make_handler("block", BlockMessenger)
broadcast = make_handler("broadcast", BroadcastMessenger)
condition = make_handler("condition", ConditionMessenger)
do = make_handler("do", DoMessenger)
enum = make_handler("enum", EnumMessenger)
equalize = make_handler("equalize", EqualizeMessenger)
escape = make_handler("escape", EscapeMessenger)
infer_config = make_handler("infer_config", InferConfigMessenger)
lift = make_handler("lift", LiftMessenger)
mask = make_handler("mask", MaskMessenger)
reparam = make_handler("reparam", ReparamMessenger)
replay = make_handler("replay", ReplayMessenger)
scale = make_handler("scale", ScaleMessenger)
seed = make_handler("seed", SeedMessenger)
substitute = make_handler("substitute", SubstituteMessenger)
trace = make_handler("trace", TraceMessenger)
uncondition = make_handler("uncondition", UnconditionMessenger)


def markov(
    fn: object = None, history: int = 1, keep: bool = False, dim: int | None = None, name: str | None = None
) -> Any:
    messenger = MarkovMessenger(history=history, keep=keep, dim=dim, name=name)
    if fn is None:
        return messenger
    if callable(fn):
        return messenger(fn)
    if isinstance(fn, Iterable):
        return messenger.generator(fn)
    raise ValueError(f"{fn} is not callable, did you mean to pass it as a keyword arg?")


markov.__doc__ = MarkovMessenger.__doc__
