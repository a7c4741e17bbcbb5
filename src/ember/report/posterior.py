"""What a user calls a fit, as one record: a model with its data, and draws of its latent sites or a guide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.capture.rows.function import WORTH_A_PROGRAM, rows
from ember.errors import ModelError
from ember.infer.density.judging.guide_rows import Pair, WholePlates
from ember.infer.traces.validate_all import switches
from ember.ops.draws import thinned
from ember.params.fits import programs_of, store_of
from ember.params.param_store import ParamStoreDict, get_param_store
from ember.poutine.messenger import unwrap
from ember.poutine.trace_struct import Trace

Program = Callable[..., Any]
Draws = Mapping[str, Tensor]
_WAYS = (
    "give what ember.fit returns; or an SVI, or what its run or fit returns, and the model's arguments; or a model, its "
    "guide or draws by site, and its arguments"
)


@dataclass(frozen=True)
class Posterior:
    """A model at its data, with what is known of its latent sites.

    Attributes:
        model: the program.
        source: draws by site, along dim 0, or a guide.
        args: of the model.
        kwargs: of the model.
        store: where parameters are.
    """

    model: Program
    source: Draws | Program
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    store: ParamStoreDict

    @property
    def guide(self) -> Program | None:
        """The guide, unless there are draws alone."""
        return self.source if callable(self.source) else None

    @property
    def given(self) -> Draws:
        """Draws that are given; none with a guide."""
        return {} if callable(self.source) else self.source

    @property
    def pair(self) -> Pair:
        """Model and guide, for draws that are weighed.

        Raises:
            ModelError: without a guide.
        """
        if not callable(self.source):
            raise ModelError("draws by site have no density of their own, by which they could be weighed")
        return Pair(self.model, self.source, self.args, dict(self.kwargs), self.store)

    @property
    def reads(self) -> tuple[tuple[str, object], ...]:
        """Where programs over rows look for what they read."""
        return (
            ("the model", self.model),
            ("the guide", self.guide),
            ("an argument", (self.args, dict(self.kwargs))),
        )

    @property
    def whole(self) -> Program:
        """The model with all rows of its plates."""
        program: Program = WholePlates()(self.model)
        return program

    def at(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Posterior:
        """The same at other arguments; at its own, if there are none."""
        return replace(self, args=args, kwargs=dict(kwargs)) if args or kwargs else self

    def draw(self, number: int) -> dict[str, Tensor]:
        """Draws of the latent sites, along dim 0: of given ones at most so many, from first to last.

        Draws of a guide are made one by one, by rows, so that it need not broadcast. They come from torch's stream.
        """
        if not callable(self.source):
            return thinned(self.source, number)
        guide = WholePlates()(self.source)

        def one() -> dict[str, Tensor]:
            with self.store.active():
                trace = poutine.block(poutine.trace(guide).get_trace)(*self.args, **self.kwargs)
            return {site.name: torch.as_tensor(site.value) for site in _drawn(trace)}

        run = rows(one, reads=self.reads, facts=switches, compile=number >= WORTH_A_PROGRAM)
        found: dict[str, Tensor] = run(num_rows=number)
        return found

    def latent(self, draws: Draws, trace: Trace) -> dict[str, Tensor]:
        """Of draws, those of sites that are latent in a run of the model."""
        known = {site.name for site in _drawn(trace)}
        return {name: value for name, value in draws.items() if name in known}

    def first(self) -> Trace:
        """One run of the model, which leaves torch's stream alone."""
        with self.store.active(), torch.no_grad(), torch.random.fork_rng(devices=[]), poutine.block():
            trace: Trace = poutine.trace(self.whole).get_trace(*self.args, **self.kwargs)
        return trace


def _drawn(trace: Trace) -> list[Any]:
    return [
        site
        for site in trace.samples()
        if site.is_latent and not (site.is_subsample or site.is_deterministic or site.is_auxiliary)
    ]


def taken_apart(caller: str, fitted: object, rest: tuple[Any, ...]) -> tuple[Posterior, tuple[Any, ...]]:
    """What a user calls a fit, out of the first one or two arguments of a call; and the arguments after them.

    Args:
        caller: which function was called, for messages.
        fitted: what :func:`ember.fit` returns, an SVI, or a model.
        rest: what follows; a guide or draws first, after a model.

    Raises:
        ModelError: for anything else; says what can be given.
    """
    own = getattr(fitted, "posterior", None)
    if isinstance(own, Posterior):
        return own, rest
    if isinstance(fitted, Posterior):
        return fitted, rest
    programs = programs_of(fitted)
    if programs is not None:
        programs.check_unchanged()
        return Posterior(programs.model, programs.source, (), {}, programs.store), rest
    if not callable(fitted) or not rest or not (callable(rest[0]) or isinstance(rest[0], Mapping)):
        kinds = ", ".join(type(each).__name__ for each in (fitted, *rest[:1]))
        raise ModelError(f"ember.{caller} does not know what was fitted, from ({kinds}): {_WAYS}")
    stores = [store_of(unwrap(program)) for program in (rest[0], fitted) if callable(program)]
    store = next((found for found in stores if found is not None), None)
    return Posterior(fitted, rest[0], (), {}, get_param_store() if store is None else store), rest[1:]
