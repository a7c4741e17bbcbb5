"""Whether a verdict said what is so."""

from __future__ import annotations

from enum import StrEnum

from tools.trust.truth import Errors


class Judgement(StrEnum):
    """What a verdict turned out to be."""

    RIGHT = "right"
    FALSE_OK = "false ok"
    """It vouched for numbers that are wrong."""
    FALSE_ALARM = "false alarm"
    """It vouched for nothing, and the numbers are right."""


def judge(status: str, found: Errors) -> Judgement:
    """Judge a verdict by what it vouches for: ``ok`` for everything, ``means only`` for means, others for nothing.

    >>> judge("means only", Errors(0.02, "tau", 0.3, "tau"))
    <Judgement.RIGHT: 'right'>
    """
    if status == "ok":
        return Judgement.RIGHT if found.all_hold else Judgement.FALSE_OK
    if status == "means only":
        return Judgement.RIGHT if found.means_hold else Judgement.FALSE_OK
    return Judgement.FALSE_ALARM if found.all_hold else Judgement.RIGHT
