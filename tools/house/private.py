"""Private names that one file of a package takes from another: ``other._name``, and ``from other import _name``."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeGuard

from tools.house.source import File, Function


@dataclass(frozen=True)
class Reach:
    """One such use."""

    module: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.what}"


def reaches(files: Iterable[File]) -> list[Reach]:
    """All uses of a name with one underscore that the package defines, in a file that does not.

    What hangs on a name imported from another library is that library's, and ``self``, ``cls`` and ``super()`` are a class's own.
    """
    files = list(files)
    modules = {file.module for file in files}
    defined = {file.module: set(_defined(file.tree)) for file in files}
    everywhere = set().union(*defined.values())
    found: list[Reach] = []
    for file in files:
        foreign_names = everywhere - defined[file.module]
        others = set(_names_of_other_libraries(file, modules))
        found += _attributes(file, foreign_names, others)
        found += _imports(file, modules)
    return found


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _attributes(file: File, foreign: set[str], others: set[str]) -> Iterator[Reach]:
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.Attribute) or not _is_private(node.attr) or node.attr not in foreign:
            continue
        if not _is_own(node.value) and _first_name(node.value) not in others:
            yield Reach(file.module, node.lineno, ast.unparse(node)[:70])


def _imports(file: File, modules: set[str]) -> Iterator[Reach]:
    package = file.module.split(".")[0]
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != package:
            continue
        for alias in node.names:
            if _is_private(alias.name) and f"{node.module}.{alias.name}" not in modules:
                yield Reach(file.module, node.lineno, f"from {node.module} import {alias.name}")


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield node.name
            yield from _class_level(node)
        elif _is_set_on_self(node):
            yield node.attr


def _is_set_on_self(node: ast.AST) -> TypeGuard[ast.Attribute]:
    if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Store):
        return False
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def _class_level(cls: ast.ClassDef) -> Iterator[str]:
    for statement in cls.body:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        elif isinstance(statement, ast.Assign):
            targets = statement.targets
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def _names_of_other_libraries(file: File, modules: set[str]) -> Iterator[str]:
    package = file.module.split(".")[0]
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import):
            yield from (
                (alias.asname or alias.name).split(".")[0]
                for alias in node.names
                if alias.name.split(".")[0] != package
            )
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] != package:
            yield from (alias.asname or alias.name for alias in node.names)


def _is_own(value: ast.expr) -> bool:
    if isinstance(value, ast.Name):
        return value.id in ("self", "cls")
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "super"


def _first_name(node: ast.expr) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None
