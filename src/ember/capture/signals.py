"""Handlers of signals wait for a point at which nothing can be lost: Ctrl-C between a step and the note of its loss loses it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


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
        self._handlers: dict[int, Handler] = {}

    def close(self) -> None:
        """From now on, handlers wait."""
        self.open = False
        if threading.current_thread() is not threading.main_thread():
            return
        for number in signal.valid_signals():
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._arrived)

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
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._arrived:
                signal.signal(number, handler)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if not self.open:
            self.waiting.append(number)
            if self.stop is not None:
                self.stop()
            return
        # Only one exception at a time: what is raised here closes the gate.
        self.open = False
        self._handlers[number](number, frame)
        self.open = True
