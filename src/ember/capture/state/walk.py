"""One walk through what programs can reach: a part of a key for each object that counts, and facts about what it holds.

The walk starts at functions. From their code it learns which globals, variables of closures and attributes they read, and goes
on from there: into containers, objects, modules and other functions. Code of libraries is taken to stay as it is.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, MutableMapping
from functools import partial
from types import BuiltinMethodType, FunctionType, MethodType, ModuleType

import torch
from torch import Tensor

from ember.capture.state.contents import content_part
from ember.capture.state.facts import MISSING, Facts
from ember.capture.state.libraries import is_library
from ember.capture.state.parts import ById, ByWeakId, is_plain, layout_part, plain_part
from ember.capture.state.reads import Chain, Reads, reads_of

_MOST_OBJECTS = 20_000
# What transforms keep of their last value, until they see another.
_MEMORIES = {"_cached_x_y", "_kept"}
_MOST_ITEMS = 100_000
_OF_EVERY_MODULE = frozenset(
    {"_parameters", "_buffers", "_modules", "_pyro_samples", "_pyro_params", "_model"}
)
# Torch calls these around every module.
_HOOKS_OF_ALL = [
    hooks
    for name, hooks in vars(torch.nn.modules.module).items()
    if name.startswith("_global_") and name.endswith("_hooks") and isinstance(hooks, dict)
]
# Called by libraries, so that their names need not stand in anybody's code.
_CALLED_FROM_OUTSIDE = frozenset({"forward", "__call__", "__init__", "__enter__", "__exit__", "__getattr__"})


class Walk:
    """One walk: what has been met, and what was found."""

    def __init__(self, names: frozenset[str], by_text: bool = False, embers_own: bool = True) -> None:
        self.facts = Facts()
        self.found: set[str] = set()
        self.by_text = by_text
        self.unseen: list[str] = []
        self._names = names
        self._all_attributes = by_text
        self._embers_own = embers_own
        self._seen: dict[int, tuple[int, object]] = {}
        self._bound: set[tuple[int, str]] = set()

    def part(self, value: object, label: str) -> Hashable:
        """What of a value belongs to the key; facts are noted on the way."""
        if is_plain(value):
            return plain_part(value)
        if isinstance(value, Tensor):
            self.facts.hold_tensor(value, label)
            return (ByWeakId(value), layout_part(value))
        if value is MISSING:
            return "missing"
        known = self._seen.get(id(value))
        if known is not None:
            return ("again", known[0])
        self._seen[id(value)] = (len(self._seen), value)
        if len(self._seen) > _MOST_OBJECTS:
            if len(self._seen) == _MOST_OBJECTS + 1:
                self.unseen.append(f"more than {_MOST_OBJECTS:,} objects, {label} among them")
            return ("too many",)
        return self._part_of_new(value, label)

    def _part_of_new(self, value: object, label: str) -> Hashable:
        kind = type(value)
        if isinstance(value, (FunctionType, MethodType, partial, BuiltinMethodType)) or _has_owner(value):
            return self._callable(value, label)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, ModuleType):
            return ById(value)
        if isinstance(value, (list, tuple, deque, set, frozenset)):
            return self._items(value, label)
        if isinstance(value, dict):
            return self._dict(value, label)
        if isinstance(value, (staticmethod, classmethod)):
            return (kind, self.part(value.__func__, label))
        if isinstance(value, property):
            return (kind, self.part(value.fget, label))
        if isinstance(value, torch.nn.Module):
            return self._module(value, label)
        wrapped = getattr(value, "__wrapped__", None)
        if callable(value) and wrapped is not None:
            return (ById(kind), self.part(wrapped, label))
        return self._object(value, label)

    # Callables

    def _callable(self, value: object, label: str) -> Hashable:
        if isinstance(value, FunctionType):
            return self._function(value, label)
        if isinstance(value, MethodType):
            return ("method", self.part(value.__func__, label), self.part(value.__self__, label))
        if isinstance(value, partial):
            inner = (
                self.part(value.func, label),
                self.part(value.args, label),
                self.part(value.keywords, label),
            )
            return ("partial", *inner)
        owner = getattr(value, "__self__", None)
        if owner is None or isinstance(owner, (ModuleType, type)):
            return ById(value)
        return ("builtin method", getattr(value, "__name__", ""), self.part(owner, label))

    def _function(self, function: FunctionType, label: str) -> Hashable:
        library = is_library(function.__module__)
        code = function.__code__
        if library and not code.co_freevars:
            return ById(function)
        self.facts.hold_function(function)
        reads = Reads() if library else reads_of(code)
        self.found |= reads.attributes
        self.by_text = self.by_text or reads.by_text
        if reads.any_global:
            self.unseen.append(f"globals by names that {function.__name__} computes")
        parts: list[Hashable] = [code]
        name = function.__name__
        for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if library or variable in reads.free:
                parts.append(self._cell(cell, variable))
        parts.append(self.part(function.__defaults__, f"a default argument of {name}"))
        parts.append(self.part(function.__kwdefaults__, f"a default argument of {name}"))
        if vars(function) and not library:
            parts += [self._attribute(vars(function), key, f"{name}.{key}") for key in vars(function)]
        parts += [self._chain(function.__globals__, chain) for chain in sorted(reads.globals)]
        parts += [self._import(chain) for chain in sorted(reads.imports)]
        return ("function", *parts)

    def _cell(self, cell: object, variable: str) -> Hashable:
        label = repr(variable)
        try:
            value = cell.cell_contents  # type: ignore[attr-defined]
        except ValueError:  # not assigned yet
            return ("empty", variable)
        self.facts.bind_cell(cell, value, label)  # type: ignore[arg-type]
        return self.part(value, label)

    def _chain(self, names: dict[str, object], chain: Chain) -> Hashable:
        """The value of a global, through modules as far as the chain goes."""
        first = chain[0]
        value = names.get(first, MISSING)
        self._bind(names, first, value, repr(first))
        return ("builtin", first) if value is MISSING else self._through_modules(value, chain)

    def _bind(self, owner: dict[str, object], key: str, value: object, label: str) -> None:
        if (id(owner), key) not in self._bound:
            self._bound.add((id(owner), key))
            self.facts.bind(owner, key, value, label)

    def _import(self, chain: Chain) -> Hashable:
        module = sys.modules.get(chain[0])
        return self._through_modules(module, chain) if module is not None else ("not imported", chain[0])

    def _through_modules(self, value: object, chain: Chain) -> Hashable:
        for position, name in enumerate(chain[1:], 1):
            if not isinstance(value, ModuleType):
                break
            inner = vars(value).get(name, MISSING)
            if not is_library(value.__name__):
                self._bind(vars(value), name, inner, repr(".".join(chain[: position + 1])))
            if inner is MISSING:
                return ("missing", name)
            if is_library(value.__name__) and _stays(inner):
                return plain_part(inner) if is_plain(inner) else ById(inner)
            value = inner
        return self.part(value, repr(".".join(chain)))

    # Containers

    def _items(self, value: Iterable[object], label: str) -> Hashable:
        items = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else list(value)
        if len(items) > _MOST_ITEMS:
            self.unseen.append(f"{label}, a {type(value).__name__} of {len(items):,} items")
        if not isinstance(value, (tuple, frozenset)):
            self.facts.hold_items(value, label)  # type: ignore[arg-type]
        return (type(value), *[self.part(item, f"{label}[{index}]") for index, item in enumerate(items)])

    def _dict(self, value: dict[object, object], label: str) -> Hashable:
        self.facts.hold_dict(value, label)
        items = [(self.part(k, label), self.part(item, f"{label}[{k!r}]")) for k, item in value.items()]
        return (type(value), *items)

    # Objects and classes

    def _attribute(self, owner: dict[str, object], key: str, label: str) -> Hashable:
        value = owner.get(key, MISSING)
        self.facts.bind(owner, key, value, label)
        return (key, "missing" if value is MISSING else self.part(value, label))

    def _counted(self, owner: dict[str, object], key: str, label: str) -> Hashable:
        value = owner.get(key, MISSING)
        self.facts.counted.append((owner, key, value, label))
        return (key, self.part(value, label))

    def _class(self, value: type) -> Hashable:
        parts: list[Hashable] = []
        own = [base for base in value.__mro__ if not is_library(base.__module__)]
        inherited = {name for base in own for name in vars(base)} & self._names
        for base in own:
            for name in sorted(inherited - vars(base).keys()):
                # Set here, it would hide that of a base.
                self.facts.bind_class(base, name, MISSING, f"{base.__name__}.{name}")
            whole = any(map(_calls_any_method, base.__mro__))
            for name, item in sorted(vars(base).items()):
                called = name in self._names or name in _CALLED_FROM_OUTSIDE or (whole and callable(item))
                if not called or (name.startswith("__") and not callable(item)):
                    continue
                self.facts.bind_class(base, name, item, f"{base.__name__}.{name}")
                parts.append((name, self.part(item, f"{base.__name__}.{name}")))
        return (ById(value), *parts)

    def _module(self, module: torch.nn.Module, label: str) -> Hashable:
        own = vars(module)
        home = type(module).__module__
        self.facts.modules.append((module, label))
        for hooks in _HOOKS_OF_ALL:
            self.part(hooks, "a hook of all modules")
        if not self._embers_own and _is_embers(type(module)):
            return ById(module)
        parts: list[Hashable] = [self.part(type(module), label)]
        if home.startswith("torch."):
            self.facts.hold_dict(own, label)  # type: ignore[arg-type]
            return ("module", *parts, *[(n, self.part(item, f"{label}.{n}")) for n, item in own.items()])
        by_name = not (is_library(home) or self._all_attributes)
        for name, item in own.items():
            inside = f"{label}.{name}"
            if name in _OF_EVERY_MODULE or name.endswith("_hooks"):
                # These containers stay the same objects; what is in them counts.
                parts.append((name, self.part(item, inside)))
            elif name == "training" or (name in self._names if by_name else _is_option(name, item)):
                parts.append(self._attribute(own, name, inside))
        return ("module", *parts)

    def _object(self, value: object, label: str) -> Hashable:
        kind = type(value)
        if getattr(kind, "counts_for_nothing", False):
            return ById(kind)
        if getattr(kind, "counts_by_identity", False) or (not self._embers_own and _is_embers(kind)):
            return ById(value)
        own = getattr(value, "__dict__", None)
        if not isinstance(own, dict) or isinstance(value, Mapping):
            return self._content(value, label)
        if is_library(kind.__module__) and not kind.__module__.startswith(
            ("ember", "torch", "argparse", "types")
        ):
            return self._content(value, label)
        library = is_library(kind.__module__)
        # Code of Ember's that a class inherits reads attributes whose names stand in nobody else's.
        inherits = any(base.__module__.startswith("ember.") for base in kind.__mro__)
        every = library or inherits or self._all_attributes
        parts: list[Hashable] = [self.part(kind, label)]
        names = sorted(own.keys() - _MEMORIES if every else self._names & (own.keys() | _class_names(kind)))
        note = self._counted if getattr(kind, "tells_of_changes", False) else self._attribute
        parts += [note(own, name, f"{label}.{name}") for name in names]
        slots = [name for name in _slots(kind) if every or name in self._names]
        if slots:
            parts.append(self._slots(value, slots, label))
        return ("object", *parts)

    def _slots(self, value: object, names: list[str], label: str) -> Hashable:
        def read() -> object:
            return [id(getattr(value, name, MISSING)) for name in names]

        self.facts.hold_content(read, read(), label)
        held = [getattr(value, name, None) for name in names]
        return tuple([self.part(item, f"{label}.{name}") for name, item in zip(names, held, strict=True)])

    def _content(self, value: object, label: str) -> Hashable:
        """An object that only its whole content, as pickle would write it, tells apart."""
        slots = [name for name in _slots(type(value)) if self._all_attributes or name in self._names]
        if slots and not is_library(type(value).__module__):
            return ("object", self.part(type(value), label), self._slots(value, slots, label))
        read: Callable[[], Hashable] = partial(content_part, value)
        part = read()
        if part is None:
            self.unseen.append(f"{label}, a {type(value).__name__}")
            return ById(value)
        if isinstance(part, ById):
            return part
        self.facts.hold_content(read, part, label)
        if isinstance(value, random.Random) or type(value).__module__.startswith("numpy.random"):
            self.facts.random.add(label)
        return part


def _calls_any_method(kind: type) -> bool:
    """Whether a library's class calls methods of its subclasses whose names stand in nobody's code.

    Of plain modules that is ``forward``; a training loop's other methods are no part of the program.
    """
    plain = kind.__module__ in (
        "builtins",
        "abc",
        "typing",
        "collections.abc",
        "torch.nn.modules.module",
        "ember.nn.module",
    )
    return is_library(kind.__module__) and not plain


def _is_embers(kind: type) -> bool:
    """Whether a class is one of Ember's, or derived from a guide and the like; not a user's PyroModule or handler."""
    homes = [base.__module__ for base in kind.__mro__]
    return homes[0].startswith("ember.") or any(
        home.startswith(("ember.infer.", "ember.contrib.", "ember.poutine.rewriting.guide")) for home in homes
    )


def _stays(value: object) -> bool:
    """Whether what a library has under a name is taken to stay as it is; containers, such as ``os.environ``, are not."""
    return not isinstance(value, (ModuleType, MutableMapping, list, set, deque)) and not _has_owner(value)


def _is_option(name: str, value: object) -> bool:
    """Whether an attribute of one of Ember's modules is set by the user; what it notes about its own runs is not."""
    simple = is_plain(value) or isinstance(value, (Tensor, FunctionType, MethodType, partial))
    return simple and not name.startswith("_")


def _has_owner(value: object) -> bool:
    """Whether a value is a method, written in C, of an object that may change (a generator of random numbers, say)."""
    if isinstance(value, (FunctionType, MethodType, type)) or not callable(value):
        return False
    owner = getattr(value, "__self__", None)
    return owner is not None and hasattr(value, "__name__") and not isinstance(owner, (ModuleType, type))


def _class_names(kind: type) -> set[str]:
    return {name for base in kind.__mro__ if not is_library(base.__module__) for name in vars(base)}


def _slots(kind: type) -> list[str]:
    found: list[str] = []
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        found += [slots] if isinstance(slots, str) else list(slots)
    return [name for name in found if name not in ("__dict__", "__weakref__")]


__all__ = ["Walk"]
