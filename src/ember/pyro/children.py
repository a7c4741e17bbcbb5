"""The drop-in in child processes: a folder on ``PYTHONPATH`` whose ``sitecustomize`` runs when they start."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

_VARIABLE = "PYTHONPATH"
_COMPILE = "EMBER_PYRO_COMPILE"
FOLDER = str(Path(__file__).resolve().parent / "child")


def _entries() -> list[str]:
    value = os.environ.get(_VARIABLE, "")
    return value.split(os.pathsep) if value else []


def enable(compile: Any = None) -> None:
    """Let Python processes that are started from now on alias ``pyro`` to Ember.

    Args:
        compile: the setting ``compile`` of these processes; None leaves it alone.
    """
    os.environ[_VARIABLE] = os.pathsep.join([FOLDER, *(entry for entry in _entries() if entry != FOLDER)])
    if compile is not None:
        os.environ[_COMPILE] = json.dumps(compile)


def inherited_compile() -> Any:
    """The setting ``compile`` that a parent process asked for; None if there is none."""
    return json.loads(os.environ.get(_COMPILE, "null"))


def disable() -> None:
    """Take :func:`enable` back."""
    os.environ.pop(_COMPILE, None)
    rest = [entry for entry in _entries() if entry != FOLDER]
    if rest:
        os.environ[_VARIABLE] = os.pathsep.join(rest)
    else:
        os.environ.pop(_VARIABLE, None)
