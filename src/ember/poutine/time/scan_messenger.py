"""Collecting the sites of the steps of a loop."""

from __future__ import annotations

from ember.errors import ModelError
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site
from ember.poutine.stack import THREAD
from ember.poutine.time.path import Path, open_path


class ScanMessenger(Messenger):
    """Hides the sample sites of the steps of a loop from the handlers outside, which see one site of each name instead.

    Args:
        length: the number of steps.
        paths: those of the sites, if they are known already.
    """

    def __init__(self, length: int, paths: dict[str, Path] | None = None) -> None:
        super().__init__()
        self.length = length
        self.paths: dict[str, Path] = {} if paths is None else paths
        self._finds_sites = paths is None
        self._time = 0
        self._opening = ""

    def finish_step(self) -> None:
        """Check that the step has had all sites of the first.

        Raises:
            ModelError: if not.
        """
        self._time += 1
        self._finds_sites = False
        for name, path in self.paths.items():
            if len(path.fns) != self._time:
                raise ModelError(
                    f"site {name!r} in a scan is missing in step {self._time - 1}; all steps need the same sites. "
                    "Use poutine.mask for steps that do not count"
                )

    def close(self) -> None:
        """Show the sites of the paths to the handlers outside, in the order of their first step."""
        for path in self.paths.values():
            path.close()

    def _pyro_sample(self, msg: Site) -> None:
        name = msg.name
        if self._opening:
            raise ModelError(
                f"site {self._opening!r} in a scan: a handler around the scan (do, reparam, a guide) makes a statement "
                f"of its own there, {name!r}; use it inside of the step, as in poutine.do(step, data=...), or take another guide"
            )
        if msg.is_subsample:
            self._check_plate(msg)
            msg.stop = True
            return
        path = self.paths.get(name)
        if path is None:
            if not self._finds_sites:
                raise ModelError(
                    f"site {name!r} in a scan appears in step {self._time} for the first time; all steps need the same sites"
                )
            path = self._opened(msg)
        elif len(path.fns) > self._time:
            raise ModelError(f"two sites named {name!r} in one step of a scan; give each its own name")
        path.enter(msg)

    def _opened(self, msg: Site) -> Path:
        self._opening = msg.name
        try:
            path = self.paths[msg.name] = open_path(msg, self.length, THREAD.stack.index(self))
        finally:
            self._opening = ""
        return path

    def _pyro_post_sample(self, msg: Site) -> None:
        if not msg.is_subsample:
            self.paths[msg.name].leave(msg)

    @staticmethod
    def _check_plate(msg: Site) -> None:
        size, part = msg.fn.size, msg.fn.subsample_size
        if msg.value is None and part is not None and part < size:
            raise ModelError(
                f"plate {msg.name!r} in a scan draws other rows in every step; make the plate outside of the scan, "
                f"plate = ember.plate({msg.name!r}, {size}, subsample_size={part}), and enter it inside"
            )
