"""Variational inference in the fewest lines: handlers, parameters, an optimizer and the ELBO, to be read and changed.

A program is a function whose statements are messages. Handlers on a stack see each message on its way out and
on its way back. That is all of it: the rest of Ember is this, made safe and fast. Nothing here is shared with
the rest.

    >>> import ember
    >>> from ember.contrib import minipyro
    >>> with minipyro.seed(rng_seed=0), minipyro.trace() as tr:
    ...     _ = minipyro.sample("x", ember.distributions.Normal(0.0, 1.0))
    >>> list(tr)
    ['x']
"""

from __future__ import annotations

import random
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

import ember.distributions as dist
from ember.distributions import constraints
from ember.distributions.validation import validation_enabled as validation_enabled

Message = dict[str, Any]
Trace = OrderedDict[str, Message]

PYRO_STACK: list[Messenger] = []
PARAM_STORE: dict[str, tuple[Tensor, Any]] = {}


def get_param_store() -> dict[str, tuple[Tensor, Any]]:
    """The parameters: name -> the unconstrained tensor, and the constraint."""
    return PARAM_STORE


class Messenger:
    """A handler: a context manager, and, with a function, a callable that runs the function inside of itself."""

    def __init__(self, fn: Callable[..., Any] | None = None) -> None:
        self.fn = fn

    def __enter__(self) -> Any:
        PYRO_STACK.append(self)

    def __exit__(self, *args: object, **kwargs: object) -> None:
        assert PYRO_STACK[-1] is self
        PYRO_STACK.pop()

    def process_message(self, msg: Message) -> None:
        """See a message before its value is there, innermost handler first."""

    def postprocess_message(self, msg: Message) -> None:
        """See a message once its value is there, outermost handler first."""

    def __call__(self, *args: object, **kwargs: object) -> Any:
        assert self.fn is not None, f"{type(self).__name__} was made without a function to run"
        with self:
            return self.fn(*args, **kwargs)


class trace(Messenger):
    """Keeps every message by its name."""

    def __enter__(self) -> Trace:
        super().__enter__()
        self.trace: Trace = OrderedDict()
        return self.trace

    def postprocess_message(self, msg: Message) -> None:
        """Keep a copy.

        Raises:
            AssertionError: for a second sample statement of the same name.
        """
        repeated = msg["type"] == "sample" and msg["name"] in self.trace
        assert not repeated, f"sample sites must have unique names, and {msg['name']!r} comes twice"
        self.trace[msg["name"]] = msg.copy()

    def get_trace(self, *args: object, **kwargs: object) -> Trace:
        """Run the function and return what was kept."""
        self(*args, **kwargs)
        return self.trace


class replay(Messenger):
    """Gives sample statements the values that they have in an earlier trace."""

    def __init__(self, fn: Callable[..., Any] | None, guide_trace: Trace) -> None:
        self.guide_trace = guide_trace
        super().__init__(fn)

    def process_message(self, msg: Message) -> None:
        """Set the value."""
        if msg["name"] in self.guide_trace:
            msg["value"] = self.guide_trace[msg["name"]]["value"]


class block(Messenger):
    """Hides messages from the handlers outside of it: those for which ``hide_fn`` is true."""

    def __init__(
        self, fn: Callable[..., Any] | None = None, hide_fn: Callable[[Message], bool] = lambda msg: True
    ) -> None:
        self.hide_fn = hide_fn
        super().__init__(fn)

    def process_message(self, msg: Message) -> None:
        """Stop the message here."""
        if self.hide_fn(msg):
            msg["stop"] = True


class seed(Messenger):
    """Runs from a seed of the generators of torch, Python and NumPy, and puts their states back afterwards."""

    def __init__(self, fn: Callable[..., Any] | None = None, rng_seed: int | None = None) -> None:
        self.rng_seed = rng_seed
        super().__init__(fn)

    def __enter__(self) -> None:
        self.old_state: dict[str, Any] = {
            "torch": torch.get_rng_state(),
            "random": random.getstate(),
            "np": np.random.get_state(),
        }
        assert self.rng_seed is not None, "seed needs a rng_seed"
        torch.manual_seed(self.rng_seed)
        random.seed(self.rng_seed)
        np.random.seed(self.rng_seed)

    def __exit__(self, *args: object, **kwargs: object) -> None:
        torch.set_rng_state(self.old_state["torch"])
        random.setstate(self.old_state["random"])
        np.random.set_state(self.old_state["np"])


class PlateMessenger(Messenger):
    """Repeats the sample statements inside of it along one batch dim, each row independent of the others."""

    def __init__(self, fn: Callable[..., Any] | None, size: int, dim: int) -> None:
        assert dim < 0, f"a plate's dim counts from the right: it is negative, and not {dim}"
        self.size = size
        self.dim = dim
        super().__init__(fn)

    def process_message(self, msg: Message) -> None:
        """Expand the distribution to the plate's size."""
        if msg["type"] != "sample":
            return
        shape = list(msg["fn"].batch_shape)
        shape = [1] * (-self.dim - len(shape)) + shape
        if shape[self.dim] != self.size:
            shape[self.dim] = self.size
            msg["fn"] = msg["fn"].expand(torch.Size(shape))

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.size))


def apply_stack(msg: Message) -> Message:
    """Run a message through the handlers, innermost first, compute its value, and run it back."""
    reached = 0
    for pointer, handler in enumerate(reversed(PYRO_STACK), 1):
        reached = pointer
        handler.process_message(msg)
        if msg.get("stop"):
            break
    if msg["value"] is None:
        msg["value"] = msg["fn"](*msg["args"])
    for handler in PYRO_STACK[len(PYRO_STACK) - reached :]:
        handler.postprocess_message(msg)
    return msg


def sample(name: str, fn: Any, *args: object, **kwargs: object) -> Any:
    """A draw from ``fn``, or the value ``obs`` if one is given.

    Args:
        name: the site's.
        fn: a distribution.
        args: what it is called with.
        kwargs: ``obs``, the observed value.
    """
    obs = kwargs.pop("obs", None)
    if not PYRO_STACK:  # no handler: an ordinary draw
        return fn(*args, **kwargs) if obs is None else obs
    msg = {"type": "sample", "name": name, "fn": fn, "args": args, "kwargs": kwargs, "value": obs}
    return apply_stack(msg)["value"]


def param(
    name: str,
    init_value: Tensor | Callable[[], Tensor] | None = None,
    constraint: Any = constraints.real,
    event_dim: int | None = None,
) -> Any:
    """A learnable value.

    Args:
        name: the parameter's.
        init_value: its first value, or a function that makes it; needed the first time only.
        constraint: where it lies.
        event_dim: None: plates do not act on parameters here.

    Raises:
        NotImplementedError: if an ``event_dim`` is given.
        ValueError: if the parameter does not exist and no first value is given.
    """
    if event_dim is not None:
        raise NotImplementedError("minipyro.plate does not support the event_dim arg")

    def fn(init_value: Any, constraint: Any) -> Tensor:
        if name not in PARAM_STORE:
            if init_value is None:
                raise ValueError(f"param {name!r} does not exist yet and has no init_value")
            value = init_value() if callable(init_value) else init_value
            with torch.no_grad():
                unconstrained = dist.transform_to(constraint).inv(value.detach().clone())
            PARAM_STORE[name] = unconstrained.clone().requires_grad_(), constraint
        unconstrained, known = PARAM_STORE[name]
        constrained: Tensor = dist.transform_to(known)(unconstrained)
        constrained.unconstrained = weakref.ref(unconstrained)  # type: ignore[attr-defined]
        return constrained

    if not PYRO_STACK:
        return fn(init_value, constraint)
    msg = {"type": "param", "name": name, "fn": fn, "args": (init_value, constraint), "value": None}
    return apply_stack(msg)["value"]


def plate(name: str, size: int, dim: int | None = None) -> PlateMessenger:
    """Independence of the rows of one dim.

    Raises:
        NotImplementedError: if no dim is given: none is chosen here.
    """
    if dim is None:
        raise NotImplementedError("minipyro.plate requires a dim arg")
    return PlateMessenger(fn=None, size=size, dim=dim)


class Adam:
    """One ``torch.optim.Adam`` for each parameter."""

    def __init__(self, optim_args: Mapping[str, Any]) -> None:
        self.optim_args = optim_args
        self.optim_objs: dict[Tensor, torch.optim.Adam] = {}

    def __call__(self, params: Iterable[Tensor]) -> None:
        for p in params:
            if p not in self.optim_objs:
                self.optim_objs[p] = torch.optim.Adam([p], **self.optim_args)
            self.optim_objs[p].step()


class SVI:
    """Moves the parameters of a model and a guide down the gradient of a loss.

    Args:
        model, guide: functions of the same arguments.
        optim: such as :class:`Adam`.
        loss: a function of model, guide and their arguments.
    """

    def __init__(self, model: Any, guide: Any, optim: Adam, loss: Callable[..., Tensor]) -> None:
        self.model = model
        self.guide = guide
        self.optim = optim
        self.loss = loss

    def step(self, *args: object, **kwargs: object) -> float:
        """One step; returns the loss before it."""
        with trace() as param_capture, block(hide_fn=lambda msg: msg["type"] == "sample"):
            loss = self.loss(self.model, self.guide, *args, **kwargs)
        loss.backward()  # type: ignore[no-untyped-call]
        params = [site["value"].unconstrained() for site in param_capture.values()]
        self.optim(params)
        for p in params:
            p.grad = torch.zeros_like(p)
        return loss.item()


def elbo(model: Any, guide: Any, *args: object, **kwargs: object) -> Any:
    """One draw of the negative evidence lower bound: log q(z) - log p(x, z) at z from the guide."""
    guide_trace = trace(guide).get_trace(*args, **kwargs)
    model_trace = trace(replay(model, guide_trace)).get_trace(*args, **kwargs)
    bound: Any = 0.0
    for sign, tr in ((1, model_trace), (-1, guide_trace)):
        for site in tr.values():
            if site["type"] == "sample":
                bound = bound + sign * site["fn"].log_prob(site["value"]).sum()
    return -bound


def Trace_ELBO(**kwargs: object) -> Callable[..., Tensor]:
    """The loss for :class:`SVI`; it has no options."""
    return elbo


class JitTrace_ELBO:
    """:func:`elbo`, recorded by ``torch.jit.trace`` in the first call, for tensor arguments."""

    def __init__(self, **kwargs: object) -> None:
        self.ignore_jit_warnings = kwargs.pop("ignore_jit_warnings", False)
        self._compiled: Callable[..., Tensor] | None = None
        self._param_trace: Trace = OrderedDict()

    def __call__(self, model: Any, guide: Any, *args: object) -> Tensor:
        if self._compiled is None:
            with block(), trace() as tr, block(hide_fn=lambda msg: msg["type"] != "param"):
                elbo(model, guide, *args)
            self._param_trace = tr
            self._compiled = self._record(model, guide, tr, args)
        for name, site in self._param_trace.items():
            param(name, *site["args"])
        unconstrained = [PARAM_STORE[name][0] for name in self._param_trace]
        return self._compiled(*unconstrained, *args)

    def _record(self, model: Any, guide: Any, tr: Trace, args: tuple[Any, ...]) -> Callable[..., Tensor]:
        names = list(tr)

        def compiled(*inputs: Tensor) -> Tensor:
            unconstrained, rest = inputs[: len(names)], inputs[len(names) :]
            constrained = {}
            for name, value in zip(names, unconstrained, strict=True):
                constrained[name] = dist.transform_to(tr[name]["args"][1])(value)
            values = OrderedDict((name, {"value": value}) for name, value in constrained.items())
            loss: Tensor = elbo(replay(model, values), replay(guide, values), *rest)
            return loss

        inputs = [PARAM_STORE[name][0] for name in names]
        with warnings.catch_warnings():
            if self.ignore_jit_warnings:
                warnings.simplefilter("ignore")
            return torch.jit.trace(compiled, (*inputs, *args), check_trace=False)  # type: ignore[no-any-return,no-untyped-call]
