"""The handler of Pyro's logger: messages of "pyro" go to standard error, while the drop-in is on."""

from __future__ import annotations

import logging
import sys

from ember.pyro.legacy import default_handler, log

_before: list[tuple[int, bool, logging.Handler]] = []


def attach() -> None:
    """Give the logger its handler and the level INFO, as Pyro does, unless the program logs its own way."""
    if logging.root.handlers or log.handlers:
        return
    _before.append((log.level, log.propagate, default_handler))
    default_handler.setStream(sys.stderr)
    log.setLevel(logging.INFO)
    log.addHandler(default_handler)
    log.propagate = False


def detach() -> None:
    """Take :func:`attach` back."""
    for level, propagate, handler in _before:
        log.setLevel(level)
        log.propagate = propagate
        log.removeHandler(handler)
    _before.clear()
