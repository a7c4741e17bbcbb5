"""``pytest -p ember.pyro.pytest_plugin``: tests written for Pyro run on Ember, in xdist workers too."""

from __future__ import annotations

from typing import Any

from ember.pyro.switch import install


def pytest_addoption(parser: Any) -> None:
    """Install the drop-in. Pytest calls this hook first of all, before it imports any conftest."""
    install()


def pytest_report_header() -> str:
    """One line in pytest's header, since results under the drop-in speak of Ember, not of Pyro."""
    return "pyro: ember (drop-in)"
