"""Limits on what a file may hold, so that code which walks through it, by recursion, comes to an end."""

from __future__ import annotations

from typing import Any

from ember.errors import SaveFileError

_CONTAINERS = (dict, list, tuple, set, frozenset)

DEEPEST = 64
"""Containers inside one another. States of stores and optimizers have about six levels."""


def verify_nesting(loaded: Any) -> None:
    """Look at the containers of plain data, each once.

    Raises:
        SaveFileError: if they are nested too deeply, or in themselves, or are shared so often that a copy would be vast.
    """
    level: dict[int, Any] = {id(loaded): loaded}
    seen: dict[int, Any] = {}
    for _ in range(DEEPEST):
        seen |= level
        items = (item for container in level.values() for item in _items(container))
        level = {id(item): item for item in items if isinstance(item, _CONTAINERS)}
        if not level:
            break
    else:
        raise SaveFileError(f"its data are nested more than {DEEPEST} levels deep")
    written = sum(1 + len(_items(container)) for container in seen.values())
    if _copied(loaded, {}) > 100 * written + 100_000:
        raise SaveFileError("its data refer to themselves so often that a copy would not fit into memory")


def _items(container: Any) -> list[Any]:
    if isinstance(container, dict):
        return [*container, *container.values()]
    return list(container) if isinstance(container, _CONTAINERS) else []


def _copied(item: Any, known: dict[int, int]) -> int:
    # The number of objects in a copy that shares nothing; the depth is bounded by now.
    if id(item) not in known:
        known[id(item)] = 1 + sum(_copied(part, known) for part in _items(item))
    return known[id(item)]
