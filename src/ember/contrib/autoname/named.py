"""Latent variables kept in objects, lists and dicts, which name them: ``state.xs[0]``."""

from __future__ import annotations

import functools
from typing import Any

import ember.primitives


class Object:
    """A place for values, or for one value that is still to come.

    An attribute that is not there yet is another place; ``sample_`` and ``param_`` put a value into it. What
    has a value cannot get another.

    Args:
        name: its name; a site is named by the whole path to it.

    >>> import ember, torch
    >>> state = Object("state")
    >>> state.x.y.sample_(ember.distributions.Delta(torch.tensor(3.0)))
    tensor(3.)
    >>> state.x.y
    tensor(3.)
    """

    def __init__(self, name: str) -> None:
        super().__setattr__("_name", name)
        super().__setattr__("_is_placeholder", True)
        super().__setattr__("_put", None)

    def __str__(self) -> str:
        return str(super().__getattribute__("_name"))

    def __getattribute__(self, key: str) -> Any:
        try:
            return super().__getattribute__(key)
        except AttributeError:
            if key.startswith("_"):
                raise
        place = Object(f"{self._name}.{key}")
        _set_put(place, functools.partial(self.__setattr__, key))
        super().__setattr__(key, place)
        super().__setattr__("_is_placeholder", False)
        return place

    def __setattr__(self, key: str, value: Any) -> None:
        here = vars(self).get(key)
        if here is not None and not (isinstance(here, Object) and here._is_placeholder):
            raise RuntimeError(f"Cannot overwrite {self._name}.{key}")
        if isinstance(value, List | Dict):
            value._set_name(f"{self._name}.{key}")
        super().__setattr__(key, value)
        super().__setattr__("_is_placeholder", False)

    def _fill(self, what: str, value: Any) -> Any:
        if self._put is None:
            raise RuntimeError(f"Cannot {what} the root named.Object {self}: do so for an attribute of it")
        self._put(value)
        return value

    def _check_empty(self, what: str) -> None:
        if not self._is_placeholder:
            raise RuntimeError(f"Cannot {what} an initialized named.Object {self}")

    def sample_(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """Sample a site of this name, and put the value here.

        Raises:
            RuntimeError: if there is something here already.
        """
        self._check_empty(".sample_")
        return self._fill(".sample_", ember.primitives.sample(str(self), fn, *args, **kwargs))

    def param_(self, *args: Any, **kwargs: Any) -> Any:
        """Put the parameter of this name here.

        Raises:
            RuntimeError: if there is something here already.
        """
        self._check_empty(".param_")
        return self._fill(".param_", ember.primitives.param(str(self), *args, **kwargs))


def _set_put(place: Object, put: Any) -> None:
    object.__setattr__(place, "_put", put)


class List(list[Any]):
    """A list of places.

    Args:
        name: its name; that of the attribute that it is put into if None.
    """

    def __init__(self, name: str | None = None) -> None:
        self._name = name
        super().__init__()

    def __str__(self) -> str:
        return str(self._name)

    def _set_name(self, name: str) -> None:
        if self._name is not None:
            raise RuntimeError(f"Cannot rename named.List: {self._name}")
        if len(self):
            raise RuntimeError(f"Cannot name nonempty named.List: {name}")
        self._name = name

    def add(self) -> Object:
        """A new place at the end.

        Raises:
            RuntimeError: if the list has no name.
        """
        if self._name is None:
            raise RuntimeError("Cannot .add() to a named.List before storing it in a named.Object")
        index = len(self)
        place = Object(f"{self._name}[{index}]")
        _set_put(place, functools.partial(self.__setitem__, index))
        self.append(place)
        return place

    def __setitem__(self, pos: Any, value: Any) -> None:
        here = self[pos]
        if not (isinstance(here, Object) and here._is_placeholder):
            raise RuntimeError(f"Cannot overwrite {self._name}[{pos}]")
        if isinstance(value, List | Dict):
            value._set_name(f"{self._name}[{pos}]")
        super().__setitem__(pos, value)


class Dict(dict[Any, Any]):
    """A dict of places: a key that is not there yet is one.

    Args:
        name: its name; that of the attribute that it is put into if None.
    """

    def __init__(self, name: str | None = None) -> None:
        self._name = name
        super().__init__()

    def __str__(self) -> str:
        return str(self._name)

    def _set_name(self, name: str) -> None:
        if self._name is not None:
            raise RuntimeError(f"Cannot rename named.Dict: {self._name}")
        if len(self):
            raise RuntimeError(f"Cannot name nonempty named.Dict: {name}")
        self._name = name

    def __getitem__(self, key: Any) -> Any:
        try:
            return super().__getitem__(key)
        except KeyError:
            if self._name is None:
                raise RuntimeError("Cannot access an unnamed named.Dict") from None
        place = Object(f"{self._name}[{key!r}]")
        _set_put(place, functools.partial(self.__setitem__, key))
        super().__setitem__(key, place)
        return place

    def __setitem__(self, key: Any, value: Any) -> None:
        here = self.get(key)
        if here is not None and not (isinstance(here, Object) and here._is_placeholder):
            raise RuntimeError(f"Cannot overwrite {self._name}[{key!r}]")
        if isinstance(value, List | Dict):
            value._set_name(f"{self._name}[{key!r}]")
        super().__setitem__(key, value)
