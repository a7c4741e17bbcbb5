"""A model and a guide with their arguments, and how pairs of their traces are made: one by one, or all in one run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ember.infer.traces.importance_trace import Traces
from ember.infer.traces.plate_nesting import PairFacts, guess_max_plate_nesting
from ember.infer.traces.plates import PARTICLE_PLATE
from ember.infer.traces.settings import Settings
from ember.primitives import plate

Program = Callable[..., Any]


@dataclass(frozen=True)
class Run:
    """What is run, and how many dims from the right belong to plates."""

    model: Program
    guide: Program
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    max_plate_nesting: float
    facts: PairFacts
    """What is known about the pair: it is remembered from run to run."""
    one: Run | None = None
    """Of several vectorised particles: the run of one of them, without their plate."""
    sampled: Run | None = None
    """Of an enumeration: the run that is enumerated."""

    def resolved(self, settings: Settings) -> Run:
        """This run with a finite ``max_plate_nesting``."""
        if math.isfinite(self.max_plate_nesting):
            return self
        if self.facts.nesting is None:
            self.facts.nesting = guess_max_plate_nesting(self.model, self.guide, self.args, self.kwargs)
        return replace(self, max_plate_nesting=self.facts.nesting + settings.particle_plates)

    def in_particle_plate(self, settings: Settings) -> Run:
        """This run with model and guide in a plate of all particles, left of their own plates."""
        run = self.resolved(settings)
        model, guide = (
            in_particle_plate(program, settings.num_particles, run.max_plate_nesting)
            for program in (run.model, run.guide)
        )
        one = replace(run, max_plate_nesting=run.max_plate_nesting - 1) if settings.particle_plates else None
        return replace(run, model=model, guide=guide, one=one)


def in_particle_plate(program: Program, num_particles: int, max_plate_nesting: float) -> Program:
    """The program inside a plate of all particles, the leftmost plate; as it is, for one particle."""
    if num_particles == 1:
        return program
    particles: Program = plate(PARTICLE_PLATE, num_particles, dim=-int(max_plate_nesting))(program)
    return particles


Pair = Callable[[Run], Traces]
"""Makes one pair of traces, with log densities."""


class Runner(ABC):
    """How pairs of traces are made for all particles."""

    pairs_share_graphs: ClassVar[bool] = False
    """Whether the autograd graph of one pair is part of another's."""

    @abstractmethod
    def pairs(self, run: Run, settings: Settings, pair: Pair) -> Iterator[Traces]:
        """The pairs, each made when it is asked for."""


@dataclass(frozen=True)
class OneByOne(Runner):
    """A pair for each particle."""

    def pairs(self, run: Run, settings: Settings, pair: Pair) -> Iterator[Traces]:
        for _ in range(settings.num_particles):
            yield pair(run)


@dataclass(frozen=True)
class Vectorized(Runner):
    """One pair for all particles, in a plate left of all others."""

    def pairs(self, run: Run, settings: Settings, pair: Pair) -> Iterator[Traces]:
        with explained(settings):
            traces = pair(run.in_particle_plate(settings))
        yield traces


@contextmanager
def explained(settings: Settings) -> Iterator[None]:
    """Say at errors of torch what is special about runs of many particles, and the way out."""
    try:
        yield
    except RuntimeError as error:
        if settings.particle_plates:
            error.add_note(
                "All particles are in one run, vectorize_particles=True: each value has their dim on the left. Write "
                "(X * b).sum(-1) for X @ b, Vindex(locs)[..., c] for locs[c], or leave vectorize_particles out."
            )
        raise


def runner_of(settings: Settings) -> Runner:
    """The runner that the settings ask for."""
    return Vectorized() if settings.vectorize_particles else OneByOne()
