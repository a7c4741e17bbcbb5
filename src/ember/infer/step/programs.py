"""The step of an SVI as captured programs: one for each kind of call, checked against eager before it is trusted."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass

from torch import Tensor

from ember.capture.backend import Backend
from ember.capture.blame import explain
from ember.capture.report import Capture, Report
from ember.capture.state.world import World, scan
from ember.errors import CaptureError, CaptureMismatchError, Reason
from ember.infer.losses.values import is_finite
from ember.infer.step.given import Parameters
from ember.infer.step.guards import Bound, Fact, Key, first_difference
from ember.infer.step.live import Taken
from ember.infer.step.recording import changes_itself, draws_elsewhere, record, refuse_handlers, refuse_unseen
from ember.infer.step.request import Request, Roots
from ember.infer.step.states import First, Recorded, Refused, State, Trusted
from ember.modules import registered_modules

logger = logging.getLogger("ember.capture")
_MAX_ENTRIES = 64
# After so many kinds of arguments that differ in numbers alone, a program that takes any number is tried.
_MAX_NUMBERS = 3
# So many times a program may change what it reads before nobody tries to capture it any more.
_MAX_SELF_CHANGES = 3


@dataclass(frozen=True)
class Ready:
    """A trusted program for a call, and the tensors of its arguments."""

    state: Trusted
    tensors: list[Tensor]
    world: World


class Programs:
    """Programs by key, for one SVI.

    The first call of a key runs eagerly, the second is recorded and compared with an eager run from the same state and seed, all
    others are one call of the program. A program whose parameters or optimizer have changed is forgotten: its key starts anew.
    """

    def __init__(self, report: Report) -> None:
        self.entries: dict[Hashable, State] = {}
        self.backend: Backend | None = None
        """What compiles, if not what the SVI says; for tests and experiments."""
        self._report = report
        self._world: World | None = None
        self._roots: Roots = ()
        self._self_changes = 0
        self._changes = ""
        self._draws_elsewhere = False
        self._steady = False
        """Whether a run has been seen to leave what it reads as it was."""
        self._seen_with_numbers: dict[Key, int] = {}
        self._last_key: Key | None = None

    def find(self, request: Request) -> Ready | Taken:
        """A program for a call; or, if there is none yet, the call taken eagerly.

        Raises:
            CaptureError: if there can be none.
        """
        refuse_handlers()
        if self._draws_elsewhere:
            raise draws_elsewhere(self._changes)
        if self._self_changes >= _MAX_SELF_CHANGES:
            raise changes_itself(self._changes)
        world = self._read(request.setup.roots)
        tensors: list[Tensor] = []
        key = request.key(world, tensors)
        if key not in self.entries and (general := request.for_any_number()) is not None:
            found = self._for_any_number(general, world)
            if found is not None:
                return found
        return self._find(request, key, world, tensors)

    def _for_any_number(self, request: Request, world: World) -> Ready | Taken | None:
        """Where numbers among the arguments are others in call after call: a program that takes any; None if there is none."""
        tensors: list[Tensor] = []
        key = request.key(world, tensors)
        seen = self._seen_with_numbers[key] = self._seen_with_numbers.get(key, 0) + 1
        if seen <= _MAX_NUMBERS or isinstance(self.entries.get(key), Refused):
            return None
        try:
            return self._find(request, key, world, tensors)
        except CaptureMismatchError as error:
            # The step has been taken, eagerly, for the comparison.
            return Taken(error.eager_result, None)
        except CaptureError:
            return None

    def _find(self, request: Request, key: Key, world: World, tensors: list[Tensor]) -> Ready | Taken:
        state = self.entries.get(key)
        if isinstance(state, Refused):
            raise state.error()
        if state is None:
            return self._first(request, key, self._reason(key))
        if isinstance(state, First):
            if not state.settled:
                return self._first(request, key, Fact.PROGRAMS)
            if any(state.parameters.leaf(name) is None for name in state.parameters.names):
                return self._first(request, key, Fact.PARAMETERS)
            recorded = self._recorded(request, key, state, world, tensors)
            if recorded is None:
                return self._first(request, key, Fact.PROGRAMS)
            return self._checked(request, key, recorded, world, tensors)
        fact = state.bound.outdated(state.program, request.setup.optimizer)
        if fact is not None:
            return self._first(request, key, fact, state.first)
        if isinstance(state, Recorded):
            return self._checked(request, key, state, world, tensors)
        self._last_key = key
        return Ready(state, tensors, world)

    def _read(self, roots: Roots) -> World:
        """What the programs read now; not looked for again while all of it is as it was."""
        same = len(roots) == len(self._roots) and all(
            new is old or new == old for (_, new), (_, old) in zip(roots, self._roots, strict=True)
        )
        if self._world is None or not same or not self._world.holds():
            self._world, self._roots = scan(roots), roots
        return self._world

    def _reason(self, key: Key) -> Fact:
        return Fact.ARGUMENTS if self._last_key is None else first_difference(key, self._last_key)

    def _first(self, request: Request, key: Key, fact: Fact, before: First | None = None) -> Taken:
        """Run eagerly, and note what a recording needs to know."""
        self._report.eager_calls += 1
        self.entries.pop(key, None)
        # Of Ember's own modules the first run makes much: a guide sets itself up.
        before_run = None if self._steady else scan(request.setup.roots, embers_own=False)
        with registered_modules() as modules:
            taken = request.take(None)
        settled = before_run is None or not self._changed_itself(before_run)
        self._steady = self._steady or settled
        if taken.names is not None:
            after = request.key(self._read(request.setup.roots), [])
            changes = (before.option_changes if before else 0) + (fact is Fact.OPTIONS)
            known = Parameters(taken.names, request.setup.store, modules)
            self.entries[after] = First(known, fact, settled, changes)
            self._forget_some()
        return taken

    def _forget_some(self) -> None:
        """Keep arguments that are different in every call (a number that counts steps, say) from filling the memory."""
        if len(self.entries) <= _MAX_ENTRIES:
            return
        logger.warning(
            "more than %d kinds of arguments, each of which needs a program of its own: pass numbers that change from "
            "step to step as tensors",
            _MAX_ENTRIES,
        )
        self._seen_with_numbers.clear()
        firsts = [key for key, entry in self.entries.items() if isinstance(entry, First)]
        for key in firsts[:-1] or list(self.entries)[:1]:
            del self.entries[key]

    def _recorded(
        self, request: Request, key: Key, first: First, world: World, tensors: list[Tensor]
    ) -> Recorded | None:
        """A program for this call; None if nothing can be said yet."""
        try:
            refuse_unseen(world)
            program = record(request, first, tensors, self._report)
        except (MemoryError, OSError) as error:
            # It may not come again: nothing is kept.
            logger.warning("recording failed: %s: %s; the step is taken eagerly", type(error).__name__, error)
            return None
        except Exception as error:
            refusal = explain(error)
            self.entries[key] = Refused(str(refusal), refusal.reason)
            self._report.captures.append(Capture(request.kind, first.fact.value, failure=str(refusal)))
            raise refusal from error
        recorded = self.entries[key] = Recorded(program, Bound(program), first)
        return recorded

    def _changed_itself(self, world: World) -> bool:
        if world.holds():
            return False
        if world.has_drawn():
            self._draws_elsewhere = True
        self._self_changes += 1
        self._changes = world.first_difference()
        logger.info("the program changes %s as it runs: the step is taken eagerly", self._changes)
        return True

    def _checked(
        self, request: Request, key: Key, state: Recorded, world: World, tensors: list[Tensor]
    ) -> Taken:
        """Compare the program with an eager call, which is the one that counts."""
        self._last_key = key
        try:
            taken = request.compared(state.program, tensors)
        except CaptureMismatchError as error:
            state.program.record.failure = str(error)
            self.entries[key] = Refused(str(error), Reason.DISAGREES)
            raise
        if self._changed_itself(world):
            del self.entries[key]
        elif taken.compared and (is_finite(taken.loss) or not state.program.has_value):
            # A loss of NaN gives no verdict: the next call is checked too.
            self.entries[key] = Trusted(state.program, state.bound, state.first)
        return taken
