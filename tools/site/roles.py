"""Docstrings name objects by Sphinx's roles, which editors know; on the site they are code."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc|obj):`(~?)([^`]+)`")


def as_code(text: str) -> str:
    """A docstring with its roles as code.

    >>> as_code("see :class:`~ember.infer.SVI` and :meth:`step`")
    'see `SVI` and `step`'
    """
    return _ROLE.sub(lambda found: f"`{found[2].split('.')[-1] if found[1] else found[2]}`", text)


class Roles(griffe.Extension):  # type: ignore[misc]
    """Changes the docstrings as they are read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """For each object."""
        if obj.docstring:
            obj.docstring.value = as_code(obj.docstring.value)
