"""The handlers as users call them: ``h(fn, ...)``, ``@h(...)`` or ``with h(...)``, each made from its class."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ParamSpec, Protocol, TypeVar, cast, overload

from ember.poutine.enumeration.enum_messenger import EnumMessenger
from ember.poutine.enumeration.markov_messenger import MarkovMessenger
from ember.poutine.messenger import Messenger
from ember.poutine.plates.broadcast_messenger import BroadcastMessenger
from ember.poutine.rewriting.block_messenger import BlockMessenger
from ember.poutine.rewriting.infer_config_messenger import InferConfigMessenger
from ember.poutine.rewriting.reparam_messenger import ReparamMessenger
from ember.poutine.trace_messenger import TraceHandler, TraceMessenger
from ember.poutine.values.condition_messenger import ConditionMessenger
from ember.poutine.values.do_messenger import DoMessenger
from ember.poutine.values.equalize_messenger import EqualizeMessenger
from ember.poutine.values.escape_messenger import EscapeMessenger
from ember.poutine.values.lift_messenger import LiftMessenger
from ember.poutine.values.queue_messenger import queue as queue
from ember.poutine.values.replay_messenger import ReplayMessenger
from ember.poutine.values.seed_messenger import SeedMessenger
from ember.poutine.values.substitute_messenger import SubstituteMessenger
from ember.poutine.values.uncondition_messenger import UnconditionMessenger
from ember.poutine.weights.mask_messenger import MaskMessenger
from ember.poutine.weights.scale_messenger import ScaleMessenger

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
M_co = TypeVar("M_co", bound=Messenger, covariant=True)


class Handler(Protocol[P, M_co]):
    """A handler as a function: with a program first, that program under the handler; without, a context manager and decorator."""

    @overload
    def __call__(self, fn: None = None, *args: P.args, **kwargs: P.kwargs) -> M_co: ...
    @overload
    def __call__(self, fn: Callable[Q, T], *args: P.args, **kwargs: P.kwargs) -> Callable[Q, T]: ...


class TraceFunction(Protocol):
    """``trace`` as a function: the program under it has ``get_trace``."""

    @overload
    def __call__(
        self, fn: None = None, graph_type: str | None = None, param_only: bool | None = None
    ) -> TraceMessenger: ...
    @overload
    def __call__(
        self, fn: Callable[..., object], graph_type: str | None = None, param_only: bool | None = None
    ) -> TraceHandler: ...


def make_handler(name: str, messenger: Callable[P, M_co]) -> Handler[P, M_co]:
    """The function ``name(fn=None, ...)``: the messenger if ``fn`` is None, else ``fn`` under the messenger."""

    def handler(fn: Any = None, *args: object, **kwargs: object) -> Any:
        if fn is not None and not (callable(fn) or isinstance(fn, Iterable)):
            raise ValueError(f"{fn} is not callable, did you mean to pass it as a keyword arg?")
        instance = messenger(*args, **kwargs)  # type: ignore[arg-type]
        return instance if fn is None else functools.update_wrapper(instance(fn), fn, updated=())

    handler.__name__ = handler.__qualname__ = name
    handler.__doc__ = messenger.__doc__
    own = inspect.signature(messenger).parameters.values()
    # A signature cannot show a parameter without default behind the optional ``fn``: then it shows ``fn`` as one too.
    default = inspect.Parameter.empty if any(p.default is p.empty for p in own) else None
    first = inspect.Parameter("fn", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
    handler.__signature__ = inspect.Signature([first, *own])  # type: ignore[attr-defined]
    return cast(Handler[P, M_co], handler)


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
trace: TraceFunction = cast(TraceFunction, make_handler("trace", TraceMessenger))
uncondition = make_handler("uncondition", UnconditionMessenger)


@overload
def markov(
    fn: None = None, history: int = 1, keep: bool = False, dim: int | None = None, name: str | None = None
) -> MarkovMessenger: ...
@overload
def markov(
    fn: Callable[Q, T], history: int = 1, keep: bool = False, dim: int | None = None, name: str | None = None
) -> Callable[Q, T]: ...
@overload
def markov(
    fn: Iterable[T], history: int = 1, keep: bool = False, dim: int | None = None, name: str | None = None
) -> Iterator[T]: ...
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
