"""Rows one by one: Python runs the model at each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ember.errors import EmberError
from ember.infer.density.joint import Joint

_OF_THE_POINT = (ValueError, ArithmeticError, torch.linalg.LinAlgError)  # type: ignore[attr-defined]
"""What is raised where arguments of distributions are invalid, or a matrix cannot be factored. The first run has shown that the
model itself is in order."""


class OneByOne:
    """The functions of a model, for many rows."""

    backend = "python"

    def __init__(self, joint: Joint, reason: str = "") -> None:
        self._joint = joint
        self._reason = reason

    def explain(self) -> str:
        """Why it is Python."""
        return f"python, one run of the model a row{': ' if self._reason else ''}{self._reason}"

    def density(self, rows: Tensor, grad: bool) -> tuple[Tensor, Tensor | None]:
        """See :class:`~ember.infer.density.density.Density`."""
        log_p = rows.new_full((len(rows),), -torch.inf)
        score = torch.zeros_like(rows) if grad else None
        for index, row in enumerate(rows):
            found = self._at(row, grad)
            if found is not None:
                log_p[index] = found[0]
                if score is not None and found[1] is not None:
                    score[index] = found[1]
        return log_p, score

    def _at(self, row: Tensor, grad: bool) -> tuple[Tensor, Tensor | None] | None:
        """Log density and score at a row; None where it is not finite."""
        try:
            if not grad:
                with torch.no_grad():
                    value = self._joint.log_density(row)
                return (value, None) if bool(value.isfinite()) else None
            with torch.enable_grad():
                leaf = row.clone().requires_grad_()
                value = self._joint.log_density(leaf)
                if not bool(value.isfinite()):
                    return None
                if not value.requires_grad:
                    return value, torch.zeros_like(row)
                (slope,) = torch.autograd.grad(value, leaf, allow_unused=True)
        except EmberError:
            raise
        except _OF_THE_POINT:
            return None
        slope = torch.zeros_like(row) if slope is None else slope
        return value.detach(), torch.where(slope.isfinite(), slope, 0.0)

    def constrain(self, rows: Tensor) -> dict[str, Tensor]:
        """See :class:`~ember.infer.density.density.Density`."""
        return self._collected(rows, self._joint.constrained)

    def log_likelihood(self, rows: Tensor) -> dict[str, Tensor]:
        """See :class:`~ember.infer.density.density.Density`."""
        observed = self._joint.structure.observed
        found = self._collected(rows, self._joint.log_likelihood)
        for name, values in found.items():
            if values.shape[1:] != observed[name]:
                raise NotImplementedError(
                    f"observed site {name!r} depends on a site that is summed out, and has no log density of its own at each "
                    "event"
                )
        return found

    def _collected(self, rows: Tensor, at: Callable[[Tensor], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The results of a function of one row, put together; NaN at rows where it fails."""
        with torch.no_grad():
            like = at(self._joint.structure.start)
            results = {name: v.new_full((len(rows), *v.shape), torch.nan) for name, v in like.items()}
            for index, row in enumerate(rows):
                try:
                    found = at(row)
                except EmberError:
                    raise
                except _OF_THE_POINT:
                    continue
                for name, value in found.items():
                    results[name][index] = value
        return results
