"""Docstrings name objects by Sphinx's roles, which editors know; on the site they are code, as examples are."""

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


def with_examples(text: str) -> str:
    """A docstring with each example between fences: Markdown takes its prompts for quotations.

    >>> print(with_examples("It adds.\\n\\n>>> 1 + 1\\n2\\n\\nMore."))
    It adds.
    <BLANKLINE>
    ```python
    >>> 1 + 1
    2
    ```
    <BLANKLINE>
    More.
    """
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if inside and not line.strip():
            lines.append("```")
            inside = False
        elif not inside and line.startswith(">>> "):
            lines.append("```python")
            inside = True
        lines.append(line)
    return "\n".join([*lines, "```"] if inside else lines)


class Roles(griffe.Extension):  # type: ignore[misc]
    """Changes the docstrings as they are read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """For each object."""
        if obj.docstring:
            obj.docstring.value = with_examples(as_code(obj.docstring.value))
