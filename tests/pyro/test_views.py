"""Paths of Pyro's whose names live elsewhere in Ember."""

from __future__ import annotations

import importlib
import pickle
import sys
from types import ModuleType
from unittest import mock

import pytest

import ember
from ember.pyro import views


def test_names_of_helper_modules_import(alias: None) -> None:
    from pyro.distributions.util import broadcast_shape
    from pyro.infer.util import torch_item
    from pyro.params.param_store import ParamStoreDict

    assert broadcast_shape((3, 1), (4,)) == (3, 4)
    assert torch_item(2.5) == 2.5
    assert isinstance(ember.get_param_store(), ParamStoreDict)


def test_a_view_is_reached_by_attribute_and_from_import_alike(alias: None) -> None:
    import pyro
    from pyro.infer import util

    assert pyro.infer.util is util is sys.modules["pyro.infer.util"]


def test_writing_to_a_view_reaches_the_place_where_the_name_lives(
    alias: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    util = importlib.import_module("pyro.infer.util")
    original = util.torch_item
    home = sys.modules[original.__module__]
    monkeypatch.setattr("pyro.infer.util.torch_item", lambda x: 42.0)
    assert home.torch_item(1.0) == util.torch_item(1.0) == 42.0
    monkeypatch.undo()
    assert home.torch_item is util.torch_item is original


def test_a_name_that_is_new_stays_in_the_view(alias: None) -> None:
    util = importlib.import_module("pyro.infer.util")
    util.made_up = 1
    assert util.made_up == 1 and "made_up" in dir(util)
    del util.made_up
    assert not hasattr(util, "made_up") and not hasattr(ember.infer, "made_up")


def test_a_view_lists_what_it_has_and_pickles_by_name(alias: None) -> None:
    util = importlib.import_module("pyro.distributions.util")
    assert "broadcast_shape" in dir(util) and "Normal" not in dir(util)
    assert pickle.loads(pickle.dumps(util)) is util
    names: dict[str, object] = {}
    exec("from pyro.distributions.util import *", names)
    assert names["broadcast_shape"] is util.broadcast_shape


def test_a_view_stands_in_for_a_module_that_ember_cuts_otherwise(alias: None) -> None:
    module = importlib.import_module("pyro.distributions.delta")
    assert module.Delta is ember.distributions.Delta


def test_old_names_come_through_the_alias_only(alias: None) -> None:
    import pyro

    with pytest.warns(DeprecationWarning, match="use pyro.plate"):
        old = pyro.iarange("data", 3)
    assert isinstance(old, ember.plate)
    with pytest.warns(DeprecationWarning, match="use pyro.plate"):
        assert list(pyro.irange("data", 3)) == [0, 1, 2]
    assert pyro.log.name == "pyro" and not pyro.log.handlers
    assert "iarange" not in vars(ember)


def test_old_names_are_not_embers_without_the_drop_in() -> None:
    assert not hasattr(ember, "iarange")


def test_a_patch_of_a_view_is_undone_by_mock_too(alias: None) -> None:
    util = importlib.import_module("pyro.infer.util")
    original = util.torch_item
    with mock.patch("pyro.infer.util.torch_item", lambda x: 7.0):
        assert sys.modules[original.__module__].torch_item(1.0) == 7.0
    assert util.torch_item is sys.modules[original.__module__].torch_item is original
    assert not [name for name in vars(util) if name == "torch_item"]


def test_a_name_that_is_read_again_is_not_looked_for_again(
    alias: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_for: list[str] = []
    own = views.homes
    monkeypatch.setattr(views, "homes", lambda name, sources: looked_for.append(name) or own(name, sources))
    util = importlib.import_module("pyro.distributions.util")
    first = [(util.sum_rightmost, util.broadcast_all) for _ in range(3)]
    assert len(set(first)) == 1 and max(looked_for.count(name) for name in set(looked_for)) == 1


def test_a_name_is_read_from_a_module_that_came_later(alias: None, monkeypatch: pytest.MonkeyPatch) -> None:
    util = importlib.import_module("pyro.distributions.util")
    assert not hasattr(util, "_made_up_later")
    late = ModuleType("ember.distributions.late")
    vars(late)["_made_up_later"] = 7
    monkeypatch.setitem(sys.modules, late.__name__, late)
    assert util._made_up_later == 7


@pytest.mark.parametrize("path", ["pyro.util", "pyro.infer.autoguide.utils", "pyro.infer.autoguide.guides"])
def test_names_of_earlier_releases_import(alias: None, path: str) -> None:
    importlib.import_module("pyro.infer.autoguide")
    deep_getattr = importlib.import_module(path).deep_getattr
    assert deep_getattr(ember, "infer.SVI.__name__") == "SVI"
