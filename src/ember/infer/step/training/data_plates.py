"""The plates that hold the rows of a batch, weighed so that a batch stands for all data.

A plate scales log densities by ``full_size / size``. Here that of the data is made ``all rows / rows of the batch``, whatever
the program says: ``plate("data", len(x))``, which knows the batch alone, or ``plate("data", 60_000, subsample_size=len(x))``,
which is right in training and wrong for validation data.
"""

from __future__ import annotations

from typing import Any

from ember.errors import ModelError
from ember.poutine.frames import CondIndepStackFrame
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site
from ember.poutine.traced_sizes import as_int

_WAY_OUT = (
    "Name the plate of the rows: fit(..., plate='data'), or several: plate=('data', 'labels'). plate=() leaves the scale of "
    "batches to the program"
)


class DataPlates(Messenger):
    """Scales what is inside the plates of the rows.

    Args:
        names: the plates; None for the one plate whose size is the number of rows of a batch.
        size: how many rows there are in all, for which the batch stands.
        known_sizes: other sizes to which the plates may scale by themselves.

    Raises:
        ModelError: when a program runs inside of it, if it cannot be told which plate is that of the rows, or a plate has
            another size than batch and data.
    """

    counts_by_identity = True
    """What changes in it follows from the arguments of a step, which decide about its program anyway."""

    def __init__(self, names: tuple[str, ...] | None, size: int, known_sizes: set[int]) -> None:
        super().__init__()
        self.names = names
        self.size = size
        self.rows = size
        """How many rows the batch has that is seen now."""
        self.found: set[str] = set()
        """Plates of the rows that programs had."""
        self._known_sizes = known_sizes
        self._seen: set[str] = set()
        """All plates that programs had, whatever they hold."""

    def _process_message(self, msg: Site) -> None:
        if msg.type != "sample" or msg.is_subsample:
            return
        self._seen.update(frame.name for frame in msg.cond_indep_stack)
        frames = [frame for frame in msg.cond_indep_stack if self._holds_rows(frame)]
        for frame in frames:
            factor = self.size / self._full_size(frame, msg.name)
            if factor != 1.0:
                self._note(frame)
                msg.scale = msg.scale * factor
        if msg.is_observed and self.names is None and not msg.infer.get("_deterministic"):
            self._check_rows(msg, frames)

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        super().__exit__(exc_type, exc_value, traceback)
        missing = set(self.names or ()) - self._seen
        if exc_type is None and self._seen and missing:
            raise ModelError(
                f"the program has no plate {', '.join(map(repr, sorted(missing)))}, which fit(..., plate=...) says to hold the "
                f"rows: a step was taken whose batch stands for no more than itself. There are the plates "
                f"{sorted(self._seen)}. {_WAY_OUT}."
            )

    def _holds_rows(self, frame: CondIndepStackFrame) -> bool:
        return as_int(frame.size) == self.rows if self.names is None else frame.name in self.names

    def _note(self, frame: CondIndepStackFrame) -> None:
        self.found.add(frame.name)
        if self.names is None and len(self.found) > 1:
            raise ModelError(
                f"batches have {self.rows} rows, and so have the plates {sorted(self.found)}: it cannot be told which of "
                f"them holds the rows. {_WAY_OUT}."
            )

    def _full_size(self, frame: CondIndepStackFrame, site: str) -> int:
        """How many rows the plate itself lets those of the batch stand for."""
        size = as_int(frame.size)
        if size == -1:
            return self.rows
        full = size if frame.full_size is None else as_int(frame.full_size)
        if size != self.rows:
            raise ModelError(
                f"at site {site!r}: plate {frame.name!r} has {size} rows, but the batch has {self.rows}. {_WAY_OUT}."
            )
        if full not in self._known_sizes | {self.rows}:
            raise ModelError(
                f"at site {site!r}: plate {frame.name!r} scales to {full} rows, but the data have {self.size}. Give "
                f"fit(..., size={full}) if that is their number, or correct the size of the plate."
            )
        return full

    def _check_rows(self, msg: Site, frames: list[CondIndepStackFrame]) -> None:
        """Refuse observations whose rows are in no plate: they would count once, where a batch stands for all data."""
        if self.rows in (1, self.size):
            return
        shape: Any = getattr(msg.value, "shape", ())
        event_dim = getattr(msg.fn, "event_dim", 0)
        batch = list(shape[: len(shape) - event_dim])
        for frame in frames:
            if frame.dim is not None and -frame.dim <= len(batch):
                batch[frame.dim] = 0
        if self.rows in (batch if frames else shape):
            held = f"only the plate {frames[0].name!r} holds" if frames else "no plate holds"
            raise ModelError(
                f"site {msg.name!r} observes a value of shape {tuple(shape)}, with as many rows as the batch ({self.rows}), "
                f"but {held} rows there, so that it cannot be told how to scale it to all {self.size} rows. Put it inside "
                f"`with ember.plate('data', {self.rows}):`. {_WAY_OUT}."
            )


__all__ = ["DataPlates"]
