"""What is measured: one function a contract, each with the places that count."""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tools.house.imports import Imports
from tools.house.private import reaches
from tools.house.source import File, files_of, function_lines, is_bare_any, string_keys, type_annotations

SVI = "ember.infer.step.svi"


@dataclass(frozen=True)
class House:
    """A package: its files and its imports."""

    root: Path
    halls: tuple[str, ...] = ("infer", "capture.native")
    imports: Imports = field(init=False)
    files: list[File] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "imports", Imports.of(self.root))
        object.__setattr__(self, "files", files_of(self.root))

    @cached_property
    def lines(self) -> int:
        """Lines of all files."""
        return sum(file.lines for file in self.files)


@dataclass(frozen=True)
class Measure:
    """A number that may only go down, and the places that make it what it is."""

    number: float
    places: list[str]


def modules_in_cycles(house: House) -> Measure:
    """Modules that are in a cycle of imports."""
    cycles = house.imports.module_cycles()
    return Measure(sum(map(len, cycles)), [" - ".join(cycle) for cycle in cycles])


def rooms_in_cycles(house: House) -> Measure:
    """Files and folders that are in a cycle of imports with their neighbours: in a drawing, an arrow that points up."""
    cycles = house.imports.room_cycles()
    return Measure(sum(map(len, cycles)), [" - ".join(cycle) for cycle in cycles])


def rooms_in_a_hall(house: House) -> Measure:
    """Boxes in the largest drawing of ``infer/`` and ``capture/native/``."""
    package = house.root.name
    sizes = {hall: house.imports.rooms(f"{package}.{hall}").number_of_nodes() for hall in house.halls}
    return Measure(max(sizes.values()), [f"{hall}: {size}" for hall, size in sizes.items()])


def files_in_a_room(house: House) -> Measure:
    """Files in the largest folder under ``infer/`` and ``capture/``, tables of contents left out."""
    tops = {hall.split(".")[0] for hall in house.halls}
    sizes = Counter(
        file.path.parent.relative_to(house.root).as_posix()
        for file in house.files
        if file.path.name != "__init__.py" and file.path.relative_to(house.root).parts[0] in tops
    )
    return Measure(max(sizes.values(), default=0), [f"{room}: {size}" for room, size in sizes.most_common(4)])


def uses_of_the_svi_below_it(house: House) -> Measure:
    """Names ``svi``, ``_svi`` and ``SVI`` in what the SVI imports: a part never knows the whole."""
    below = house.imports.below(SVI) - {SVI}
    found = [
        f"{file.module}:{line}"
        for file in house.files
        if file.module in below
        for line in sorted(_svi_lines(file.tree))
    ]
    return Measure(len(found), found)


def _svi_lines(tree: ast.Module) -> Iterator[int]:
    names = {"svi", "_svi", "SVI"}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) if name in names:
                yield node.lineno
            case ast.ImportFrom(module=module) if module == SVI:
                yield node.lineno


def private_names_across_files(house: House) -> Measure:
    """Uses of another file's private names."""
    found = reaches(house.files)
    return Measure(len(found), [str(reach) for reach in found])


def lines_in_a_file(house: House) -> Measure:
    """Lines of the longest file."""
    longest = sorted(house.files, key=lambda file: -file.lines)
    return Measure(longest[0].lines, [f"{file.module}: {file.lines}" for file in longest[:5]])


def lines_in_a_function(house: House) -> Measure:
    """Lines of the longest function, its docstring left out."""
    sizes = Counter(
        {
            f"{file.module}:{function.lineno} {function.name}": function_lines(function)
            for file in house.files
            for function in file.functions()
        }
    )
    longest = sizes.most_common(5)
    return Measure(longest[0][1] if longest else 0, [f"{where}: {size}" for where, size in longest])


def string_keys_in_1000_lines(house: House) -> Measure:
    """Accesses by a literal string, in 1,000 lines."""
    counts = Counter({file.module: string_keys(file) for file in house.files})
    rate = 1000 * counts.total() / max(house.lines, 1)
    return Measure(_rounded_up(rate), [f"{module}: {count}" for module, count in counts.most_common(5)])


def percent_of_bare_any(house: House) -> Measure:
    """Annotations that say ``Any`` and nothing else, in percent."""
    bare: Counter[str] = Counter()
    total = 0
    for file in house.files:
        for function in file.functions():
            written = list(type_annotations(function))
            total += len(written)
            bare[file.module] += sum(map(is_bare_any, written))
    share = 100 * bare.total() / max(total, 1)
    return Measure(_rounded_up(share), [f"{module}: {count}" for module, count in bare.most_common(5)])


def _rounded_up(number: float) -> float:
    return math.ceil(number * 10) / 10


MEASURES: dict[str, Callable[[House], Measure]] = {
    measure.__name__: measure
    for measure in (
        modules_in_cycles,
        rooms_in_cycles,
        rooms_in_a_hall,
        files_in_a_room,
        uses_of_the_svi_below_it,
        private_names_across_files,
        lines_in_a_file,
        lines_in_a_function,
        string_keys_in_1000_lines,
        percent_of_bare_any,
    )
}
