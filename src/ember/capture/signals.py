"""Handlers of signals wait for a point at which nothing can be lost: Ctrl-C between a step and the note of its loss loses it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType, TracebackType

try:
    # Without the wrappers that make enums of what they return, which take nine tenths of the time.
    from _signal import getsignal  # type: ignore[import-not-found]
    from _signal import signal as set_handler
except ImportError:
    from signal import getsignal
    from signal import signal as set_handler

Handler = Callable[[int, FrameType | None], object]
_CTRL_C = (int(signal.SIGINT),)
_closed: list[Gate] = []
"""The gates of runs of the main thread, the innermost last."""


class Gate:
    """Between :meth:`close` and :meth:`restore`, the handlers of this process wait while ``open`` is false.

    Python runs handlers in its main thread only; elsewhere there is nothing to do.
    """

    def __init__(self) -> None:
        self.open = True
        self.waiting: list[int] = []
        """Signals whose handlers have not run yet."""
        self.stop: Callable[[], None] | None = None
        """Called when a handler has to wait, to bring the next safe point on."""
        self.keeps_shut = False
        """Whether an update leaves it shut: its loss is still to be kept."""
        self.gives_way = False
        """Whether a handler that already waits runs at once when its signal comes again."""
        self._handlers: dict[int, Handler] = {}

    def close(self, numbers: Iterable[int] | None = None) -> None:
        """From now on, handlers wait: those of these signals, by default of all."""
        self.open = False
        if threading.current_thread() is not threading.main_thread():
            return
        _closed.append(self)
        for number in signal.valid_signals() if numbers is None else numbers:
            handler = getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                set_handler(number, self._arrived)

    def deliver(self) -> None:
        """Run the handlers that wait. What they raise is raised."""
        while self.waiting:
            number = self.waiting.pop(0)
            self._handlers[number](number, None)

    def interrupted(self) -> bool:
        """Run the handlers that wait, and say whether one asked for an end by KeyboardInterrupt."""
        found = False
        while self.waiting:
            try:
                self.deliver()
            except KeyboardInterrupt:
                found = True
        return found

    def restore(self) -> None:
        """Let handlers run at once again. Those that wait stay so until they are delivered."""
        if self in _closed:
            _closed.remove(self)
        for number, handler in self._handlers.items():
            if getsignal(number) == self._arrived:
                set_handler(number, handler)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if not self.open and not (self.gives_way and number in self.waiting):
            self.waiting.append(number)
            if self.stop is not None:
                self.stop()
            return
        # Only one exception at a time: what is raised here closes the gate.
        was_open, self.open = self.open, False
        self._handlers[number](number, frame)
        self.open = was_open


class Unbroken:
    """As a context: from :meth:`begin` to the end of the block, Ctrl-C waits; it is raised after the block.

    Within a run, it waits until the loss of the step is kept.

    Args:
        gives_way: let a second Ctrl-C come at once, where the first may have to wait for code of the user's.

    >>> with Unbroken() as update:
    ...     update.begin()
    """

    __slots__ = ("_gate", "_gives_way", "_is_own")

    def __init__(self, gives_way: bool = False) -> None:
        self._gate: Gate | None = None
        self._is_own = False
        self._gives_way = gives_way

    def __enter__(self) -> Unbroken:
        return self

    def begin(self) -> None:
        """What comes now is done whole."""
        if self._gate is not None or threading.current_thread() is not threading.main_thread():
            return
        if _closed:
            gate = _closed[-1]
            if gate.open:
                gate.open = False
                gate.gives_way = self._gives_way
                self._gate = gate
            return
        self._is_own, self._gate = True, Gate()
        self._gate.gives_way = self._gives_way
        self._gate.close(_CTRL_C)

    def pause(self) -> None:
        """Let what waits come now: an error that is raised here is undone whole, since others wait."""
        if self._gate is not None and self._gate.waiting:
            self._gate.deliver()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        gate = self._gate
        if gate is None:
            return
        gate.gives_way = False
        if self._is_own:
            gate.restore()
        elif gate.keeps_shut:
            return
        else:
            gate.open = True
        gate.deliver()
