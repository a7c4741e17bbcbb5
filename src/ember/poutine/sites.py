"""The sites of a trace by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ember.poutine.site import Site, as_site


class Sites(dict[str, Site]):
    """A dict of sites, in the order of their execution; a plain dict that a program puts in becomes a site.

    >>> sites = Sites()
    >>> sites["x"] = {"type": "sample", "is_observed": False, "value": 1.0, "infer": {}}
    >>> sites["x"].name, sites["x"].value
    ('x', 1.0)
    """

    __slots__ = ()

    def __setitem__(self, name: str, site: Mapping[str, Any]) -> None:
        super().__setitem__(name, as_site(site, name))

    def setdefault(self, name: str, site: Mapping[str, Any]) -> Site:
        """The site of a name, put in if there is none."""
        if name not in self:
            self[name] = site
        return self[name]

    def update(  # type: ignore[override]
        self, sites: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **more: object
    ) -> None:
        """Put sites in."""
        if isinstance(sites, Sites) and not more:
            super().update(sites)
            return
        for name, site in dict(sites, **more).items():
            self[name] = site

    def copy(self) -> Sites:
        """The same sites in a dict of its own."""
        new = Sites()
        new.update(self)
        return new
