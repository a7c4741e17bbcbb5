"""Which names a piece of code reads: globals, variables of closures, attributes. Found in its bytecode; nothing runs."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from types import CodeType

Chain = tuple[str, ...]
"""A name and the attributes that follow it: ``("config", "beta")`` for ``config.beta``."""

_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_FREE = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_CLOSURE", "LOAD_FROM_DICT_OR_DEREF"})
_ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_ANY_ATTRIBUTE = _ATTRIBUTE | {"LOAD_SUPER_ATTR", "IMPORT_FROM"}
# With one of these a program can reach an attribute whose name does not stand in its code.
_BY_TEXT = frozenset({"vars", "locals", "dir"})
# With one of these it can reach a global by a name that it computes.
_ANY_GLOBAL = frozenset({"globals", "eval", "exec", "import_module", "__import__"})
_ANY_GLOBAL_ATTRIBUTES = frozenset({"import_module"})
_BY_TEXT_ATTRIBUTES = frozenset({"__dict__", "attrgetter", "__getattribute__"})
# These take a name that may stand in the code as a text.
_BY_NAME = frozenset({"getattr", "hasattr"})
_BUILDS_TEXT = frozenset({"BUILD_STRING", "FORMAT_VALUE", "FORMAT_SIMPLE", "FORMAT_WITH_SPEC"})


@dataclass(frozen=True)
class Reads:
    """What a function's code, and the code of the functions defined inside it, may read.

    >>> config = {"beta": 1.0}
    >>> sorted(reads_of((lambda x: config["beta"] * x.sum()).__code__).globals)
    [('config',)]
    """

    globals: frozenset[Chain] = frozenset()
    free: frozenset[str] = frozenset()
    """Variables of enclosing functions."""
    attributes: frozenset[str] = frozenset()
    """Names of attributes of whatever object."""
    imports: frozenset[Chain] = frozenset()
    """Modules imported while it runs, each with the name that is taken from it, if one is."""
    by_text: bool = False
    """Whether it may read attributes by names that are computed."""
    any_global: bool = False
    """Whether it may read globals by names that are computed."""


@dataclass
class _Found:
    globals: set[Chain] = field(default_factory=set)
    free: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    imports: set[Chain] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    builds_text: bool = False


@cache
def reads_of(code: CodeType) -> Reads:
    """What the code reads."""
    found = _Found()
    for part in _with_inner(code):
        _read(part, found)
    names = {chain[0] for chain in found.globals}
    by_text = bool(names & _BY_TEXT or found.attributes & _BY_TEXT_ATTRIBUTES)
    if names & _BY_NAME:
        found.attributes |= {text for text in found.texts if text.isidentifier()}
        by_text = by_text or found.builds_text
    free = frozenset(found.free & set(code.co_freevars))
    any_global = bool(names & _ANY_GLOBAL or found.attributes & _ANY_GLOBAL_ATTRIBUTES)
    return Reads(
        frozenset(found.globals),
        free,
        frozenset(found.attributes),
        frozenset(found.imports),
        by_text,
        any_global,
    )


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_inner(constant)


def _read(code: CodeType, found: _Found) -> None:
    chain: Chain = ()
    module = ""
    found.texts |= {constant for constant in code.co_consts if isinstance(constant, str)}
    for instruction in dis.get_instructions(code):
        name, value = instruction.opname, instruction.argval
        if name in _ANY_ATTRIBUTE:
            found.attributes.add(value)
        elif name in _BUILDS_TEXT:
            found.builds_text = True
        if name in _ATTRIBUTE and chain:
            chain = (*chain, value)
            continue
        if chain:
            found.globals.add(chain)
            chain = ()
        if name in _GLOBAL:
            chain = (value,)
        elif name in _FREE:
            found.free.add(value)
        elif name == "IMPORT_NAME":
            module = value
            found.imports.add((module,))
        elif name == "IMPORT_FROM":
            found.imports.add((module, value))
    if chain:
        found.globals.add(chain)


__all__ = ["Chain", "Reads", "reads_of"]
