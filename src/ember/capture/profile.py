"""Where the time of a captured step goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ember.capture.native.program import NativeProgram
from ember.errors import CaptureError

_MOST_ROWS = 20


@dataclass(frozen=True)
class Part:
    """Holds what is known of one part of a step: a loop, or a call of torch."""

    title: str
    """What the part does."""
    sites: tuple[str, ...]
    """What of the user's program it computes: sites, parameters, lines."""
    kind: str
    """``draws``, ``torch``, ``forward``, ``backward``, ``both`` of these in one loop, or ``update``."""
    microseconds: float
    """How long it takes in one step, measured, in microseconds. Looking at the clock is in it, some 0.03."""
    estimate: float
    """The same by a table of costs, in microseconds, without running anything."""


@dataclass(frozen=True)
class Profile:
    """Holds the parts of a step, the slowest first; :func:`profile` returns it. Printing it gives a table."""

    parts: tuple[Part, ...]
    """The parts, the slowest first."""
    num_steps: int
    """How many steps were measured."""
    memory_bytes: int
    """The memory that the program has beside its inputs, in bytes."""

    @property
    def microseconds(self) -> float:
        """How long all parts of one step take, in microseconds."""
        return sum(part.microseconds for part in self.parts)

    def by_kind(self) -> dict[str, float]:
        """Return microseconds by kind of part."""
        found: dict[str, float] = defaultdict(float)
        for part in self.parts:
            found[part.kind] += part.microseconds
        return dict(found)

    def __str__(self) -> str:
        whole = max(self.microseconds, 1e-9)
        shares = ", ".join(f"{kind} {time / whole:.0%}" for kind, time in sorted(self.by_kind().items()))
        lines = [
            f"{self.microseconds:.2f} µs a step over {self.num_steps} steps ({shares}); "
            f"{self.memory_bytes / 2**20:.2f} MiB beside the inputs",
            f"{'µs':>9} {'share':>6} {'kind':>9}  part",
        ]
        for part in self.parts[:_MOST_ROWS]:
            sites = ", ".join(part.sites[:3]) + (" ..." if len(part.sites) > 3 else "")
            lines.append(
                f"{part.microseconds:9.2f} {part.microseconds / whole:6.0%} {part.kind:>9}  {part.title}: {sites}"
            )
        if len(self.parts) > _MOST_ROWS:
            lines.append(f"... and {len(self.parts) - _MOST_ROWS} parts more")
        return "\n".join(lines)


def profile(svi: Any, num_steps: int = 100) -> Profile:
    """Measure the parts of an SVI's newest captured step, on copies of its tensors: the fit is left as it is.

    Args:
        svi: an SVI that has taken captured steps with the native backend.
        num_steps: over how many steps to measure.

    Raises:
        CaptureError: if there is no such step.
        ValueError: if ``num_steps`` is not positive.

    >>> import torch, ember, ember.distributions as dist
    >>> from ember.capture import profile
    >>> def model(y):
    ...     mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    ...     with ember.plate("rows", len(y)):
    ...         ember.sample("y", dist.Normal(mu, 1.0), obs=y)
    >>> guide = ember.infer.autoguide.AutoNormal(model)
    >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.01}), ember.infer.Trace_ELBO(), compile=True)
    >>> losses = [svi.step(torch.zeros(1000)) for _ in range(4)]
    >>> found = profile(svi)
    >>> any("site 'y'" in site for part in found.parts for site in part.sites)
    True
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    program = _newest(svi.capture_report.captures)
    parts = [
        Part(part.title, part.origins, part.kind, nanoseconds / 1e3, part.estimate / 1e3)
        for part, nanoseconds in program.profiled(num_steps)
    ]
    parts.sort(key=lambda part: -part.microseconds)
    return Profile(tuple(parts), num_steps, program.memory_bytes)


def _newest(captures: Sequence[Any]) -> NativeProgram:
    for record in reversed(captures):
        program = None if record.program is None else record.program()
        if record.what == "step" and isinstance(program, NativeProgram):
            return program
    raise CaptureError(
        "there is no program to measure: no step of this SVI has been compiled by the native backend, or it is gone\n"
        'The way out: take three steps with compile=True (and backend="native", which says what stands in the way).'
    )


__all__ = ["Part", "Profile", "profile"]
