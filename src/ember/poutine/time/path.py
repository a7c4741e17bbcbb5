"""One site for the statements of one name in all steps of a loop over time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ember.distributions.over_time import along_time, over_time, repeated
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import Independent, TorchDistributionMixin
from ember.errors import ModelError
from ember.poutine.messenger import Messenger, enter_site, leave_site
from ember.poutine.site import Site, message
from ember.poutine.stack import THREAD
from ember.poutine.time.rows import Rows


class _FirstStep(Independent):
    """Stands for the distribution of a path while only that of its first step is known."""


@dataclass
class Path:
    """The site of a path, which handlers outside of the loop see before the first step and after the last."""

    site: Site
    length: int
    inside: int
    """The place of the loop on the stack: the handlers before it are outside."""
    reached: int
    """The outermost handler that saw the site."""
    observed_in_steps: bool
    given: Rows | None
    """The values of the steps, if they come from outside."""
    scale: float | Tensor
    """What the handlers inside of the loop scale by."""
    watchers: list[Messenger]
    """The handlers outside that act on each step."""
    fns: list[Any] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    observations: list[Any] = field(default_factory=list)
    """What the program itself observes."""
    whole: Any = None
    """The distribution of the path, if it has been found at once."""

    @property
    def is_known(self) -> bool:
        """Whether nothing is drawn or watched here: the values come from outside, or are observed."""
        if self.watchers:
            return False
        return self.given is not None or (self.observed_in_steps and self.site.is_observed)

    def of_one_step(self, given: Tensor | None) -> Path:
        """A path without steps, for one more run of a step that gets this value."""
        return replace(
            self,
            given=None if given is None else Rows(given.unsqueeze(0)),
            fns=[],
            values=[],
            observations=[],
        )

    def settle(self, fn: Any, value: Tensor, observations: list[Tensor]) -> None:
        """Take distribution, value and observation (if there is one) of all steps at once."""
        self.whole, self.values, self.observations = fn, [value], observations

    def enter(self, step: Site) -> None:
        """Give a step its value, if there is one from outside, and the plates around the loop."""
        name = step.name
        if step.is_observed != self.observed_in_steps:
            raise ModelError(
                f"site {name!r} in a scan is observed in some steps and sampled in others; "
                "observe it in all of them, with obs_mask= for values that are missing"
            )
        if step.scale is not self.scale and not _same_number(step.scale, self.scale):
            raise ModelError(
                f"site {name!r} in a scan is scaled by {self.scale} in step 0 and by {step.scale} in step {len(self.fns)}; "
                "put poutine.scale around the scan"
            )
        step.fn = _expanded(step.fn, self.site.fn.batch_shape)
        if self.observed_in_steps:
            self.observations.append(step.value)
        if self.given is not None:
            step.value = self.given[len(self.fns)]
        elif self.observed_in_steps and not self.site.is_observed:
            step.value, step.is_observed, step.done = None, False, False
        step.stop = True

    def leave(self, step: Site) -> None:
        """Note what a step has come to."""
        for watcher in self.watchers:
            watcher.see_step(step)
        self.fns.append(step.fn if step.mask is None else step.fn.mask(step.mask))
        self.values.append(step.value)

    def close(self) -> None:
        """Make the steps one site, and show it to the handlers that saw it before."""
        site = self.site
        try:
            found = self.whole is not None
            site.fn = self.whole if found else over_time(self.fns)
            if self.given is None:
                site.value = self.values[0] if found else self._beside(self.values)
            if site.was_observed:
                site.observation = self.observations[0] if found else self._beside(self.observations)
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"site {site.name!r} in a scan: its steps do not make one value: {error}\n"
                "Give it the same shapes and dtype in all steps."
            ) from error
        site.done = True
        leave_site(site, self.reached, self.inside)

    def _beside(self, values: list[Any]) -> Tensor:
        tensors = [value if isinstance(value, Tensor) else torch.as_tensor(value) for value in values]
        return along_time(tensors, self.fns[0].event_dim)


def open_path(step: Site, length: int, inside: int) -> Path:
    """Ask the handlers outside of a loop about the site of which this is the first step.

    Raises:
        ModelError: if the site is not one that a path can be made of, or if its value from outside does not fit.
    """
    name, fn = step.name, step.fn
    _check_site(step)
    event_dim: int = fn.event_dim
    first = repeated(fn, length)
    observed = step.is_observed
    start = torch.as_tensor(step.value).unsqueeze(-(1 + event_dim)) if observed else None
    site = message(
        name,
        _FirstStep(first.base_dist, first.reinterpreted_batch_ndims),
        value=start,
        is_observed=observed,
        infer=dict(step.infer),
    )
    site.cond_indep_stack, site.scale = step.cond_indep_stack, step.scale
    scale = step.scale
    reached = enter_site(site, inside)
    if not isinstance(site.fn, _FirstStep):
        raise ModelError(
            f"site {name!r} in a scan: a handler around the scan changes its distribution to {site.fn}, "
            "when only that of the first step is known; put that handler around statements of the step, "
            "or take another guide"
        )
    given = None
    if site.value is not None and site.value is not start:
        given = _steps_of(name, site.value, event_dim, length)
    watchers = [
        handler
        for handler in THREAD.stack[reached:inside]
        if type(handler).see_step is not Messenger.see_step
    ]
    return Path(site, length, inside, reached, observed, given, scale, watchers)


def _same_number(one: float | Tensor, other: float | Tensor) -> bool:
    return not isinstance(one, Tensor) and not isinstance(other, Tensor) and one == other


def _check_site(step: Site) -> None:
    name = step.name
    if not isinstance(step.fn, TorchDistributionMixin):
        raise ModelError(f"site {name!r} in a scan: {step.fn!r} is no distribution of tensors")
    if step.enumeration:
        raise ModelError(
            f"site {name!r} in a scan asks for enumeration, which a scan does not do; "
            "write the loop with ember.markov, or take dist.DiscreteHMM"
        )


def _steps_of(name: str, value: Any, event_dim: int, length: int) -> Rows:
    value = torch.as_tensor(value)
    dim = -(1 + event_dim)
    if value.dim() < -dim or value.shape[dim] != length:
        raise ModelError(
            f"site {name!r} in a scan of {length} steps: its value from outside has the shape {tuple(value.shape)}; "
            f"expected the size {length} at dim {dim}, the dim of time (plates are to the left of it, events to the right)"
        )
    return Rows(value.movedim(dim, 0))


def _expanded(fn: Any, batch_shape: torch.Size) -> Any:
    shape = broadcast_shape(fn.batch_shape, batch_shape)
    if fn.batch_shape == shape:
        return fn
    expanded = fn.expand(shape)
    if expanded.has_rsample != fn.has_rsample:
        expanded.has_rsample = fn.has_rsample
    return expanded
