"""Forcing sites to share one value."""

from __future__ import annotations

import re
from typing import Any, Self

from ember.distributions.delta import Delta
from ember.errors import ModelError
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site


class EqualizeMessenger(Messenger):
    """Gives all matching sites the value of the first of them.

    Args:
        sites: a regular expression for names, or several; they must match whole names.
        type: the type of the sites, ``"sample"`` or ``"param"``.
        keep_dist: keep the later sites' distributions, which conditions the program on the values being
            equal; otherwise they become deterministic.

    >>> import ember
    >>> def model():
    ...     a = ember.sample("z_a", ember.distributions.Normal(0.0, 1.0))
    ...     return a, ember.sample("z_b", ember.distributions.Normal(0.0, 1.0))
    >>> a, b = ember.poutine.equalize(model, "z_.+")()
    >>> bool(a == b)
    True
    """

    def __init__(
        self, sites: str | list[str], type: str | None = "sample", keep_dist: bool | None = False
    ) -> None:
        super().__init__()
        self.sites = [sites] if isinstance(sites, str) else sites
        self.type = type
        self.keep_dist = keep_dist
        self.value: Any = None

    def __enter__(self) -> Self:
        self.value = None
        return super().__enter__()

    def is_repeatable(self) -> bool:
        """No: it keeps the value of the first site since it was entered, over all steps inside."""
        return False

    def _is_matching(self, msg: Site) -> bool:
        return msg.type == self.type and any(re.fullmatch(pattern, msg.name) for pattern in self.sites)

    def see_step(self, msg: Site) -> None:
        """Refuse: the paths of a loop are open side by side, and none has a value before the others."""
        if self._is_matching(msg):
            raise ModelError(
                f"site {msg.name!r} in a scan: poutine.equalize around the scan would come too late; use it inside of the step"
            )

    def _process_message(self, msg: Site) -> None:
        if self.value is None or not self._is_matching(msg):
            return
        msg.value = self.value
        if msg.type == "sample":
            msg.is_observed = True
            if not self.keep_dist:
                msg.infer = {"_deterministic": True}
                msg.fn = Delta(self.value, event_dim=msg.fn.event_dim).mask(False)

    def _postprocess_message(self, msg: Site) -> None:
        if self.value is None and self._is_matching(msg):
            self.value = msg.value
