"""The files of a package, parsed once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class File:
    """One source file: its module, text and tree."""

    path: Path
    module: str

    @cached_property
    def text(self) -> str:
        """What the file says."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The text, parsed."""
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        """Number of lines."""
        return len(self.text.splitlines())

    def functions(self) -> Iterator[Function]:
        """All functions and methods, inner ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


def files_of(root: Path) -> list[File]:
    """The files of a package, given by its folder."""
    return [File(path, _module(root, path)) for path in sorted(root.rglob("*.py"))]


def _module(root: Path, path: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def function_lines(function: Function) -> int:
    """Lines from ``def`` to the end, the docstring left out."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def type_annotations(function: Function) -> Iterator[ast.expr]:
    """What is written behind the parameters and the arrow; ``None`` says nothing about types and is left out."""
    arguments = function.args
    parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    parameters += [starred for starred in (arguments.vararg, arguments.kwarg) if starred is not None]
    written = [parameter.annotation for parameter in parameters] + [function.returns]
    for annotation in written:
        if annotation is not None and not (isinstance(annotation, ast.Constant) and annotation.value is None):
            yield annotation


def is_bare_any(annotation: ast.expr) -> bool:
    """Whether an annotation leaves everything open."""
    return ast.unparse(annotation) in ("Any", "Any | None", "None | Any", "Optional[Any]", "typing.Any")


def string_keys(file: File) -> int:
    """How often a value is asked for by a literal string: ``x["key"]``, ``x.get("key")``, ``pop`` and ``setdefault``."""
    return sum(_has_string_key(node) for node in ast.walk(file.tree))


def _has_string_key(node: ast.AST) -> bool:
    if isinstance(node, ast.Subscript):
        return _is_string(node.slice)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in ("get", "pop", "setdefault") and bool(node.args) and _is_string(node.args[0])
    return False


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
