"""Modules whose attributes are statements of the program: reading a parameter is ``param``, a random weight ``sample``.

Effects are on inside ``__call__`` and inside methods marked by :func:`pyro_method`. Elsewhere an attribute is just its value.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, overload

from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.modules import module as register_module
from ember.modules import note_local_param, note_module, put_parameter
from ember.nn import leaves
from ember.nn.attributes import PyroParam as PyroParam
from ember.nn.attributes import PyroSample as PyroSample
from ember.nn.context import Context as _Context
from ember.nn.context import module_local_params
from ember.nn.methods import pyro_method as pyro_method
from ember.nn.mixin import PyroModuleMeta, register_mixed
from ember.params.names import param_with_module_name
from ember.params.param_store import get_param_store
from ember.poutine.validation import is_validation_enabled
from ember.primitives import deterministic, param, sample, subsample
from ember.torch_private.jit import copied_to_script

_SUFFIX = "_unconstrained"
# Pyro's name for it.
_PyroModuleMeta = PyroModuleMeta


def _make_name(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


class PyroModule(nn.Module, metaclass=PyroModuleMeta):
    """Makes attributes of a :class:`torch.nn.Module` parameters and random variables of the program.

    - An :class:`torch.nn.Parameter`, or an attribute set to a :class:`PyroParam`, is a ``param`` site when it is read.
    - An attribute set to a :class:`PyroSample` is a ``sample`` site, drawn once in each outermost call.
    - A plain module as attribute is registered as by :func:`ember.module`.

    Sites are named by the path of the attribute from the root: ``child.weight``; ``child$$$weight`` below a plain module.
    Parameters live in the parameter store under these names, unless the setting ``module_local_params`` is on. One with
    ``requires_grad=False`` is a constant.

    ``PyroModule[nn.Linear]`` is a class that is an ``nn.Linear`` too, and can be pickled.

    Args:
        name: prefix of all names, for a root.

    >>> import torch, ember
    >>> from torch import nn
    >>> from ember import distributions as dist
    >>> from ember.nn import PyroModule, PyroSample
    >>> linear = PyroModule[nn.Linear](3, 2)
    >>> linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([2, 3]).to_event(2))
    >>> recorded = ember.poutine.trace(linear).get_trace(torch.zeros(5, 3))
    >>> [(name, site["type"]) for name, site in recorded.nodes.items() if name[0] != "_"]
    [('weight', 'sample'), ('bias', 'param')]
    """

    _pyro_name: str
    _pyro_context: _Context
    _pyro_params: OrderedDict[str, tuple[Constraint, int | None]]
    _pyro_samples: OrderedDict[str, Any]

    def __init__(self, name: str = "") -> None:
        self._pyro_name = name
        self._pyro_context = _Context()
        self._pyro_params = OrderedDict()
        self._pyro_samples = OrderedDict()
        super().__init__()

    # ---- the tree -------------------------------------------------------------------------------------------------

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Add a child; a :class:`PyroModule` takes its name and its context from this one."""
        if isinstance(module, PyroModule):
            module._pyro_set_supermodule(_make_name(self._pyro_name, name), self._pyro_context)
        super().add_module(name, module)

    def _pyro_set_supermodule(self, name: str, context: _Context) -> None:
        if module_local_params() and is_validation_enabled():
            self._check_module_local_param_usage()
        self._pyro_name = name
        self._pyro_context = context
        for key, child in self._modules.items():
            if isinstance(child, PyroModule):
                assert not child._pyro_context.used, f"submodule {name} has executed outside of supermodule"
                child._pyro_set_supermodule(_make_name(name, key), context)

    def _pyro_get_fullname(self, name: str) -> str:
        assert self.__dict__["_pyro_context"].used, "fullname is not yet defined"
        return _make_name(self.__dict__["_pyro_name"], name)

    def named_pyro_params(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Names and values of the parameters, constrained ones under their own names.

        Args:
            prefix: is put before all names.
            recurse: parameters of submodules too.
        """
        seen: set[int] = set()
        parts: Iterable[tuple[str, nn.Module]] = (
            self.named_modules(prefix=prefix) if recurse else [(prefix, self)]
        )
        for path, part in parts:
            declared = part._pyro_params if isinstance(part, PyroModule) else {}
            for key, leaf in part._parameters.items():
                if leaf is None or id(leaf) in seen:
                    continue
                seen.add(id(leaf))
                name = key.removesuffix(_SUFFIX)
                if name != key and name in declared:
                    yield _make_name(path, name), getattr(part, name)
                else:
                    yield _make_name(path, key), leaf

    def __call__(self, *args: object, **kwargs: object) -> Any:
        context = self._pyro_context
        with context:
            note_module(self)
            result = super().__call__(*args, **kwargs)
        if module_local_params() and not context.active and is_validation_enabled():
            self._check_module_local_param_usage()
        return result

    def _check_module_local_param_usage(self) -> None:
        own = {id(parameter) for parameter in self.parameters()}
        strangers = [
            name for name, leaf in self._pyro_context.param_state["params"].items() if id(leaf) not in own
        ]
        if strangers:
            raise NotImplementedError(
                "Support for global pyro.param statements in PyroModules "
                "with local param mode enabled is not yet implemented. "
                f"Make them attributes instead (self.x = PyroParam(...)): {', '.join(strangers)}"
            )

    # ---- reading --------------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if name in own.get("_pyro_params", ()):
            return self._read_constrained(name)
        if name in own.get("_pyro_samples", ()):
            return self._pyro_draw(name, own["_pyro_samples"][name])
        result = super().__getattr__(name)
        if isinstance(result, Tensor):
            if own["_pyro_context"].active and self._is_plain_parameter(name, result):
                return self._read_parameter(name, result)
        elif isinstance(result, nn.Module):
            self._reached(name, result)
        return result

    def _is_plain_parameter(self, name: str, value: Tensor) -> bool:
        if not value.requires_grad or self._parameters.get(name) is not value:
            return False
        return name.removesuffix(_SUFFIX) not in self._pyro_params

    def _read_constrained(self, name: str, init: Any = None) -> Tensor:
        constraint, event_dim = self._pyro_params[name]
        leaf: Any = super().__getattr__(name + _SUFFIX)
        if not self._pyro_context.active:
            return leaves.constrained(leaf, constraint)
        fullname = self._pyro_get_fullname(name)
        if not module_local_params():
            own, leaf = leaf, leaves.synchronized(fullname, leaf, constraint)
            if leaf is not own:
                put_parameter(self, name + _SUFFIX, leaf)
        if not leaf.requires_grad:  # frozen: a constant, no statement; plates take their rows all the same
            value = leaves.constrained(leaf, constraint)
            return value if event_dim is None else subsample(value, event_dim)
        if not module_local_params():
            return param(fullname, init, constraint=constraint, event_dim=event_dim)
        note_local_param(fullname, self, name + _SUFFIX)
        return leaves.local_param(fullname, leaves.constrained(leaf, constraint), constraint, event_dim)

    def _read_parameter(self, name: str, own: Any) -> Tensor:
        fullname = self._pyro_get_fullname(name)
        if module_local_params():
            own.unconstrained = weakref.ref(own)
            note_local_param(fullname, self, name)
            return leaves.local_param(fullname, own, constraints.real, None, own)
        store = get_param_store()
        leaf = leaves.adopted(fullname, own)
        if leaf is not own:
            own = leaf
            put_parameter(self, name, own)
        value = param(fullname, own)
        # Another module's parameter of that name does not replace this one; what a handler gives does.
        return own if value is store.leaf(fullname) else value

    def _pyro_declares(self, name: str) -> bool:
        """Whether the instance itself has declared a parameter or random attribute of that name."""
        return name in self._pyro_params or name in self._parameters or name in self._pyro_samples

    def _pyro_draw(self, name: str, prior: Any) -> Any:
        """The value of a random attribute: a site inside a call, a fresh draw outside."""
        context = self._pyro_context
        fullname = self._pyro_get_fullname(name) if context.active else name
        value: Any = context.get(fullname)
        if value is None:
            if not hasattr(prior, "sample"):
                prior = prior(self)
            if not context.active:
                return prior if isinstance(prior, Tensor) else prior()
            value = deterministic(fullname, prior) if isinstance(prior, Tensor) else sample(fullname, prior)
            context.set(fullname, value)
        return value

    def _reached(self, name: str, child: nn.Module) -> None:
        if isinstance(child, PyroModule):
            if not child._pyro_name:  # it was plain when it was added
                child._pyro_set_supermodule(_make_name(self._pyro_name, name), self._pyro_context)
        elif self._pyro_context.active:
            fullname = self._pyro_get_fullname(name)
            if not module_local_params():
                register_module(fullname, child)
                return
            note_module(child)
            for key, value in child.named_parameters():
                if value.requires_grad:
                    value.unconstrained = weakref.ref(value)  # type: ignore[attr-defined]
                    path = param_with_module_name(fullname, key)
                    part, _, key = key.rpartition(".")
                    note_local_param(path, child.get_submodule(part), key)
                    leaves.local_param(path, value, constraints.real, None, value)

    # ---- writing --------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, PyroModule):
            self._forget(name)
            self.add_module(name, value)
        elif isinstance(value, PyroParam):
            self._set_constrained(name, value)
        elif isinstance(value, nn.Parameter):
            self._set_parameter(name, value)
        elif isinstance(value, Tensor) and name in self.__dict__.get("_pyro_params", ()):
            constraint, _ = self._pyro_params[name]
            leaf: Any = super().__getattr__(name + _SUFFIX)
            leaves.assign(leaf, value, constraint)
        elif isinstance(value, PyroSample):
            self._forget(name)
            self._pyro_samples[name] = value.prior
        else:
            super().__setattr__(name, value)

    def _set_constrained(self, name: str, declared: PyroParam) -> None:
        init, constraint, event_dim = declared
        assert init is not None, f"PyroParam for {name!r} needs an initial value"
        is_global = bool(self._pyro_context.active) and not module_local_params()
        fullname = self._pyro_get_fullname(name) if self._pyro_context.active else name
        stored = None
        if is_global and name not in self._pyro_params and name not in self._parameters:
            stored = get_param_store().leaf(fullname)
        leaf: Tensor
        if stored is None:
            leaf = leaves.new_leaf(fullname, init, constraint)
        else:  # assigned to or loaded into the store, perhaps, where it need not be a Parameter
            leaf = leaves.as_parameter(fullname, stored, get_param_store().constraint(fullname))
        self._forget(name)
        if is_global:
            leaf = leaves.synchronized(fullname, leaf, constraint)
        self._pyro_params[name] = constraint, event_dim
        super().__setattr__(name + _SUFFIX, leaf)
        if self._pyro_context.active:
            self._read_constrained(name, init)  # handlers see the declared value, whatever the store has

    def _set_parameter(self, name: str, value: nn.Parameter) -> None:
        self._forget(name)
        if self._pyro_context.active and value.requires_grad:
            fullname = self._pyro_get_fullname(name)
            if not module_local_params():
                value = leaves.synchronized(fullname, value, constraints.real)
            super().__setattr__(name, value)
            self._read_parameter(name, value)
        else:
            super().__setattr__(name, value)

    def _forget(self, name: str) -> None:
        try:
            delattr(self, name)
        except AttributeError:
            pass

    def __delattr__(self, name: str) -> None:
        if name in self._parameters:
            del self._parameters[name]
            self._drop_from_store(name)
        elif name in self._pyro_params:
            delattr(self, name + _SUFFIX)
            del self._pyro_params[name]
            self._drop_from_store(name)
        elif name in self._pyro_samples:
            del self._pyro_samples[name]
        elif name in self._modules:
            del self._modules[name]
            self._drop_from_store(name, below=True)
        else:
            super().__delattr__(name)

    def _drop_from_store(self, name: str, below: bool = False) -> None:
        if self._pyro_context.used:
            store, fullname = get_param_store(), self._pyro_get_fullname(name)
            prefixes = (fullname + ".", fullname + "$$$") if below else ()
            for known in list(store.keys()):
                if known == fullname or known.startswith(prefixes or "\0"):
                    del store[known]

    def __getstate__(self) -> dict[str, Any]:
        for parameter in self.parameters():
            leaves.strip(parameter)
        return self.__dict__.copy()


def root_name(mod: PyroModule) -> str:
    """The name that stands before those of all of a module's attributes; empty for a root without one."""
    return mod._pyro_name


def clear(mod: PyroModule) -> None:
    """Remove all parameters and submodules from a module, and its parameters from the store."""
    assert isinstance(mod, PyroModule), f"expected a PyroModule, got {type(mod).__name__}"
    for name in [*mod._pyro_params, *mod._parameters, *mod._modules]:
        if name in mod._pyro_params or name in mod._parameters or name in mod._modules:
            delattr(mod, name)


def to_pyro_module_(m: nn.Module, recurse: bool = True) -> None:
    """Turn a module into a :class:`PyroModule`, in place.

    Args:
        m: any module.
        recurse: its submodules too.

    Raises:
        TypeError: if it is no module.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    >>> to_pyro_module_(net)
    >>> isinstance(net[0], PyroModule[nn.Linear])
    True
    """
    if not isinstance(m, nn.Module):
        raise TypeError(f"Expected an nn.Module instance but got a {type(m)}")
    if not isinstance(m, PyroModule):
        m.__class__ = PyroModule[m.__class__]
        m.__dict__.update(
            _pyro_name="", _pyro_context=_Context(), _pyro_params=OrderedDict(), _pyro_samples=OrderedDict()
        )
        for name, parameter in list(m._parameters.items()):
            setattr(m, name, parameter)
    elif not recurse:
        return
    for name, child in list(m._modules.items()):
        if child is not None and recurse:
            to_pyro_module_(child)
        setattr(m, name, child)


class _FlatWeights:
    """The list of an RNN's weights, read anew each time: torch's own list would go on holding the old values."""

    def __get__(self, obj: Any, obj_type: type | None = None) -> Any:
        return self if obj is None else [getattr(obj, name) for name in obj._flat_weights_names]

    def __set__(self, obj: object, value: object) -> None:
        pass  # torch assigns its list in many places


PyroModule[nn.RNNBase]._flat_weights = _FlatWeights()


class PyroModuleList(nn.ModuleList, PyroModule):
    """Holds modules, as ``PyroModule[nn.ModuleList]``. A slice is a plain ``nn.ModuleList``: names stay."""

    def __init__(self, modules: Iterable[nn.Module] | None = None) -> None:
        super().__init__(modules)

    @overload
    def __getitem__(self, idx: slice) -> nn.ModuleList: ...
    @overload
    def __getitem__(self, idx: int) -> nn.Module: ...
    @copied_to_script
    def __getitem__(self, idx: int | slice) -> nn.Module | nn.ModuleList:
        if isinstance(idx, slice):
            return nn.ModuleList(list(self._modules.values())[idx])
        return self._modules[self._get_abs_string_index(idx)]  # type: ignore[no-untyped-call]


register_mixed(nn.ModuleList, PyroModuleList)
