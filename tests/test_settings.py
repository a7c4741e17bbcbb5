"""The registry of settings."""

from __future__ import annotations

import sys
import types

import pytest

from ember import poutine, settings


@pytest.fixture
def home(monkeypatch):
    """A module with values to be settings, and a registry that forgets them afterwards."""
    module = types.ModuleType("home_of_settings")
    module.level = 1

    class Inner:
        depth = 2

    module.Inner = Inner
    monkeypatch.setitem(sys.modules, "home_of_settings", module)
    monkeypatch.setattr(settings, "_REGISTRY", dict(settings._REGISTRY))
    settings.register("level", "home_of_settings", "level")

    @settings.register("depth", "home_of_settings", "Inner.depth")
    def whole(value):
        assert isinstance(value, int), "depth must be whole"

    assert whole is not None
    return module


def test_get(home):
    assert settings.get("level") == 1 and settings.get("depth") == 2
    everything = settings.get()
    assert everything["level"] == 1 and everything["validate_poutine"] is True
    assert list(everything) == sorted(everything)


def test_set_writes_in_place(home):
    settings.set(level=5, depth=7)
    assert (home.level, home.Inner.depth) == (5, 7)
    settings.set()


def test_unknown_names_list_the_known(home):
    for use in (
        lambda: settings.get("nope"),
        lambda: settings.set(nope=1),
        lambda: settings.context(nope=1).__enter__(),
    ):
        with pytest.raises(KeyError, match=r"unknown setting 'nope'; there are: .*level"):
            use()


def test_invalid_values_change_nothing(home):
    with pytest.raises(AssertionError, match="depth must be whole"):
        settings.set(level=9, depth="deep")
    with pytest.raises(AssertionError, match="depth must be whole"), settings.context(level=9, depth="deep"):
        pass
    assert (home.level, home.Inner.depth) == (1, 2)


def test_context_restores(home):
    with settings.context(level=3, depth=4):
        assert (home.level, home.Inner.depth) == (3, 4)
    with pytest.raises(ZeroDivisionError), settings.context(level=3):
        1 / 0  # noqa: B018
    assert (home.level, home.Inner.depth) == (1, 2)


def test_context_decorates(home):
    @settings.context(level=3)
    def read():
        return settings.get("level")

    assert (read(), read(), settings.get("level")) == (3, 3, 1)


def test_register_checks_its_target(home):
    with pytest.raises(AttributeError):
        settings.register("missing", "home_of_settings", "missing")
    with pytest.raises(ModuleNotFoundError):
        settings.register("missing", "no_such_module_at_all", "x")
    with pytest.raises(ValueError, match=r"already registered for home_of_settings.level"):
        settings.register("level", "home_of_settings", "Inner.depth")
    settings.register("level", "home_of_settings", "level")
    with pytest.raises(KeyError):
        settings.get("missing")


def test_the_packages_own_settings():
    assert {
        "validate_poutine",
        "validate_infer",
        "validate_distributions_pyro",
        "validate_distributions_torch",
    } <= set(settings.get())
    with settings.context(validate_poutine=False):
        assert not poutine.is_validation_enabled()
    assert poutine.is_validation_enabled()
