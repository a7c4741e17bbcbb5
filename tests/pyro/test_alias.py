"""`import pyro` gives Ember's own modules, whatever the way of importing, and leaves no trace afterwards."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import sys
from types import ModuleType

import pytest
import torch

import ember
import ember.pyro
from ember.pyro import places, surface
from ember.pyro.finder import ember_name
from ember.pyro.views import View

# Paths that programs import and whose content Ember has; each issue that brings more adds its own.
PATHS = [
    "primitives",
    "settings",
    "util",
    "logger",
    "params",
    "params.param_store",
    "poutine.runtime",
    "poutine.messenger",
    "poutine.handlers",
    "poutine.trace_struct",
    "poutine.trace_messenger",
    "poutine.util",
    "poutine.replay_messenger",
    "poutine.block_messenger",
    "poutine.condition_messenger",
    "poutine.indep_messenger",
    "poutine.plate_messenger",
    "poutine.subsample_messenger",
    "poutine.broadcast_messenger",
    "poutine.lift_messenger",
    "infer.svi",
    "infer.elbo",
    "infer.util",
    "infer.enum",
    "infer.trace_elbo",
    "optim.optim",
    "optim.clipped_adam",
    "optim.adagrad_rmsprop",
    "optim.lr_scheduler",
    "optim.pytorch_optimizers",
    "distributions.torch",
    "distributions.torch_distribution",
    "distributions.util",
    "distributions.constraints",
    "distributions.transforms",
    "distributions.distribution",
    "distributions.score_parts",
    "distributions.testing.fakes",
    "distributions.delta",
    "distributions.unit",
]
PACKAGES = ["infer", "optim", "poutine", "distributions", "params", "settings"]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_the_same_object_under_both_names(alias: None, name: str) -> None:
    by_path = importlib.import_module(f"pyro.{name}")
    by_attribute = getattr(importlib.import_module("pyro"), name)
    assert by_path is by_attribute is importlib.import_module(f"ember.{name}")
    assert sys.modules[f"pyro.{name}"] is sys.modules[f"ember.{name}"]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_imports_and_binds_as_an_attribute(alias: None, path: str) -> None:
    module = importlib.import_module(f"pyro.{path}")
    found = importlib.import_module("pyro")
    for name in path.split("."):
        found = getattr(found, name)
    assert found is module is sys.modules[f"pyro.{path}"]


def test_optimizer_classes_and_their_wrappers_are_not_mixed_up(alias: None) -> None:
    from pyro.optim import ClippedAdam as wrapper
    from pyro.optim.clipped_adam import ClippedAdam as rule

    assert issubclass(rule, torch.optim.Optimizer) and not isinstance(wrapper, type)


def test_every_form_of_import_gives_the_same_objects(alias: None) -> None:
    import pyro  # isort: skip
    import pyro.distributions as dist
    import pyro.infer.svi
    import pyro.poutine.runtime
    from pyro import infer, poutine
    from pyro.infer import SVI, Trace_ELBO
    from pyro.optim import Adam

    assert pyro is ember
    assert dist is ember.distributions
    assert infer is ember.infer and poutine is ember.poutine
    assert pyro.infer.svi is sys.modules["ember.infer.step.svi"]
    assert pyro.poutine.runtime is sys.modules["ember.poutine.runtime"]
    assert SVI is ember.infer.SVI and Trace_ELBO is ember.infer.Trace_ELBO and Adam is ember.optim.Adam


@pytest.mark.parametrize(
    "path, names",
    [
        ("pyro", ["sample", "iarange", "random_module"]),
        ("pyro.infer", ["SVI", "JitTrace_ELBO", "JitTraceEnum_ELBO", "NUTS"]),
        ("pyro.optim", ["Adam", "HorovodOptimizer"]),
        ("pyro.poutine", ["trace", "collapse"]),
    ],
)
def test_a_star_imports_what_pyro_lists(alias: None, path: str, names: list[str]) -> None:
    found: dict[str, object] = {}
    exec(f"from {path} import *", found)
    assert set(names) <= set(found)


def test_a_star_gives_what_is_pyros_own_at_the_path(alias: None) -> None:
    missing = {}
    for path in surface.paths():
        found: dict[str, object] = {}
        if path != "pyro.contrib.funsor":
            exec(f"from {path} import *", found)
            missing[path] = surface.names_at(path).own - found.keys()
    assert {path: names for path, names in missing.items() if names} == {}


def test_a_star_gives_as_before_without_the_drop_in() -> None:
    before = {name: list(vars(sys.modules[name])["__all__"]) for name in ("ember.infer", "ember.poutine")}
    with ember.pyro.installed():
        importlib.import_module("pyro.infer")
        assert "JitTrace_ELBO" in ember.infer.__all__
    assert before == {name: vars(sys.modules[name])["__all__"] for name in before}


def test_a_submodule_of_embers_own_is_not_loaded_twice(alias: None) -> None:
    importlib.import_module("pyro.infer.svi")
    for name, module in list(sys.modules.items()):
        if name.startswith("pyro.") and not isinstance(module, View):
            assert sys.modules[module.__name__] is module


def test_modules_keep_their_own_name_spec_and_loader(alias: None) -> None:
    for path in ("pyro", "pyro.infer", "pyro.infer.svi"):
        module = importlib.import_module(path)
        name = ember_name(path)
        assert (module.__name__, module.__spec__.name) == (name, name)  # type: ignore[union-attr]
        assert module.__loader__ is module.__spec__.loader  # type: ignore[union-attr]


def test_a_module_first_imported_under_the_alias_keeps_its_spec(alias: None) -> None:
    # The finder, not the aliasing of what was loaded before, is what answers here.
    del sys.modules["pyro.infer.svi"]
    module = importlib.import_module("pyro.infer.svi")
    assert module is sys.modules["ember.infer.step.svi"]
    assert module.__spec__ is not None and module.__spec__.name == "ember.infer.step.svi"


def test_pickles_go_by_embers_names_and_pyros_names_load(alias: None) -> None:
    from pyro.infer import SVI

    assert b"ember.infer" in pickle.dumps(SVI) and b"pyro" not in pickle.dumps(SVI)
    assert pickle.loads(b"cpyro.infer.svi\nSVI\n.") is SVI


def test_the_version_is_that_of_the_pyro_whose_programs_run() -> None:
    own = ember.__version__
    with ember.pyro.installed():
        import pyro

        assert pyro.__version__ == ember.pyro.EMULATED_VERSION == "1.9.2"
    assert ember.__version__ == own


def test_a_loss_that_is_not_finite_warns_as_in_pyro() -> None:
    before = ember.settings.get("nonfinite_loss")
    with ember.pyro.installed():
        assert ember.settings.get("nonfinite_loss") == "warn"
    assert ember.settings.get("nonfinite_loss") == before == "raise"


def test_uninstall_leaves_everything_as_it_was() -> None:
    hooks = {name: vars(m).get("__getattr__") for name, m in sys.modules.items() if name.startswith("ember")}
    names = {name: set(vars(m)) for name, m in sys.modules.items() if name in ("ember", "ember.infer")}
    finders, variable = list(sys.meta_path), os.environ.get("PYTHONPATH")
    with ember.pyro.installed():
        importlib.import_module("pyro.infer.util")
        importlib.import_module("pyro.distributions.util")
        assert os.environ["PYTHONPATH"] != variable
    assert sys.meta_path == finders and os.environ.get("PYTHONPATH") == variable
    assert not [name for name in sys.modules if name == "pyro" or name.startswith("pyro.")]
    for name, hook in hooks.items():
        assert vars(sys.modules[name]).get("__getattr__") is hook
    for name, before in names.items():
        new = {
            key for key in set(vars(sys.modules[name])) - before if sys.modules.get(f"{name}.{key}") is None
        }
        assert not new and before <= set(vars(sys.modules[name]))


def test_installing_twice_and_nested_is_installing_once() -> None:
    with ember.pyro.installed():
        ember.pyro.install()
        assert sum(type(finder).__module__ == "ember.pyro.finder" for finder in sys.meta_path) == 1
        with ember.pyro.installed():
            pass
        assert ember.pyro.is_installed()
    assert not ember.pyro.is_installed()
    ember.pyro.uninstall()


def test_another_pyro_that_is_already_imported_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyro", ModuleType("pyro"))
    with pytest.raises(RuntimeError, match="another pyro has been imported before"):
        ember.pyro.install()
    assert not ember.pyro.is_installed()


def test_looking_for_a_spec_answers_without_raising(alias: None) -> None:
    assert importlib.util.find_spec("pyro.infer") is not None
    assert importlib.util.find_spec("pyro.contrib.funsor") is None


def test_the_drop_in_itself_is_not_under_the_alias(alias: None) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"no module 'pyro\.pyro'"):
        importlib.import_module("pyro.pyro")


def test_the_table_of_places_names_paths_of_pyro() -> None:
    for path in [*places.MOVED, *places.VIEWS, *places.NO_STAND_IN, *places.ALSO]:
        assert surface.has_path(path), path


def test_the_table_of_places_names_modules_of_ember() -> None:
    rows = [*places.VIEWS.values(), *places.ALSO.values(), *((name,) for name in places.MOVED.values())]
    for source in {source.removesuffix(".*") for row in rows for source in row}:
        assert importlib.import_module(source).__name__ == source
