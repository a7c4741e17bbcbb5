"""Site: the record of one primitive statement, passed through the handlers and kept in traces.

It is a dict, since programs and their own handlers read and write it as one, with typed attributes on top and an error that
lists the valid names when a key is misspelt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ember.poutine.indep_messenger import CondIndepStackFrame

FIELDS = (
    *("type", "name", "fn", "is_observed", "args", "kwargs", "value", "infer", "scale", "mask"),
    *("cond_indep_stack", "done", "stop", "continuation"),
)
"""What every message has."""

RESULTS = ("log_prob", "log_prob_sum", "unscaled_log_prob", "score_parts", "packed")
"""What inference adds to sample sites of a trace."""


InferDict = dict[str, Any]


class Site(dict[str, Any]):
    """One primitive statement: ``site["value"]`` and ``site.value`` are the same.

    >>> site = message("x", abs, args=(-1.0,))
    >>> site.name, site["is_observed"]
    ('x', False)
    """

    __slots__ = ()

    if TYPE_CHECKING:
        type: str
        name: str
        fn: Any
        is_observed: bool
        args: tuple[Any, ...]
        kwargs: dict[str, Any]
        value: Any
        infer: dict[str, Any]
        scale: Any
        mask: Any
        cond_indep_stack: tuple[CondIndepStackFrame, ...]
        done: bool
        stop: bool
        continuation: Callable[[Site], None] | None

    def __missing__(self, key: str) -> Any:
        raise KeyError(f"site {self.get('name')!r} has no key {key!r}; it has: {', '.join(map(str, self))}")

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __setattr__(self, key: str, value: Any) -> None:
        if key not in FIELDS and key not in RESULTS:
            raise AttributeError(f"a site has no attribute {key!r}; it has: {', '.join(FIELDS + RESULTS)}")
        self[key] = value

    def copy(self) -> Site:
        """A shallow copy."""
        return Site(self)


Message = Site


def message(
    name: str | None,
    fn: Any,
    *,
    type: str = "sample",
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    value: Any = None,
    is_observed: bool = False,
    infer: dict[str, Any] | None = None,
) -> Site:
    """A fresh message, by default of a ``sample`` statement, that no handler has seen yet."""
    return Site(
        type=type,
        name=name,
        fn=fn,
        is_observed=is_observed,
        args=args,
        kwargs={} if kwargs is None else kwargs,
        value=value,
        infer={} if infer is None else infer,
        scale=1.0,
        mask=None,
        cond_indep_stack=(),
        done=False,
        stop=False,
        continuation=None,
    )


def site_is_subsample(site: dict[str, Any]) -> bool:
    """Whether a site is the hidden one in which a plate draws its indices."""
    return site["type"] == "sample" and type(site["fn"]).__name__ == "_Subsample"


def site_is_factor(site: dict[str, Any]) -> bool:
    """Whether a site comes from a ``factor`` statement."""
    return site["type"] == "sample" and type(site["fn"]).__name__ == "Unit"
