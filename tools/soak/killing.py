"""Trainings that are killed at any moments, and go on from their file in new processes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch._dynamo as preloaded  # which each child would import for itself, and that takes longer than the training
from torch import distributed as group

from tools.soak.resuming import Kind, alike, resumed, told
from tools.soak.saving import in_a_child

KINDS = [
    *(
        Kind(mode, loader, network, every)
        for mode in (False, True)
        for loader, network, every in ((False, False, 1), (False, True, 3), (True, True, None))
    ),
    *(
        Kind(mode, False, network, every, how)
        for mode in (False, True)
        for how in ("run", "step")
        for network, every in ((False, 1), (True, 3))
    ),
    *(Kind(mode, False, True, 1, processes=2) for mode in (False, True)),
]
"""Eager and compiled: fits over tensors and loaders, runs, steps, fits by two processes."""
_MEETINGS = count()
assert preloaded


@dataclass
class Killed:
    """Kills trainings, and compares how they end with those that nothing has stopped.

    Args:
        dice: for the moments.
        folder: for files.
    """

    dice: random.Random
    folder: Path
    straight: dict[Kind, tuple[Any, float]] = field(default_factory=dict)
    """What the file of a training that was never stopped holds, and how many seconds it took."""

    @property
    def path(self) -> Path:
        """The file of the training."""
        return self.folder / "training.pt"

    def kills(self, kind: Kind, most: int) -> Iterator[None]:
        """A training that is killed up to so many times; yields after each kill, and once more when it has come to its end."""
        if kind not in self.straight:
            # Of programs that are compiled the second time tells how long it takes.
            for _ in range(1 + kind.compile):
                self.path.unlink(missing_ok=True)
                started = time.monotonic()
                self.to_the_end(kind)
            self.straight[kind] = told(self.path), time.monotonic() - started
        expected, seconds = self.straight[kind]
        self.path.unlink(missing_ok=True)
        for _ in range(most):
            if not self.is_killed(kind, self.dice.random() * seconds):
                break
            yield
        self.to_the_end(kind)
        found = told(self.path)
        different = [key for key in expected if not alike(expected[key], found[key])]
        assert not different, (kind, different)
        yield

    def is_killed(self, kind: Kind, seconds: float) -> bool:
        """Start it, and kill it after so long; whether it was still at work."""
        children = self.started(kind, quiet=True)
        time.sleep(seconds)
        self.dice.shuffle(children)
        for child in children:
            os.kill(child, signal.SIGKILL)
        ends = [os.waitpid(child, 0)[1] for child in children]
        return any(map(os.WIFSIGNALED, ends))

    def to_the_end(self, kind: Kind) -> None:
        """Start it, and wait for its end."""
        ends = [os.waitpid(child, 0)[1] for child in self.started(kind)]
        assert [os.waitstatus_to_exitcode(end) for end in ends] == [0] * len(ends), kind

    def started(self, kind: Kind, quiet: bool = False) -> list[int]:
        """Its processes; quiet ones say nothing, such as that the other one is gone."""
        meeting = self.folder / f"meeting {next(_MEETINGS)}"
        return [
            in_a_child(partial(_take_part, kind, self.path, rank, meeting, quiet))
            for rank in range(kind.processes)
        ]


def _take_part(kind: Kind, path: Path, rank: int, meeting: Path, quiet: bool) -> None:
    if quiet:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if kind.processes > 1:
        group.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=kind.processes
        )
    resumed(kind, path)
    if kind.processes > 1:
        with suppress(RuntimeError):  # the other one has left already
            group.barrier()


def killed_while_fitting(dice: random.Random, folder: Path) -> Iterator[None]:
    """A fit that is killed at any moments, and goes on from its file, ends as one that is not, bit for bit."""
    killed = Killed(dice, folder)
    while True:
        yield from killed.kills(dice.choice(KINDS), dice.randrange(1, 4))


__all__ = ["KINDS", "Killed", "killed_while_fitting"]
