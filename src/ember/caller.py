"""How far up the stack the user's code is: warnings belong to their line, and are shown again for another line."""

from __future__ import annotations

import sys
from types import FrameType

from ember.capture.folders import EMBER, TORCH


def stacklevel() -> int:
    """The ``stacklevel`` of a warning that the calling function gives, so that it names the innermost line of the user."""
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None and frame.f_code.co_filename.startswith((EMBER, TORCH)):
        frame, level = frame.f_back, level + 1
    return level
