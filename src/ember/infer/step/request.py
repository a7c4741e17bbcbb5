"""A call of an SVI: what is asked for, with what, and how Python answers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MethodType

from torch import Tensor

from ember import tree
from ember.capture import backend as backends
from ember.capture.state.arguments import has_numbers, numbers_as_tensors, take_apart
from ember.capture.state.walk import Walk
from ember.capture.state.world import World
from ember.errors import OptimizerError
from ember.infer.step.agreement import agrees
from ember.infer.step.function import Args, Kwargs, Step
from ember.infer.step.guards import Call, Key, key_of
from ember.infer.step.live import Live, Observer, Taken, evaluate
from ember.infer.step.program import StepProgram
from ember.optim import PyroLRScheduler, PyroOptim
from ember.optim.schedules import advance, rates
from ember.params.param_store import ParamStoreDict

_FEWEST_RATES = 1024
Roots = tuple[tuple[str, object], ...]
"""Objects with their names, where a walk through what they read begins."""


@dataclass(frozen=True)
class Scheduled:
    """Learning rates that are known in advance, which a program reads from an array."""

    optimizer: PyroLRScheduler
    size: int
    """How many fit into the array."""

    def array(self) -> Tensor:
        """The array, filled with the next rate."""
        return self.next_rates(1).expand(self.size).clone()

    def next_rates(self, num_steps: int) -> Tensor:
        """The rates of so many steps from now on."""
        return rates(self.optimizer, num_steps)

    def advance(self, num_steps: int) -> None:
        """Bring the scheduler to where it is after so many steps."""
        advance(self.optimizer, num_steps)


def schedule_of(optimizer: PyroOptim, num_steps: int) -> Scheduled:
    """The schedule of so many steps.

    Raises:
        OptimizerError: if the optimizer has no scheduler.
    """
    if not isinstance(optimizer, PyroLRScheduler):
        raise OptimizerError(
            f"scheduled=True needs an optimizer with a scheduler, such as optim.ExponentialLR; got {type(optimizer).__name__}"
        )
    return Scheduled(optimizer, max(_FEWEST_RATES, 1 << max(num_steps - 1, 0).bit_length()))


@dataclass(frozen=True)
class Setup:
    """What an SVI takes steps with, at the time of a call."""

    step: Step
    programs: Roots
    handlers: tuple[object, ...]
    """Those around the call that act on statements, outermost first."""
    store: ParamStoreDict
    optimizer: PyroOptim
    backend: backends.Backend
    scheduled: Scheduled | None = None
    """The schedule that is stepped after every step, if one is."""

    @property
    def roots(self) -> Roots:
        """Where a walk through what a step reads begins."""
        return (*self.programs, *[("a handler around the step", handler) for handler in self.handlers])


@dataclass(frozen=True)
class Request:
    """One call."""

    kind: str
    """``"step"`` or ``"evaluate_loss"``."""
    setup: Setup
    args: Args
    kwargs: Kwargs
    lifted: tuple[Args, Kwargs] | None = None
    """The arguments with tensors in place of numbers, for a program that takes any number."""

    @property
    def given(self) -> tuple[Args, Kwargs]:
        """The arguments as a program gets them."""
        return (self.args, self.kwargs) if self.lifted is None else self.lifted

    def for_any_number(self) -> Request | None:
        """The same call, for a program that takes any numbers; None if there are none among the arguments."""
        arguments = (self.args, self.kwargs)
        return replace(self, lifted=numbers_as_tensors(arguments)) if has_numbers(arguments) else None

    @property
    def trains(self) -> bool:
        """Whether parameters are to be changed."""
        return self.kind == "step"

    def key(self, world: World, tensors: list[Tensor]) -> Key:
        """The key of the program that it needs; the tensors of its arguments are appended to ``tensors``."""
        walk = Walk(world.names, world.by_text)
        arguments = (self.lifted is not None, take_apart(self.given, tensors, walk))
        setup = self.setup
        policy = setup.step.policy if self.trains else None
        unseen = tuple(walk.unseen)
        size = setup.scheduled.size if setup.scheduled is not None else 0
        return key_of(
            Call(self.kind, world, (arguments, unseen), setup.store, policy, setup.backend.name, size)
        )

    def signature(self) -> str:
        """What tells it from calls of other kinds, in other processes too: its kind, and the layouts of its arguments."""
        arguments = (self.args, self.kwargs)
        found = [
            (tuple(leaf.shape), leaf.stride(), str(leaf.dtype))
            if isinstance(leaf, Tensor)
            else type(leaf).__name__
            for leaf in tree.leaves(arguments)
        ]
        return f"{self.kind} {found}"

    def take(self, observe: Observer | None) -> Taken:
        """Answer it by Python."""
        setup = self.setup
        if self.trains:
            return Live(setup.optimizer, observe).take(setup.step, setup.store, self.args, self.kwargs)
        return evaluate(setup.step.objective, setup.store, self.args, self.kwargs)

    def compared(self, program: StepProgram, tensors: Sequence[Tensor]) -> Taken:
        """Answer it by Python, and compare the program's answer.

        Raises:
            CaptureMismatchError: shows both.
        """
        return agrees(program, self.take, tensors)


def is_same(new: object, old: object) -> bool:
    """Whether two roots are one object, or one method of one object."""
    return new is old or (
        isinstance(new, MethodType)
        and isinstance(old, MethodType)
        and new.__func__ is old.__func__
        and new.__self__ is old.__self__
    )
