"""What is known about one kind of call: four states, from never seen to trusted or refused."""

from __future__ import annotations

from dataclasses import dataclass

from ember.errors import CaptureError, Reason
from ember.infer.step.given import Parameters
from ember.infer.step.guards import Bound, Fact
from ember.infer.step.program import StepProgram


@dataclass(frozen=True)
class First:
    """It has run eagerly once: parameters and optimizer state have come into being."""

    parameters: Parameters
    fact: Fact = Fact.ARGUMENTS
    """Why there is no program yet."""
    settled: bool = True
    """Whether that run has left what the program reads as it was."""
    option_changes: int = 0
    """How often options of the optimizer have made a program useless."""


@dataclass(frozen=True)
class Recorded:
    """There is a program, which has not been compared with eager execution yet."""

    program: StepProgram
    bound: Bound
    first: First


@dataclass(frozen=True)
class Trusted:
    """The program has given what eager execution gives."""

    program: StepProgram
    bound: Bound
    first: First


@dataclass(frozen=True)
class Refused:
    """There will be no program. (A kept exception that is raised again and again would collect frames.)"""

    text: str
    reason: Reason

    def error(self) -> CaptureError:
        """A new error that says why."""
        return CaptureError(self.text, self.reason)


State = First | Recorded | Trusted | Refused
