"""Facts about Python objects, kept so that looking whether all of them still hold costs some 50 ns each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from operator import attrgetter, is_
from types import CellType, FunctionType, MappingProxyType
from typing import Final

from torch import Tensor
from torch.nn import Module

MISSING: Final = object()
"""Stands for what is not there."""

function_parts = attrgetter("__code__", "__defaults__", "__kwdefaults__")
cell_contents = attrgetter("cell_contents")
shape_of, _trained = attrgetter("shape"), attrgetter("requires_grad")
_trained_and_hooks = attrgetter("requires_grad", "_backward_hooks", "_post_accumulate_grad_hooks")


class Layouts:
    """Where tensors lie, how, and whether they are trained: what can change behind an object that stays the same."""

    __slots__ = ("gradient", "places", "shapes", "strides", "tensors", "trained")

    def __init__(self, tensors: Sequence[Tensor], hooks: bool = False) -> None:
        self.tensors = list(tensors)
        self.gradient = _trained_and_hooks if hooks else _trained
        self.shapes = list(map(shape_of, self.tensors))
        self.strides = list(map(Tensor.stride, self.tensors))
        self.places = list(map(Tensor.data_ptr, self.tensors))
        self.trained = list(map(self.gradient, self.tensors))

    def same(self) -> bool:
        """Whether all lie as they did."""
        tensors = self.tensors
        return (
            list(map(Tensor.data_ptr, tensors)) == self.places
            and list(map(shape_of, tensors)) == self.shapes
            and list(map(Tensor.stride, tensors)) == self.strides
            and list(map(self.gradient, tensors)) == self.trained
        )

    def first_difference(self) -> int | None:
        """The position of the first that does not."""
        for index, tensor in enumerate(self.tensors):
            now = (tensor.data_ptr(), tensor.shape, tensor.stride(), self.gradient(tensor))
            noted = (self.places[index], self.shapes[index], self.strides[index], self.trained[index])
            if now != noted:
                return index
        return None


@dataclass
class Facts:
    """What a scan has found. Lists of equal length belong together; labels say what a user would call it."""

    dicts: list[dict[str, object]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    values: list[object] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    class_dicts: list[MappingProxyType[str, object]] = field(default_factory=list)
    class_keys: list[str] = field(default_factory=list)
    class_values: list[object] = field(default_factory=list)
    class_labels: list[str] = field(default_factory=list)
    counted: list[tuple[dict[str, object], str, object, str]] = field(default_factory=list)
    """Attributes of objects that tell of their changes: who has heard of none need not look at them."""
    cells: list[CellType] = field(default_factory=list)
    cell_values: list[object] = field(default_factory=list)
    cell_labels: list[str] = field(default_factory=list)
    functions: list[FunctionType] = field(default_factory=list)
    function_parts: list[object] = field(default_factory=list)
    wholes: list[dict[object, object]] = field(default_factory=list)
    """Dictionaries all of whose values count."""
    whole_values: list[object] = field(default_factory=list)
    whole_lengths: list[int] = field(default_factory=list)
    whole_labels: list[str] = field(default_factory=list)
    items: list[Collection[object]] = field(default_factory=list)
    """Lists and the like."""
    item_values: list[object] = field(default_factory=list)
    item_lengths: list[int] = field(default_factory=list)
    item_labels: list[str] = field(default_factory=list)
    empty: list[Collection[object]] = field(default_factory=list)
    """Containers with nothing in them; a layer has a dozen for its hooks."""
    empty_labels: list[str] = field(default_factory=list)
    contents: list[tuple[Callable[[], object], object, str]] = field(default_factory=list)
    """Objects that only a comparison of their whole content tells apart."""
    random: set[str] = field(default_factory=set)
    """Labels of contents that are streams of random numbers."""
    tensors: list[Tensor] = field(default_factory=list)
    tensor_labels: list[str] = field(default_factory=list)
    modules: list[tuple[Module, str]] = field(default_factory=list)
    """Modules that were met, each once, in the order of the walk, and what a user would call them."""

    def bind(self, owner: dict[str, object], key: str, value: object, label: str) -> None:
        """Note what stands under a key."""
        self.dicts.append(owner)
        self.keys.append(key)
        self.values.append(value)
        self.labels.append(label)

    def bind_class(self, owner: type, key: str, value: object, label: str) -> None:
        """Note an attribute of a class."""
        self.class_dicts.append(vars(owner))
        self.class_keys.append(key)
        self.class_values.append(value)
        self.class_labels.append(label)

    def bind_cell(self, cell: CellType, value: object, label: str) -> None:
        """Note a variable of an enclosing function."""
        self.cells.append(cell)
        self.cell_values.append(value)
        self.cell_labels.append(label)

    def hold_function(self, function: FunctionType) -> None:
        """Note a function's code and defaults."""
        self.functions.append(function)
        self.function_parts.extend(function_parts(function))

    def hold_dict(self, value: dict[object, object], label: str) -> None:
        """Note a whole dictionary."""
        if not value:
            self.empty.append(value)
            self.empty_labels.append(label)
            return
        self.wholes.append(value)
        self.whole_values.extend(dict.values(value))
        self.whole_lengths.append(len(value))
        self.whole_labels.append(label)

    def hold_items(self, value: Collection[object], label: str) -> None:
        """Note all items of a list or the like."""
        if not value:
            self.empty.append(value)
            self.empty_labels.append(label)
            return
        self.items.append(value)
        self.item_values.extend(value)
        self.item_lengths.append(len(value))
        self.item_labels.append(label)

    def hold_content(self, reader: Callable[[], object], value: object, label: str) -> None:
        """Note what only a comparison of the whole tells apart."""
        self.contents.append((reader, value, label))

    def hold_tensor(self, tensor: Tensor, label: str) -> None:
        """Note a tensor: where it lies, not what is in it."""
        self.tensors.append(tensor)
        self.tensor_labels.append(label)

    def same(self) -> bool:
        """Whether all hold, but those on tensors (see :class:`Layouts`)."""
        return (
            _all_are(map(dict.get, self.dicts, self.keys, repeat(MISSING)), self.values)
            and all(owner.get(key, MISSING) is value for owner, key, value, _ in self.counted)
            and self._functions_same()
            and self._cells_same()
            and self.rest_same()
        )

    def has_rest(self) -> bool:
        """Whether there is anything for :meth:`rest_same` to look at."""
        return bool(self.empty or self.wholes or self.items or self.class_dicts or self.contents)

    def rest_same(self) -> bool:
        """Whether all hold but those on names, variables and functions."""
        return (
            not any(self.empty)
            and (not self.wholes or self._wholes_same())
            and (not self.items or self._items_same())
            and (not self.class_dicts or self._classes_same())
            and (not self.contents or self._contents_same())
        )

    def _functions_same(self) -> bool:
        return _all_are(chain.from_iterable(map(function_parts, self.functions)), self.function_parts)

    def _cells_same(self) -> bool:
        try:
            return _all_are(map(cell_contents, self.cells), self.cell_values)
        except ValueError:  # a variable that has been deleted
            return False

    def _wholes_same(self) -> bool:
        return list(map(len, self.wholes)) == self.whole_lengths and _all_are(
            chain.from_iterable(map(dict.values, self.wholes)), self.whole_values
        )

    def _items_same(self) -> bool:
        return list(map(len, self.items)) == self.item_lengths and _all_are(
            chain.from_iterable(self.items), self.item_values
        )

    def _classes_same(self) -> bool:
        found = map(MappingProxyType.get, self.class_dicts, self.class_keys, repeat(MISSING))
        return _all_are(found, self.class_values)

    def _contents_same(self) -> bool:
        return all(reader() == value for reader, value, _ in self.contents)

    def first_difference(self) -> str | None:
        """What does not hold any more, as a user would call it."""
        named: Iterable[tuple[object, object, str]] = chain(
            zip(map(dict.get, self.dicts, self.keys, repeat(MISSING)), self.values, self.labels, strict=True),
            zip(
                map(MappingProxyType.get, self.class_dicts, self.class_keys, repeat(MISSING)),
                self.class_values,
                self.class_labels,
                strict=True,
            ),
            zip(map(_cell_value, self.cells), self.cell_values, self.cell_labels, strict=True),
        )
        for now, noted, label in named:
            if now is not noted:
                return label
        for owner, key, value, label in self.counted:
            if owner.get(key, MISSING) is not value:
                return label
        for index, function in enumerate(self.functions):
            if not _all_are(function_parts(function), self.function_parts[3 * index : 3 * index + 3]):
                return f"the code or the defaults of {function.__qualname__}"
        for value, label in zip(self.empty, self.empty_labels, strict=True):
            if value:
                return label
        return (
            _first_container(
                map(dict.values, self.wholes), self.whole_values, self.whole_lengths, self.whole_labels
            )
            or _first_container(self.items, self.item_values, self.item_lengths, self.item_labels)
            or next((label for reader, value, label in self.contents if reader() != value), None)
        )


def _all_are(now: Iterable[object], noted: Iterable[object]) -> bool:
    return all(map(is_, now, noted))


def _cell_value(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def _first_container(
    containers: Iterable[Iterable[object]],
    noted: Sequence[object],
    lengths: Sequence[int],
    labels: Sequence[str],
) -> str | None:
    start = 0
    for container, length, label in zip(containers, lengths, labels, strict=True):
        now = list(container)
        if len(now) != length or not _all_are(now, noted[start : start + length]):
            return label
        start += length
    return None


__all__ = ["MISSING", "Facts", "Layouts", "cell_contents", "function_parts", "shape_of"]
