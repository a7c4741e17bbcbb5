"""What was captured, why, and how long it took."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Capture:
    """Holds what is known of one program, or the reason why there is none."""

    what: str
    """What was captured, such as ``"step"``."""
    reason: str
    """Why it was captured: what has changed since the time before."""
    num_nodes: int = 0
    """How many operators were recorded."""
    backend: str = ""
    """Which backend made the program."""
    note: str = ""
    """Why this backend, or how its time was spent."""
    optimizer: str = ""
    """How the optimizer's update was captured."""
    trace_seconds: float = 0.0
    """How long recording took."""
    compile_seconds: float = 0.0
    """How long compiling took."""
    check_seconds: float = 0.0
    """How long the comparison with the eager step took."""
    failure: str | None = None
    """Why there is no program; None if there is one."""
    calls: int = 0
    """How many calls the program has taken."""
    source: str = field(default="", repr=False)
    """The program's text, where the backend has one."""
    memory_bytes: int = 0
    """The memory that the program has beside its inputs, in bytes, where the backend tells."""
    estimates: Mapping[str, float] = field(default_factory=dict)
    """About how long the parts of a step take, in nanoseconds by kind, where the backend tells."""
    program: weakref.ref[Any] | None = field(default=None, repr=False, compare=False)
    """The program, as long as it is in use."""

    def __getstate__(self) -> dict[str, Any]:
        # Programs hold addresses of this process.
        return {**vars(self), "program": None}

    def __str__(self) -> str:
        if self.failure is not None:
            return f"{self.what} ({self.reason}): eager, since {self.failure}"
        backend = f"{self.backend} ({self.note})" if self.note else self.backend
        return (
            f"{self.what} ({self.reason}): {self.num_nodes} operators, {backend}; update: {self.optimizer}; "
            f"traced in {self.trace_seconds:.2f} s, compiled in {self.compile_seconds:.2f} s, "
            f"checked in {self.check_seconds:.2f} s; {self.calls} calls"
            + (f"; {self.memory_bytes / 2**20:.2f} MiB beside its inputs" if self.memory_bytes else "")
            + (f"; {_shares(self.estimates)}" if self.estimates else "")
        )


def _shares(estimates: Mapping[str, float]) -> str:
    """The whole, and what part of it is spent on what."""
    whole = sum(estimates.values())
    longest_first = sorted(estimates.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{kind} {time / max(whole, 1e-9):.0%}" for kind, time in longest_first)
    return f"about {whole / 1e3:.3g} µs a step by the table of costs ({shares})"


@dataclass
class Report:
    """Holds all captures of one SVI; :func:`explain` returns it. Printing it gives a line for each."""

    captures: list[Capture] = field(default_factory=list)
    """The captures, in order."""
    eager_calls: int = 0
    """How many calls Python took instead of a program."""

    @property
    def num_captures(self) -> int:
        """How many programs were made."""
        return sum(capture.failure is None for capture in self.captures)

    def __str__(self) -> str:
        lines = [f"{self.num_captures} captures, {self.eager_calls} eager calls", *map(str, self.captures)]
        return "\n  ".join(lines)
