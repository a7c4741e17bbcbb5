"""How a scenario is run: again and again until its time is up, with the memory before and after."""

from __future__ import annotations

import gc
import random
import resource
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Scenario = Callable[[random.Random, Path], Iterator[None]]
"""Sets up, then yields after each round; raises where its promise, the first line of its docstring, does not hold.

It is given dice for all that is random, and an empty folder.
"""
_MOST_GROWTH_MIB = 64.0
_MOST_NEW_MAPS = 50
# What is made once (imports, caches of torch, arenas of the allocator) is there after so much of the time.
_WARM = 0.25


@dataclass
class Usage:
    """What the process holds."""

    mib: float
    """Memory."""
    maps: int
    """How many areas of memory the kernel has for it; libraries that stay loaded show here."""

    @classmethod
    def now(cls) -> Usage:
        gc.collect()
        status, maps = Path("/proc/self/status"), Path("/proc/self/maps")
        if not status.exists():
            return cls(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0)
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return cls(int(line.split()[1]) / 1024, len(maps.read_text().splitlines()))


@dataclass
class Outcome:
    """How a scenario went."""

    name: str
    rounds: int = 0
    failures: list[str] = field(default_factory=list)
    start: Usage | None = None
    end: Usage | None = None

    def plain(self) -> dict[str, Any]:
        """As data for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Outcome:
        """From :meth:`plain`."""
        usages = {key: Usage(**plain[key]) if plain[key] else None for key in ("start", "end")}
        return cls(**{**plain, **usages})

    def check_growth(self) -> None:
        """Memory that grows is a failure."""
        if self.start is None or self.end is None:
            return
        grown, new = self.end.mib - self.start.mib, self.end.maps - self.start.maps
        if grown > _MOST_GROWTH_MIB:
            self.failures.append(f"memory has grown by {grown:.0f} MiB in {self.rounds} rounds")
        if new > _MOST_NEW_MAPS:
            self.failures.append(f"{new} areas of memory more, after {self.rounds} rounds")


def soak(name: str, scenario: Scenario, seconds: float, seed: int) -> Outcome:
    """Run a scenario for so long, one round at the least. After a failure it is set up anew."""
    outcome, started, attempt = Outcome(name), time.monotonic(), 0
    while not outcome.rounds + len(outcome.failures) or time.monotonic() < started + seconds:
        dice = random.Random(f"{name} {seed} {attempt}")
        attempt += 1
        try:
            with tempfile.TemporaryDirectory() as folder:
                for _ in scenario(dice, Path(folder)):
                    outcome.rounds += 1
                    passed = time.monotonic() - started
                    if outcome.start is None and passed > _WARM * seconds:
                        outcome.start = Usage.now()
                    if passed > seconds:
                        break
        except BaseException:
            outcome.failures.append(f"seed {seed}, attempt {attempt}\n{traceback.format_exc()}")
            if len(outcome.failures) >= 20:
                break
    outcome.end = Usage.now()
    outcome.check_growth()
    return outcome
