"""The step of an SVI as captured programs: one for each kind of call, checked against eager before it is trusted."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from torch import Tensor

from ember.capture.backend import Backend
from ember.capture.blame import explain
from ember.capture.recording.asked import Variants
from ember.capture.recording.elsewhere import draws_elsewhere
from ember.capture.recording.mutation_guard import Undoable
from ember.capture.report import Capture, Report
from ember.capture.state.world import World, scan
from ember.errors import CaptureError, CaptureMismatchError, Reason
from ember.infer.objectives.losses.values import is_finite
from ember.infer.step import recording
from ember.infer.step.agreement import taken_already
from ember.infer.step.function import Gradients
from ember.infer.step.given import Parameters
from ember.infer.step.guards import Bound, Fact, Key, first_difference
from ember.infer.step.live import Taken, TakenBack, taken_back
from ember.infer.step.request import Request, Roots, is_same
from ember.infer.step.states import First, Recorded, Refused, State, Trusted
from ember.modules import registered_modules
from ember.rng import get_rng_state, set_rng_state

logger = logging.getLogger("ember.capture")
_MAX_ENTRIES = 64
# After so many kinds of arguments that differ in numbers alone, a program that takes any number is tried.
_MAX_NUMBERS = 3
# So often must the same numbers come again then, before they get a program of their own.
_MAX_WAITING = 8
# So many times a program may change what it reads before nobody tries to capture it any more.
_MAX_SELF_CHANGES = 3
# So many programs are made for calls that differ in nothing but values that Python asks for, and so many of them begin eagerly.
_MAX_VARIANTS, _MAX_MISSES = 8, 32
# For so many kinds of calls a fit that was loaded goes on by a program at once.
_MAX_RESUMPTIONS = 8
# What loading over a fit changes.
_LOADED = frozenset({Fact.PARAMETERS, Fact.MEMORY, Fact.CONSTRAINTS, Fact.STATE})


@dataclass(frozen=True)
class Ready:
    """A trusted program for a call, and the tensors of its arguments."""

    state: Trusted
    tensors: list[Tensor]
    world: World


Place = tuple[Key, Hashable]
"""The key of a kind of call, and the values that Python asks of the arguments."""


class Programs:
    """Programs by key, for one SVI.

    The first call of a key runs eagerly, the second is recorded and compared with an eager run from the same state and seed, all
    others are one call of the program. A program whose parameters or optimizer have changed is forgotten: its key starts anew.
    """

    def __init__(self, report: Report) -> None:
        self.entries: dict[Place, State] = {}
        self.backend: Backend | None = None
        """What compiles, if not what the SVI says; for tests and experiments."""
        self._report = report
        self._world: World | None = None
        self._roots: Roots = ()
        self._self_changes = 0
        self._changes = ""
        self._draws_elsewhere = False
        self._others_draw = False
        self._steady = False
        """Whether a run has been seen to leave what it reads as it was."""
        self._seen_with_numbers: dict[Key, int] = {}
        self._waiting = Counter[Place]()
        """Calls with numbers for which there is no program that takes any."""
        self._turned = Counter[Key]()
        """How often a program was recorded again, since code has gone elsewhere than in the recording."""
        self._last_key: Key | None = None
        self._variants: defaultdict[Key, Variants] = defaultdict(Variants)
        self._misses = Counter[Key]()
        self._resumption = _Resumption()
        self.seen: set[str] = set()
        """Signatures of the kinds of calls that there have been, here or before a stop."""

    def begin(self, seen: Iterable[str] = ()) -> None:
        """Begin a fit, or go on with one that was saved after calls of these kinds: what is eager in it does not depend on what
        was done before."""
        self.seen = set(seen)
        self._resumption.of(frozenset(self.seen))
        self.entries.clear()

    def find_or_take(self, request: Request, refused: Callable[[CaptureError], None]) -> Ready | Taken:
        """A program for a call; or the call taken by Python, for lack of a program.

        Args:
            request: the call.
            refused: gets the reason if there can be no program; it may raise that.
        """
        try:
            return self.find(request)
        except CaptureError as error:
            refused(error)
            if (taken := taken_already(error)) is not None:
                return taken
            self._report.eager_calls += 1
            return request.take(None)

    def find(self, request: Request) -> Ready | Taken:
        """A program for a call; or, if there is none yet, the call taken eagerly.

        Raises:
            CaptureError: if there can be none.
        """
        recording.refuse_handlers(request.setup.handlers)
        if self._draws_elsewhere:
            raise draws_elsewhere(self._changes)
        if self._self_changes >= _MAX_SELF_CHANGES:
            raise recording.changes_itself(self._changes)
        world = self._read(request.setup.roots)
        tensors: list[Tensor] = []
        place = self._place(request, world, tensors)
        if place not in self.entries and (general := request.for_any_number()) is not None:
            found = self._for_any_number(general, place, world)
            if found is not None:
                return found
        return self._find(request, place, world, tensors)

    def _place(self, request: Request, world: World, tensors: list[Tensor]) -> Place:
        """Where the program for a call is, if there is one; the tensors of its arguments are appended to ``tensors``."""
        key = request.key(world, tensors)
        return key, self._variants[key].place(tensors) if key in self._variants else ()

    def _for_any_number(self, request: Request, exact: Place, world: World) -> Ready | Taken | None:
        """Where numbers among the arguments are others in call after call: a program that takes any. None if there is none, and
        these numbers may have one of their own; until they have come some times, their calls are eager."""
        tensors: list[Tensor] = []
        place = self._place(request, world, tensors)
        key = place[0]
        seen = self._seen_with_numbers[key] = self._seen_with_numbers.get(key, 0) + 1
        if seen <= _MAX_NUMBERS:
            return None
        if isinstance(self.entries.get(place), Refused):
            self._waiting[exact] += 1
            if self._waiting[exact] > _MAX_WAITING:
                return None
            self._report.eager_calls += 1
            return request.take(None)
        try:
            return self._find(request, place, world, tensors)
        except CaptureError as error:
            return taken_already(error)

    def _find(self, request: Request, place: Place, world: World, tensors: list[Tensor]) -> Ready | Taken:
        state = self.entries.get(place)
        if isinstance(state, Refused):
            raise state.error()
        if state is None:
            self._refuse_values(place[0])
            return self._first(request, place, self._reason(place[0]))
        if isinstance(state, First):
            if not state.settled:
                return self._first(request, place, Fact.PROGRAMS)
            if any(state.parameters.leaf(name) is None for name in state.parameters.names):
                return self._first(request, place, Fact.PARAMETERS)
            recorded, place = self._recorded(request, place, state, world, tensors)
            if recorded is None:
                return self._first(request, place, Fact.PROGRAMS)
            return self._checked(request, place, recorded, world, tensors)
        fact = state.bound.outdated(state.program, request.setup.optimizer)
        if fact is not None:
            if fact in _LOADED and state.program.record.calls:
                self._resumption.look_again()
            return self._first(request, place, fact, state.first)
        if state.program.is_left_often:
            return self._recorded_again(request, place, state, world, tensors)
        if isinstance(state, Recorded):
            return self._checked(request, place, state, world, tensors)
        self._last_key = place[0]
        return Ready(state, tensors, world)

    def _recorded_again(
        self, request: Request, place: Place, state: Recorded | Trusted, world: World, tensors: list[Tensor]
    ) -> Taken:
        """Code goes elsewhere now than in the recording: another one may be right for longer.

        Raises:
            CaptureError: if there have been many already.
        """
        self._turned[place[0]] += 1
        if self._turned[place[0]] > _MAX_VARIANTS:
            refusal = recording.values_differ("tensors")
            self.entries[place] = Refused(str(refusal), refusal.reason)
            raise refusal
        recorded, place = self._recorded(request, place, state.first, world, tensors)
        if recorded is None:
            return self._first(request, place, Fact.PROGRAMS)
        return self._checked(request, place, recorded, world, tensors)

    def _read(self, roots: Roots) -> World:
        """What the programs read now; not looked for again while all of it is as it was."""
        same = len(roots) == len(self._roots) and all(
            is_same(new, old) for (_, new), (_, old) in zip(roots, self._roots, strict=True)
        )
        self._steady = self._steady and same
        if self._world is None or not same or not self._world.holds():
            self._world, self._roots = scan(roots), roots
        return self._world

    def _reason(self, key: Key) -> Fact:
        return Fact.ARGUMENTS if self._last_key is None else first_difference(key, self._last_key)

    def _first(
        self, request: Request, place: Place, fact: Fact, before: First | None = None, resumes: bool = True
    ) -> Taken:
        """Run eagerly, and note what a recording needs to know."""
        self.entries.pop(place, None)
        # Of Ember's own modules the first run makes much: a guide sets itself up.
        before_run = None if self._steady else scan(request.setup.roots, embers_own=False)
        changes = (before.option_changes if before else 0) + (fact is Fact.OPTIONS)
        with registered_modules() as modules:
            taken = self._resumption.take(request, before_run) if resumes else request.take(None)
        if isinstance(taken, TakenBack):
            first = First(Parameters(taken.names, request.setup.store, modules), fact, True, changes)
            return self._resumed(request, place, first)
        self._report.eager_calls += 1
        self.seen.add(request.signature())
        settled = before_run is None or not self._changed_itself(before_run)
        self._steady = self._steady or settled
        if taken.names is not None:
            after = self._place(request, self._read(request.setup.roots), [])
            known = Parameters(taken.names, request.setup.store, modules)
            self.entries[after] = First(known, fact, settled, changes)
            self._forget_some()
        return taken

    def _resumed(self, request: Request, place: Place, first: First) -> Taken:
        """A fit that was saved goes on by the program at once, as it would have done if it had never stopped."""
        world = self._read(request.setup.roots)
        tensors: list[Tensor] = []
        after = self._place(request, world, tensors)
        recorded, after = self._recorded(request, after, first, world, tensors)
        if recorded is None:
            return self._first(request, place, first.fact, first, resumes=False)
        return self._checked(request, after, recorded, world, tensors)

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
        self._waiting.clear()
        firsts = [key for key, entry in self.entries.items() if isinstance(entry, First)]
        for key in firsts[:-1] or list(self.entries)[:1]:
            del self.entries[key]

    def _recorded(
        self, request: Request, place: Place, first: First, world: World, tensors: list[Tensor]
    ) -> tuple[Recorded | None, Place]:
        """A program for this call, and its place; None if nothing can be said yet."""
        try:
            recording.refuse_unseen(world)
            program = recording.record(request, first, tensors, self._report)
        except (MemoryError, OSError) as error:
            # It may not come again: nothing is kept.
            logger.warning("recording failed: %s: %s; the step is taken eagerly", type(error).__name__, error)
            return None, place
        except Exception as error:
            refusal = explain(error)
            self.entries[place] = Refused(str(refusal), refusal.reason)
            self._report.captures.append(Capture(request.kind, first.fact.value, failure=str(refusal)))
            raise refusal from error
        if program.graph.asked is not None:
            key, before = place
            self._variants[key].add(program.graph.asked, before)
            self.entries.pop(place, None)
            place = key, program.graph.asked
        recorded = self.entries[place] = Recorded(program, Bound(program), first)
        return recorded, place

    def _refuse_values(self, key: Key) -> None:
        """Refuse calls whose arguments have other values, call after call, than all programs have asked for."""
        if key not in self._variants:
            return
        self._misses[key] += 1
        if len(self._variants[key]) >= _MAX_VARIANTS or self._misses[key] > _MAX_MISSES:
            raise recording.values_differ("the arguments")

    def _say_that_others_draw(self) -> None:
        """The next call is checked too."""
        if not self._others_draw:
            self._others_draw = True
            logger.warning(
                "another thread draws from torch's generator, so that a captured step cannot be compared with an eager one: "
                "steps are eager until a comparison comes between two of its draws; take three before the thread begins"
            )

    def _changed_itself(self, world: World) -> bool:
        if world.holds():
            return False
        if world.has_drawn():
            self._draws_elsewhere = True
        self._self_changes += 1
        self._changes = world.first_difference()
        if self._self_changes == _MAX_SELF_CHANGES:
            why = str(recording.changes_itself(self._changes))
            self._report.captures.append(Capture("all calls", "it is not the same twice", failure=why))
        logger.info("the program changes %s as it runs: the step is taken eagerly", self._changes)
        return True

    def _checked(
        self, request: Request, place: Place, state: Recorded, world: World, tensors: list[Tensor]
    ) -> Taken:
        """Compare the program with an eager call."""
        self._last_key = place[0]
        try:
            taken = request.compared(state.program, tensors)
        except CaptureMismatchError as error:
            state.program.record.failure = str(error)
            self.entries[place] = Refused(str(error), Reason.DISAGREES)
            raise
        if self._changed_itself(world):
            del self.entries[place]
        elif taken.others_drew:
            self._say_that_others_draw()
        elif taken.compared and (is_finite(taken.loss) or not state.program.has_value):
            # A loss of NaN gives no verdict: the next call is checked too.
            self.entries[place] = Trusted(state.program, state.bound, state.first)
        return taken


class _Resumption:
    """Looks for first calls that go on with a fit that was saved and loaded: parameters and optimizer state are all there."""

    def __init__(self) -> None:
        self._left = _MAX_RESUMPTIONS
        self._known: frozenset[str] | None = None

    def of(self, signatures: frozenset[str]) -> None:
        """The fit that goes on had calls of these kinds, and no others: each of them goes on by a program."""
        self._known = signatures

    def look_again(self) -> None:
        """Something has been loaded over a fit that goes on."""
        self._left = max(self._left, 1)

    def take(self, request: Request, before_run: World | None) -> Taken | TakenBack:
        """The step; or nothing but the names of its parameters, if it is such a call."""
        setup = request.setup
        if self._known is not None:
            if request.signature() not in self._known:
                return request.take(None)
            if not request.trains:
                return _taken_for_its_names(request)
        elif not request.trains or not self._left:
            return request.take(None)
        with setup.store.active():
            stepped = setup.optimizer.stepped_names()
        known = set(setup.store)

        def goes_on(found: Gradients) -> bool:
            return (
                is_finite(found.checked)
                and known.issuperset(setup.store)
                and stepped.issuperset(found.names)
                and (before_run is None or before_run.holds())
            )

        taken = taken_back(request.take, goes_on) if stepped else request.take(None)
        if self._known is None:
            self._left = self._left - 1 if isinstance(taken, TakenBack) else 0
        return taken


def _taken_for_its_names(request: Request) -> Taken | TakenBack:
    """A loss that a program will compute: what Python's run of it changes is put back."""
    undoable, state = Undoable(), get_rng_state()
    try:
        with undoable:
            names = request.take(None).names
    except Exception:  # not everything runs under a mode of torch
        names = None
    undoable.guard.put_back()
    set_rng_state(state)
    return request.take(None) if names is None else TakenBack(names)
