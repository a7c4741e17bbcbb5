"""A step on tensors that are given from outside, to be recorded: parameters, optimizer state and arguments in one flat list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from ember import tree
from ember.capture.recording.assumptions import excuse
from ember.errors import CaptureError, Reason
from ember.infer.objectives.losses.policy import BadLoss
from ember.infer.step.function import Args, Gradients, Kwargs, Objective, Step
from ember.modules import Registered
from ember.optim.traced import TracedUpdate
from ember.params.param_store import ParamStoreDict
from ember.poutine.trace_messenger import TraceMessenger
from ember.poutine.validation import structure_unchecked

MOST_TOGETHER = 2**14
"""Elements of a gradient that is put together with others to be looked at; larger ones are looked at where they are computed."""


class UpdateError(Exception):
    """Internal: the update of an optimizer could not be recorded."""


@dataclass(frozen=True)
class Parameters:
    """The parameters that a program touched when it ran last: their names, and the leaves behind them."""

    names: tuple[str, ...]
    store: ParamStoreDict
    modules: Registered

    def leaf(self, name: str) -> Tensor | None:
        """The parameter of that name, in the store or in a module, as it is now."""
        if name in self.modules.local:
            return self.modules.local_leaf(name)
        return self.store.leaf(name)

    def constraints(self) -> list[Constraint]:
        """The constraints of those in the store."""
        return [self.store.constraint(name) for name in self.names if name not in self.modules.local]

    def leaves(self) -> list[Tensor]:
        """The leaves, each once: a network may be registered under two names."""
        found = [leaf for name in self.names if (leaf := self.leaf(name)) is not None]
        return list({id(leaf): leaf for leaf in found}.values())


@dataclass(frozen=True)
class FlatStep:
    """A step as a function of a flat list of tensors: leaves, tensors of the optimizer, the count of bad steps, tensors of the
    arguments. It returns the loss, and, where the optimizer is left to torch, the gradients."""

    step: Step
    parameters: Parameters
    leaves: tuple[Tensor, ...]
    arguments: tuple[Args, Kwargs]
    update: TracedUpdate | None
    train: bool
    with_gradient: list[bool] = field(default_factory=list)
    """Which of the leaves have a gradient; filled in by a run."""
    others: list[Tensor] = field(default_factory=list)
    """Tensors that require gradients but are no parameters: theirs is added to ``.grad``; filled in by a run."""

    def with_grads(self) -> list[Tensor]:
        """Tensors whose ``.grad`` the program counts on: those others, and leaves that are left alone, since they have none."""
        return [
            *self.others,
            *(leaf for leaf, has in zip(self.leaves, self.with_gradient, strict=False) if not has),
        ]

    def leaf_names(self) -> list[str]:
        """A name for each of the leaves."""
        names: dict[int, str] = {}
        for name in self.parameters.names:
            names.setdefault(id(self.parameters.leaf(name)), name)
        return [names.get(id(leaf), "?") for leaf in self.leaves]

    def __call__(self, flat: Sequence[Tensor]) -> list[Tensor]:
        remaining = iter(flat)
        leaves = [next(remaining) for _ in self.leaves]
        state = [next(remaining) for _ in (self.update.tensors if self.update else ())]
        bad_steps = next(remaining)
        args, kwargs = tree.with_tensors(self.arguments, remaining)
        given = _Given(self, leaves, state, bad_steps)
        if not self.train:
            with torch.no_grad():
                return [torch.as_tensor(given.value(self.step.objective, args, kwargs))]
        outputs: list[Tensor] = self.step(given, args, kwargs)
        return outputs


class _Given:
    """The place of a recorded step."""

    def __init__(self, flat: FlatStep, leaves: list[Tensor], state: list[Tensor], bad_steps: Tensor) -> None:
        self._flat = flat
        self._leaves = leaves
        self._state = state
        self._bad_steps = bad_steps
        self._other_grads: list[tuple[Tensor, Tensor]] = []
        self._params = [
            leaf.detach().requires_grad_(own.requires_grad)
            for leaf, own in zip(leaves, flat.leaves, strict=True)
        ]

    def value(self, objective: Objective, args: Args, kwargs: Kwargs) -> Any:
        """The loss alone."""
        with self._running():
            return objective.terms(*args, **kwargs)[0]

    def differentiate(self, objective: Objective, args: Args, kwargs: Kwargs) -> Gradients:
        with self._running():
            loss, surrogate = objective.terms(*args, **kwargs)
        grads = self._gradients(surrogate)
        loss = torch.as_tensor(loss).detach()
        checked = loss if objective.has_value else torch.as_tensor(surrogate).detach()
        return Gradients(loss, checked, self._flat.parameters.names, self._leaves, grads)

    def finite(self, found: Gradients) -> Tensor:
        good = torch.isfinite(found.checked).all()
        small: dict[torch.dtype, list[Tensor]] = {}
        for grad in found.grads:
            if grad is not None and grad.numel() > MOST_TOGETHER:
                good = good & torch.isfinite(grad).all()
            elif grad is not None:
                small.setdefault(grad.dtype, []).append(grad.reshape(-1))
        for grads in small.values():
            good = good & torch.isfinite(torch.cat(grads) if len(grads) > 1 else grads[0]).all()
        if self._flat.step.policy.excuses:
            excuse(~(good | torch.isfinite(found.loss).all()))
        return good

    def update(self, found: Gradients, finite: Any, policy: BadLoss) -> list[Tensor]:
        update = self._flat.update
        for other, grad in self._other_grads:
            kept = torch.where(policy.good(finite, self._bad_steps), grad, 0.0) if policy.guarded else grad
            other.grad.add_(kept)  # type: ignore[union-attr]
        self._flat.with_gradient[:] = [grad is not None for grad in found.grads]
        if update is None:
            pairs = zip(self._leaves, found.grads, strict=True)
            return [found.loss, *(torch.zeros_like(leaf) if g is None else g for leaf, g in pairs)]
        for leaf, param in zip(self._leaves, self._params, strict=True):
            # Plates note on a parameter which of its rows they have drawn.
            vars(leaf).update(vars(param))
        with torch.no_grad():
            try:
                self._updated(update, found.grads, finite, policy)
            except Exception as error:
                raise UpdateError(f"{type(error).__name__}: {error}") from error
        return [found.loss]

    def _updated(
        self, update: TracedUpdate, grads: list[Tensor | None], finite: Any, policy: BadLoss
    ) -> None:
        if not policy.guarded:
            update.apply(self._leaves, grads, self._state)
            return
        good = policy.good(finite, self._bad_steps)
        update.apply(self._leaves, grads, self._state, good)
        self._bad_steps.add_((~good).to(self._bad_steps.dtype))

    def _gradients(self, surrogate: Any) -> list[Tensor | None]:
        trained = [param for param in self._params if param.requires_grad]
        found: dict[int, Tensor | None] = {}
        if isinstance(surrogate, Tensor) and surrogate.requires_grad:
            others = _others(surrogate, self._params, self._flat.leaves)
            grads = torch.autograd.grad(surrogate, [*trained, *others], allow_unused=True)
            found = dict(zip(map(id, trained), grads, strict=False))
            self._other_grads = [
                (other, grad)
                for other, grad in zip(others, grads[len(trained) :], strict=True)
                if grad is not None
            ]
            self._flat.others[:] = others
        # A parameter that the loss does not depend on, or a frozen one, keeps the zeros that an earlier step has left.
        kept = [own.grad is not None for own in self._flat.leaves]
        own = [found.get(id(param)) for param in self._params]
        return [
            torch.zeros_like(param) if zeros and grad is None else grad
            for param, grad, zeros in zip(self._params, own, kept, strict=True)
        ]

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Let the program find the given parameters in the store, and in its networks."""
        parameters, flat = self._flat.parameters, self._flat
        store = parameters.store
        state = store.get_state()
        by_leaf = dict(zip(map(id, flat.leaves), self._params, strict=True))
        scoped = {name: by_leaf.get(id(leaf), leaf) for name, leaf in state["params"].items()}
        recorder = TraceMessenger(param_only=True)
        with ExitStack() as stack:
            stack.enter_context(structure_unchecked())
            stack.enter_context(store.active())
            stack.enter_context(store.scope({"params": scoped, "constraints": state["constraints"]}))
            stack.enter_context(_parameters_replaced(parameters.modules, by_leaf))
            with recorder:
                yield
            self._check_touched(recorder, set(store) - set(scoped))

    def _check_touched(self, recorder: TraceMessenger, new: set[str]) -> None:
        touched, names = set(recorder.trace.nodes), self._flat.parameters.names
        if new or touched != set(names):
            raise CaptureError(
                f"the step cannot be captured: it touches the parameters {sorted(touched | new)}, "
                f"but touched {sorted(names)} the time before\n"
                "The way out: make the program use the same sites in every step, or run eagerly (compile=False).",
                Reason.OTHER_SITES,
            )


def _others(surrogate: Tensor, params: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    """Tensors that gradients flow into, but that are no parameters: eager steps add to their ``.grad``.

    Raises:
        CaptureError: if there is none to add to; if the program uses a leaf itself, beside the parameter made of it.
    """
    known, own = set(map(id, params)), set(map(id, leaves))
    seen: set[Any] = set()
    found: list[Tensor] = []
    waiting: list[Any] = [surrogate.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) not in known:
            _check_gradient(variable, is_leaf=id(variable) in own)
            found.append(variable)
        waiting += [inner for inner, _ in node.next_functions]
    return found


def _check_gradient(tensor: Tensor, is_leaf: bool) -> None:
    if is_leaf:
        raise CaptureError(
            f"the step cannot be captured: it uses a tensor of shape {tuple(tensor.shape)} itself that shares its memory with "
            "a parameter (it does not come from ember.param or ember.module, or was kept from an earlier step, as by a cache)\n"
            "The way out: use what ember.param returns, clear the cache in each step, or run eagerly (compile=False).",
            Reason.SHARED_MEMORY,
        )
    if tensor.grad is None:
        raise CaptureError(
            f"the step cannot be captured: gradients flow into a tensor of shape {tuple(tensor.shape)} that is no parameter "
            "and has no .grad yet (a network that is not registered?)\n"
            "The way out: register it (ember.module, ember.param), detach() it, or run eagerly (compile=False).",
            Reason.OTHER_GRADIENTS,
        )


@contextmanager
def _parameters_replaced(modules: Sequence[torch.nn.Module], by_leaf: Mapping[int, Tensor]) -> Iterator[None]:
    """Let registered modules compute with the given tensors instead of their own parameters."""
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for module in modules:
            for part in module.modules():
                for key, own in part._parameters.items():
                    if own is not None and id(own) in by_leaf:
                        replaced.append((part._parameters, key, own))
        for owner, key, own in replaced:
            owner[key] = by_leaf[id(own)]
        yield
    finally:
        for owner, key, own in replaced:
            owner[key] = own
