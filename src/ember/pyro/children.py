"""The drop-in in child processes: a folder on ``PYTHONPATH`` whose ``sitecustomize`` runs when they start."""

from __future__ import annotations

import os
from pathlib import Path

_VARIABLE = "PYTHONPATH"
FOLDER = str(Path(__file__).resolve().parent / "child")


def _entries() -> list[str]:
    value = os.environ.get(_VARIABLE, "")
    return value.split(os.pathsep) if value else []


def enable() -> None:
    """Let Python processes that are started from now on alias ``pyro`` to Ember."""
    os.environ[_VARIABLE] = os.pathsep.join([FOLDER, *(entry for entry in _entries() if entry != FOLDER)])


def disable() -> None:
    """Take :func:`enable` back."""
    rest = [entry for entry in _entries() if entry != FOLDER]
    if rest:
        os.environ[_VARIABLE] = os.pathsep.join(rest)
    else:
        os.environ.pop(_VARIABLE, None)
