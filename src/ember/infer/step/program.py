"""A compiled step together with the tensors that it works on."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import is_
from typing import Any

import torch
from torch import Tensor

from ember.capture import backend as backends
from ember.capture.recording.assumptions import Unforeseen
from ember.capture.recording.graph import CapturedGraph
from ember.capture.report import Capture
from ember.capture.signals import Unbroken
from ember.infer.objectives.losses.policy import BadLoss
from ember.infer.objectives.losses.values import check as check_loss
from ember.infer.objectives.losses.values import is_finite, to_floats, warn_if_nan
from ember.infer.step.function import Gradients
from ember.infer.step.given import FlatStep
from ember.infer.step.live import gradients_finite, settle
from ember.ops.scalars import zero_grads
from ember.optim import PyroOptim

# A program that has left fewer calls than this to Python has not left many.
_FEWEST_LEFT = 3


class StepProgram:
    """A compiled step, or loss, and its tensors.

    Args:
        flat: what was recorded.
        graph: the record.
        program: what the backend has made of it.
        record: its line in the report.
        fixed: inputs that stay the same objects: leaves (detached), optimizer state, and the count of bad steps.
        optimizer: takes the step where its update was not recorded.
    """

    def __init__(
        self,
        flat: FlatStep,
        graph: CapturedGraph,
        program: backends.Program,
        record: Capture,
        fixed: Sequence[Tensor],
        optimizer: PyroOptim,
    ) -> None:
        self.flat = flat
        self.policy: BadLoss = flat.step.policy
        """What it does about losses that are not finite."""
        self.graph = graph
        self.program = program
        self.record = record
        self.fixed = list(fixed)
        self.bad_steps = fixed[-1]
        self.leaves = list(flat.leaves)
        self._optimizer = optimizer
        self._writes_back = flat.update is not None and flat.update.writes_back
        # Python's handlers of signals run before such a step or after it, never within.
        self._is_one_call = flat.update is not None and program.in_blocks and not self._writes_back
        self.num_left = 0
        """How many calls it has left to Python."""
        self._known: tuple[list[Tensor], list[int], list[Tensor]] | None = None
        on_cpu = self.bad_steps.device.type == "cpu"
        self._bad = ctypes.c_int64.from_address(self.bad_steps.data_ptr()) if on_cpu else None

    @property
    def is_left_often(self) -> bool:
        """Whether code goes elsewhere than in the recording in more than a few calls."""
        few = self.num_left < _FEWEST_LEFT or 4 * self.num_left <= self.record.calls
        return self.graph.has_turns and not few

    @property
    def has_value(self) -> bool:
        """Whether the loss is what must be finite."""
        return self.flat.step.objective.has_value

    def inputs(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        """All inputs for these arguments; the same list for the same tensors in the same memory."""
        varying = [*arguments, *self.graph.lifted]
        places = [tensor.data_ptr() for tensor in varying]
        known = self._known
        if known is not None and places == known[1] and all(map(is_, varying, known[0])):
            return known[2]
        inputs = [*self.fixed, *varying]
        self._known = (varying, places, inputs)
        return inputs

    def copied_inputs(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        """The inputs with copies in place of what the program changes."""
        changed = self.changed(arguments)
        return [t.detach().clone() if i in changed else t for i, t in enumerate(self.inputs(arguments))]

    def changed(self, arguments: Sequence[Tensor]) -> set[int]:
        """Which of the inputs the program changes."""
        lifted = len(self.fixed) + len(arguments)
        return {
            *range(len(self.fixed)),
            *self.graph.mutated_inputs,
            *(lifted + i for i in self.graph.mutated_lifted),
        }

    def take_over(self, inputs: Sequence[Tensor], arguments: Sequence[Tensor]) -> None:
        """Take what the program has made of :meth:`copied_inputs` for what it changes, as if it had changed that itself."""
        update = self.flat.update
        changed = self.changed(arguments)
        if update is None:
            # What torch's optimizer has changed is not the program's.
            changed -= set(range(len(self.fixed)))
        with torch.no_grad():
            for index in changed:
                self.inputs(arguments)[index].copy_(inputs[index])
        if update is not None:
            update.write_back()

    def step(self, inputs: Sequence[Tensor]) -> Any:
        """Take one step; returns the loss before it.

        Raises:
            NonFiniteLossError, LeftOut: as the policy says.
        """
        self.record.calls += 1
        try:
            if self.flat.update is None:
                return self._step_by_torch(inputs)
            loss = self.program.loss(inputs) if self._is_one_call else self._loss_unbroken(inputs)
        except Unforeseen:
            self.num_left += 1
            raise
        if self.policy.guarded:
            bad = self._bad.value if self._bad is not None else self.bad_steps.item()
            if bad:
                self.settle(loss)
        elif not is_finite(loss):
            warn_if_nan(loss)
        return loss

    def _loss_unbroken(self, inputs: Sequence[Tensor]) -> Any:
        assert self.flat.update is not None
        with Unbroken() as changing:
            changing.begin()
            loss = self.program.loss(inputs)
            if self._writes_back:
                self.flat.update.write_back()
        return loss

    def many(self, inputs: Sequence[Tensor], num_steps: int, until_bad: bool) -> Iterator[Tensor]:
        """Losses of many steps, as tensors, none of them waited for; the optimizer must have been recorded."""
        try:
            for losses in self.program.run(inputs, num_steps, until_bad):
                self.record.calls += len(losses) if self.program.in_blocks else 1
                yield losses
        except Unforeseen:
            self.record.calls += 1
            self.num_left += 1
            raise
        finally:
            assert self.flat.update is not None
            self.flat.update.write_back()

    def settle(self, loss: Any) -> None:
        """Act on a bad step of a program that has counted it, and count anew.

        Raises:
            NonFiniteLossError, LeftOut: as the policy says.
        """
        self.bad_steps.zero_()
        if self.has_value and self.policy.ends:
            check_loss(loss)
        self.policy.found(loss, "\n  compile=False says which parameter's")

    def evaluate(self, inputs: Sequence[Tensor]) -> Any:
        """The loss alone."""
        self.record.calls += 1
        try:
            loss = self.program.loss(inputs)
        except Unforeseen:
            self.num_left += 1
            raise
        if not is_finite(loss):
            warn_if_nan(loss)
        return loss

    def _step_by_torch(self, inputs: Sequence[Tensor]) -> Any:
        loss_tensor, *grads = self.program(inputs)
        loss = to_floats(loss_tensor)
        self.finish_by_torch(loss, grads)
        return loss

    def finish_by_torch(self, loss: Any, grads: Sequence[Tensor]) -> None:
        """Judge captured gradients, and let torch's optimizer take the step with them."""
        own = [g if has else None for g, has in zip(grads, self.flat.with_gradient, strict=True)]
        found = Gradients(loss, loss if self.has_value else 0.0, (), self.leaves, own)
        if self._optimizer.exchange is not None:
            mean = self._optimizer.exchange(loss, own)
            found = replace(found, checked=mean if self.has_value else 0.0)
        store = self.flat.parameters.store
        with Unbroken() as changing, store.active():
            settle(found, is_finite(found.checked) and gradients_finite(own), self.policy)
            changing.begin()
            for leaf, grad in zip(self.leaves, own, strict=True):
                leaf.grad = grad
            self._optimizer(self.leaves)
            zero_grads(self.leaves)


def new_count(leaves: Sequence[Tensor]) -> Tensor:
    """A count of bad steps, beside the parameters."""
    return torch.zeros((), dtype=torch.int64, device=leaves[0].device if leaves else None)
