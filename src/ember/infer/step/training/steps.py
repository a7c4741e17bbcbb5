"""Where the steps of a run come from: a program, or Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ember.errors import CaptureError, Reason
from ember.infer.step.compile_mode import CompileMode
from ember.infer.step.function import Args, Kwargs, Objective, Step
from ember.infer.step.live import Taken
from ember.infer.step.programs import Programs, Ready
from ember.infer.step.request import Request
from ember.infer.step.training.batches import Rows, given_to

Refuse = Callable[[CaptureError, frozenset[Reason]], None]


class Steps:
    """The steps of one run.

    Args:
        request: what the next step asks for.
        programs: programs that are known.
        refuse: gets the reason if there can be no program, and for which reasons steps may be eager; it may raise the first.
        mode: whether steps are captured.
    """

    def __init__(
        self, request: Callable[[], Request], programs: Programs, refuse: Refuse, mode: CompileMode
    ) -> None:
        self._request = request
        self._programs = programs
        self._refuse = refuse
        self._mode = mode
        self._captures = mode is not False

    def find(self) -> Ready | Taken:
        """A program for one more step; or one step, taken by Python."""
        if not self._captures:
            return self.eager()
        return self._programs.find_or_take(self._request(), self._refused)

    def eager(self) -> Taken:
        """One step, taken by Python."""
        return self._request().take(None)

    def _refused(self, error: CaptureError) -> None:
        # A run is not asked to be captured as each single step is: gradients of the user's own are taken eagerly.
        self._refuse(error, eager_for(self._mode) | {Reason.OWN_GRADIENTS})
        self._captures = False


def eager_for(mode: CompileMode) -> frozenset[Reason]:
    """For which reasons steps are taken eagerly, instead of raising."""
    return frozenset(Reason) if mode is not True else frozenset({Reason.CHANGES_ITSELF})


class BatchRequests:
    """Requests of steps whose arguments change from one to the next.

    Args:
        request: makes a request of arguments.
    """

    def __init__(self, request: Callable[[Args, Kwargs], Request]) -> None:
        self._make = request
        self.arguments: tuple[Args, Kwargs] = ((), {})

    def plain(self) -> tuple[Args, Kwargs]:
        """Arguments like those of the last step, without a place in an order that a step would move on."""
        args, kwargs = self.arguments
        return args[0].first() if args and isinstance(args[0], Rows) else (args, kwargs)

    def __call__(self) -> Request:
        made = self._make(*self.arguments)
        step = made.setup.step
        objective = Objective(
            value=given_to(step.objective.value),
            backward=given_to(step.objective.backward),
            terms=given_to(step.objective.terms),
            has_value=step.objective.has_value,
        )
        return replace(made, setup=replace(made.setup, step=Step(objective, step.policy)))


__all__ = ["BatchRequests", "Steps", "eager_for"]
