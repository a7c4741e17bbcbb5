"""The handler of the logger "pyro", while the drop-in is on."""

from __future__ import annotations

import logging

import pytest

import ember.pyro
from ember.pyro import console


def test_the_logger_has_one_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    log = logging.getLogger("pyro")
    before = (list(log.handlers), log.level, log.propagate)
    log.handlers.clear()
    console.attach()
    console.attach()
    assert [type(handler) for handler in log.handlers] == [logging.StreamHandler]
    assert log.level == logging.INFO and not log.propagate
    console.detach()
    assert not log.handlers and log.propagate
    log.handlers, log.level, log.propagate = before


def test_programs_that_log_their_own_way_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [logging.NullHandler()])
    with ember.pyro.installed():
        assert not logging.getLogger("pyro").handlers
