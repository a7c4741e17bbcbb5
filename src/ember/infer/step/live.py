"""A step taken by Python: parameters are those of the store, and the optimizer is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ember.capture.recording.mutation_guard import Undoable
from ember.capture.signals import Unbroken
from ember.infer.objectives.losses.policy import BadLoss, Later, LeftOut, applied, held, hold
from ember.infer.objectives.losses.values import check as check_loss
from ember.infer.objectives.losses.values import is_finite, to_floats, warn_if_nan
from ember.infer.step.function import Args, Gradients, Kwargs, Objective, Step
from ember.infer.traces.validate_all import unchecked
from ember.ops.scalars import zero_grads
from ember.optim import PyroOptim
from ember.params.param_store import ParamStoreDict, get_param_store
from ember.poutine.stack import THREAD
from ember.poutine.trace_messenger import TraceMessenger
from ember.rng import fork_torch_rng, get_rng_state, set_rng_state, set_torch_states, torch_states
from ember.torch_private.foreach import non_finite_check_and_unscale_

Observer = Callable[[Gradients], Gradients]
"""Sees the gradients, which are those of the parameters still, before these are updated; gives those that count."""


class _Stopped(Exception):
    """Internal: a step ends before its update."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self.names = names


@dataclass(frozen=True)
class TakenBack:
    """A step that has ended before its update, and has changed no tensor."""

    names: tuple[str, ...]
    """The touched parameters."""


@dataclass(frozen=True)
class Taken:
    """A call that Python has answered."""

    loss: Any
    """A float, or a tuple of floats."""
    names: tuple[str, ...] | None
    """The touched parameters; None where the call ended before they were known."""
    left_out: bool = False
    """Whether the policy kept the update from being made."""
    compared: bool = True
    """Whether a program has given an answer that could be compared with it."""
    others_drew: bool = False
    """Whether another thread has drawn meanwhile, so that it could not."""


class Live:
    """The place of one eager step. An error leaves parameters and optimizer state as they were; parameters that the failed step
    made are removed again. Ctrl-C comes before the update or after it."""

    def __init__(self, optimizer: PyroOptim, observe: Observer | None = None) -> None:
        self._names: tuple[str, ...] | None = None
        self._optimizer = optimizer
        self._observe = observe
        self._has_value = True

    def take(self, step: Step, store: ParamStoreDict, args: Args, kwargs: Kwargs) -> Taken:
        """Take the step."""
        self._recorder = TraceMessenger(param_only=True)
        self._changing = Unbroken()
        before = torch_states() if step.policy.excuses else []
        policy = held()
        try:
            # What waits is raised after all else is done: the step has been taken then.
            with (
                self._changing,
                store.active(),
                applied(step.policy),
                _undone_on_error(self._recorder, self._changing),
            ):
                return Taken(step(self, args, kwargs), self._names)
        except KeyboardInterrupt:
            hold(policy)
            raise
        except LeftOut as skipped:
            return Taken(skipped.loss, self._names, left_out=True)
        except ValueError:
            # Validation may have met a NaN before the loss did.
            if not before or (loss := _loss_unvalidated(step.objective, store, before, args, kwargs)) is None:
                raise
            return Taken(loss, self._names, left_out=True)

    def differentiate(self, objective: Objective, args: Args, kwargs: Kwargs) -> Gradients:
        # A process that raised here would leave the others waiting.
        later = nullcontext() if self._optimizer.exchange is None else applied(Later())
        with self._recorder, later:
            loss = objective.backward(*args, **kwargs)
        leaves = touched_leaves(self._recorder)
        self._names = tuple(self._recorder.trace.nodes)
        self._has_value = objective.has_value
        value = to_floats(loss)
        # An objective of Ember's returns a float, which it has looked at already.
        checked = 0.0 if isinstance(loss, float) or not objective.has_value else value
        return Gradients(value, checked, self._names, leaves, [leaf.grad for leaf in leaves])

    def finite(self, found: Gradients) -> bool:
        return is_finite(found.checked) and gradients_finite(found.grads)

    def update(self, found: Gradients, finite: bool, policy: BadLoss) -> Any:
        if self._observe is not None:
            found = self._observe(found)
        if self._optimizer.exchange is not None:
            mean = self._optimizer.exchange(found.loss, found.grads)
            found = replace(found, checked=mean if self._has_value else 0.0)
            finite = not policy.guarded or self.finite(found)
        settle(found, finite, policy)
        self._changing.begin()
        self._optimizer(found.leaves)
        zero_grads(found.leaves)
        return found.loss


def taken_or_undone(take: Callable[[], Taken]) -> Taken:
    """Take a step that a program has left to Python; if it fails, random numbers go on from where they were."""
    before = torch_states()
    try:
        return take()
    except BaseException:
        set_torch_states(before)
        raise


def taken_back(
    take: Callable[[Observer | None], Taken], when: Callable[[Gradients], bool]
) -> Taken | TakenBack:
    """Take a step by Python; but where ``when`` holds after its gradients, end it there, and put back what it has changed."""

    def stop(found: Gradients) -> Gradients:
        # Under a mode all tensors look as if they had changed.
        watching.close()
        if when(found):
            raise _Stopped(found.names)
        return found

    undoable, state = Undoable(), get_rng_state()
    try:
        with ExitStack() as watching:
            watching.enter_context(undoable)
            return take(stop)
    except _Stopped as stopped:
        undoable.guard.put_back()
        set_rng_state(state)
        return TakenBack(stopped.names)
    except Exception:
        # Not everything runs under a mode of torch; what is wrong with the program is wrong without, too.
        undoable.guard.put_back()
        set_rng_state(state)
        return take(None)


def settle(found: Gradients, finite: bool, policy: BadLoss) -> None:
    """Do what the policy says about this step.

    Raises:
        NonFiniteLossError, LeftOut: where the update must not be made.
    """
    if not policy.guarded:
        with applied(policy):
            warn_if_nan(found.checked)
    elif not finite:
        with applied(policy):
            check_loss(found.checked)
            policy.found(found.loss, _bad_gradients(found))


def _bad_gradients(found: Gradients) -> str:
    store = get_param_store()
    bad = [
        f"\n  at parameter {store.param_name(leaf) or 'without a name'!r}: its gradient is not finite"
        for leaf, grad in zip(found.leaves, found.grads, strict=True)
        if grad is not None and not gradients_finite([grad])
    ]
    return "".join(bad)


def _loss_unvalidated(
    objective: Objective, store: ParamStoreDict, random_states: list[Tensor], args: Args, kwargs: Kwargs
) -> Any:
    """The loss without validation, if it is not finite; else None."""
    with fork_torch_rng(), unchecked():
        set_torch_states(random_states)
        loss = evaluate(objective, store, args, kwargs).loss
    return None if is_finite(loss) else loss


def evaluate(objective: Objective, store: ParamStoreDict, args: Args, kwargs: Kwargs) -> Taken:
    """The loss, with nothing changed."""
    handlers = THREAD.mark()
    with Unbroken() as ending, store.active(), torch.no_grad():
        try:
            with TraceMessenger(param_only=True) as recorder:
                loss = to_floats(objective.value(*args, **kwargs))
                ending.begin()
        except BaseException:
            ending.begin()
            THREAD.go_back(handlers)
            raise
    return Taken(loss, tuple(recorder.trace.nodes))


def touched_leaves(recorder: TraceMessenger) -> list[Tensor]:
    """The unconstrained leaves of the recorded parameters, each once, in order."""
    leaves = (site.value.unconstrained() for site in recorder.trace.nodes.values())
    return list({id(leaf): leaf for leaf in leaves}.values())


def gradients_finite(grads: list[Tensor | None]) -> bool:
    """Whether no entry of any gradient is NaN or infinite; one kernel for all of a kind."""
    dense = [grad for grad in grads if grad is not None and not grad.is_sparse and grad.is_floating_point()]
    sparse = [grad.coalesce().values() for grad in grads if grad is not None and grad.is_sparse]
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for grad in dense + sparse:
        groups.setdefault((grad.device, grad.dtype), []).append(grad)
    return all(map(_all_finite, groups.values()))


def _all_finite(grads: list[Tensor]) -> bool:
    device = grads[0].device
    found = torch.zeros(1, device=device, dtype=torch.float32)
    one = torch.ones(1, device=device, dtype=torch.float32)
    # Torch's own check of gradients under mixed precision; it multiplies them by one on the way.
    non_finite_check_and_unscale_(grads, found, one)
    return not found.item()


@contextmanager
def _undone_on_error(recorder: TraceMessenger, changing: Unbroken) -> Iterator[None]:
    store = get_param_store()
    known, handlers = set(store.keys()), THREAD.mark()
    try:
        yield
    except LeftOut:
        zero_grads(touched_leaves(recorder))
        raise
    except BaseException:
        changing.begin()
        THREAD.go_back(handlers)
        zero_grads(touched_leaves(recorder))
        for name in [name for name in store if name not in known]:
            del store[name]
        raise
