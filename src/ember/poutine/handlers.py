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


# ``help`` shows the docstring of the class; what stands below each line is for the site, which reads the sources.
block = make_handler("block", BlockMessenger)
"""Hides sites from the handlers outside: ``block(fn, hide=["z"])``. Without arguments, it hides all.

``hide``, ``expose``: names. ``hide_types``, ``expose_types``: types, such as ``"param"``. ``hide_fn``,
``expose_fn``: functions from a site to a bool. ``hide_all``, ``expose_all``: what happens where nothing else
decides.
"""
broadcast = make_handler("broadcast", BroadcastMessenger)
"""Expands distributions to the plates around them; every plate does so by itself already."""
condition = make_handler("condition", ConditionMessenger)
"""Observes the named sites: ``condition(model, data={"x": x})``. ``data``: values by name, or a trace."""
do = make_handler("do", DoMessenger)
"""Intervenes: ``do(model, data={"dose": 1.0})``. A site is still sampled; what follows sees the value given.

``data``: tensors or numbers by name. Raises NotImplementedError for another type.
"""
enum = make_handler("enum", EnumMessenger)
"""Gives sites marked ``infer={"enumerate": "parallel"}`` all values of their support at once.

The values lie along a dim of their own, left of the plates. ``first_available_dim``: the rightmost dim to
use, negative. Raises NotImplementedError if a support cannot be enumerated.
"""
equalize = make_handler("equalize", EqualizeMessenger)
"""Gives all matching sites the value of the first of them: ``equalize(model, "z_.+")``.

``sites``: a regular expression for whole names, or several. ``type``: ``"sample"`` or ``"param"``.
``keep_dist``: keep the later sites' distributions, which conditions the program on the values being equal.
"""
escape = make_handler("escape", EscapeMessenger)
"""Raises ``NonlocalExit`` at the first site for which ``escape_fn(site)`` is true."""
infer_config = make_handler("infer_config", InferConfigMessenger)
"""Updates ``site["infer"]`` of sample and param sites with the dict that ``config_fn(site)`` returns."""
lift = make_handler("lift", LiftMessenger)
"""Samples parameters from a prior: ``lift(model, prior={"loc": dist.Normal(0.0, 1.0)})``.

``prior``: a distribution for all parameters, a function of the initial value, or a dict of these by name.
"""
mask = make_handler("mask", MaskMessenger)
"""Counts log densities only where ``mask`` is true.

``mask``: a bool, or a tensor of bools that broadcasts with the sites' batch shapes. Nested masks are combined
with "and". Raises ValueError for a mask of another type.
"""
reparam = make_handler("reparam", ReparamMessenger)
"""Replaces sites by auxiliary ones: ``reparam(model, config={"z": LocScaleReparam(0.0)})``.

``config``: reparameterisers by site name, or a function from a site to one or None. See
:mod:`ember.infer.reparam`.
"""
replay = make_handler("replay", ReplayMessenger)
"""Gives latent sites the values that they have in a trace: ``replay(model, trace=guide_trace)``.

``params``: constrained parameter values by name. Raises ValueError if neither is given.
"""
scale = make_handler("scale", ScaleMessenger)
"""Multiplies log densities by a positive factor: a number, or a tensor that broadcasts with the sites.

Nested factors multiply. Raises ValueError if the factor is not positive.
"""
seed = make_handler("seed", SeedMessenger)
"""Seeds torch, random and numpy on entry, and puts their states back on exit: ``seed(model, rng_seed=1)``."""
substitute = make_handler("substitute", SubstituteMessenger)
"""Gives the named parameters other, constrained values: ``substitute(model, data={"loc": value})``."""
trace: TraceFunction = cast(TraceFunction, make_handler("trace", TraceMessenger))
"""Records the sites of a program: ``trace(model).get_trace(x)`` runs ``model(x)`` and returns the trace.

``graph_type="dense"`` adds edges between sites that may depend on each other. ``param_only`` records
parameters alone.
"""
uncondition = make_handler("uncondition", UnconditionMessenger)
"""Samples observed sites anew."""


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
    """Declares that a site depends on sites of the last ``history`` steps only.

    Written ``for t in markov(range(n))``.

    ``history``: how many earlier steps a step depends on. ``keep``: whether a step that is left stays visible
    to later steps at the same level. ``dim`` and ``name`` raise NotImplementedError.
    """
    messenger = MarkovMessenger(history=history, keep=keep, dim=dim, name=name)
    if fn is None:
        return messenger
    if callable(fn):
        return messenger(fn)
    if isinstance(fn, Iterable):
        return messenger.generator(fn)
    raise ValueError(f"{fn} is not callable, did you mean to pass it as a keyword arg?")


markov.__doc__ = MarkovMessenger.__doc__
