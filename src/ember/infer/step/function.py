"""One step of an SVI as a function over a flat list of tensors, to be captured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ember.capture.signature import put_together
from ember.distributions.validation import values_unchecked
from ember.errors import CaptureError
from ember.infer.traces.validate_all import validation_enabled
from ember.modules import Registered
from ember.optim.traced import TracedUpdate
from ember.params.param_store import ParamStoreDict
from ember.poutine.trace_messenger import TraceMessenger

Loss = Callable[..., tuple[Any, Any]]
"""``(*args, **kwargs) -> (loss, surrogate)``: scalars to report and to differentiate."""

Guarding = Literal["off", "halt", "skip"]
"""What a step does whose loss is not finite: update all the same; leave all as it is, as must all steps after it; or
leave all as it is, also if a gradient is not finite, and count."""


class UpdateError(Exception):
    """Internal: the update of an optimizer could not be recorded."""


@dataclass
class StepFunction:
    """The flat inputs are: leaves, tensors of the optimizer, the count of bad steps, tensors of the arguments."""

    loss: Loss
    store: ParamStoreDict
    names: list[str]
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    modules: Registered
    update: TracedUpdate | None
    guarding: Guarding
    train: bool
    has_value: bool = True
    """Whether the loss is what must be finite; if not, the surrogate."""
    with_gradient: tuple[bool, ...] = ()
    """Which of the leaves have a gradient; known after a run."""

    def __call__(self, flat: Sequence[Tensor]) -> list[Tensor]:
        remaining = iter(flat)
        leaves = [next(remaining) for _ in self.names]
        state = [next(remaining) for _ in (self.update.tensors if self.update else ())]
        bad_steps = next(remaining)
        # The tensors of the arguments come next, in the order in which they stand in the structure.
        args, kwargs = put_together(self.arguments, remaining)
        params = [leaf.detach().requires_grad_(True) for leaf in leaves]
        if not self.train:
            with torch.no_grad():
                return [torch.as_tensor(self._run(params, args, kwargs)[0])]
        loss, surrogate = self._run(params, args, kwargs)
        grads = self._gradients(surrogate, params)
        loss = torch.as_tensor(loss).detach()
        checked = loss if self.has_value else torch.as_tensor(surrogate).detach()
        self.with_gradient = tuple(grad is not None for grad in grads)
        if self.update is None:
            return [
                loss,
                *(torch.zeros_like(p) if g is None else g for p, g in zip(params, grads, strict=True)),
            ]
        for leaf, param in zip(leaves, params, strict=True):
            # Plates note on a parameter which of its rows they have drawn.
            leaf.__dict__.update(param.__dict__)
        with torch.no_grad():
            try:
                self._step(self.update, leaves, state, bad_steps, checked, grads)
            except Exception as error:
                raise UpdateError(f"{type(error).__name__}: {error}") from error
        return [loss]

    def _run(self, params: list[Tensor], args: Any, kwargs: Any) -> tuple[Any, Any]:
        state = self.store.get_state()
        local = self.modules.local
        given = dict(zip(self.names, params, strict=True))
        scoped = {**state["params"], **{name: leaf for name, leaf in given.items() if name not in local}}
        originals = dict(zip(map(id, state["params"].values()), state["params"], strict=True))
        originals.update((id(self.modules.local_leaf(name)), name) for name in local)
        recorder = TraceMessenger(param_only=True)
        with ExitStack() as stack:
            stack.enter_context(validation_enabled(False))
            stack.enter_context(self.store.active())
            stack.enter_context(self.store.scope({"params": scoped, "constraints": state["constraints"]}))
            stack.enter_context(values_unchecked())
            stack.enter_context(_parameters_replaced(self.modules, originals, {**scoped, **given}))
            with recorder:
                loss, surrogate = self.loss(*args, **kwargs)
            self._check_touched(recorder, set(self.store) - set(scoped))
        return loss, surrogate

    def leaf(self, name: str) -> Tensor | None:
        """The parameter of that name, in the store or in a module, as it is now."""
        return (
            self.store._params.get(name) if name not in self.modules.local else self.modules.local_leaf(name)
        )

    def _check_touched(self, recorder: TraceMessenger, new: set[str]) -> None:
        touched = list(recorder.trace.nodes)
        if new or set(touched) != set(self.names):
            raise CaptureError(
                f"the step cannot be captured: it touches the parameters {sorted(set(touched) | new)}, "
                f"but touched {sorted(self.names)} the time before\n"
                "The way out: make the program use the same sites in every step, or run eagerly (compile=False)."
            )

    @staticmethod
    def _gradients(surrogate: Any, params: list[Tensor]) -> list[Tensor | None]:
        if not (isinstance(surrogate, Tensor) and surrogate.requires_grad and params):
            return [None] * len(params)
        return list(torch.autograd.grad(surrogate, params, allow_unused=True))

    def _step(
        self,
        update: TracedUpdate,
        leaves: list[Tensor],
        state: list[Tensor],
        bad_steps: Tensor,
        loss: Tensor,
        grads: list[Tensor | None],
    ) -> None:
        if self.guarding == "off":
            update.apply(leaves, grads, state)
            return
        good = torch.isfinite(loss).all()
        if self.guarding == "skip":
            for grad in grads:
                if grad is not None:
                    good = good & torch.isfinite(grad).all()
        else:
            good = good & (bad_steps == 0)
        update.apply(leaves, grads, state, good)
        bad_steps.add_((~good).to(bad_steps.dtype))


@contextmanager
def _parameters_replaced(
    modules: list[torch.nn.Module], names: dict[int, str], params: dict[str, Tensor]
) -> Iterator[None]:
    """Let registered modules compute with the given tensors instead of their own parameters."""
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for module in modules:
            for part in module.modules():
                for key, own in part._parameters.items():
                    if own is not None and id(own) in names:
                        replaced.append((part._parameters, key, own))
        for owner, key, own in replaced:
            owner[key] = params[names[id(own)]]
        yield
    finally:
        for owner, key, own in replaced:
            owner[key] = own
