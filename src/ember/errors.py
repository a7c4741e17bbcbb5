"""The tree of Ember's exceptions: each says what went wrong, where, and the way out.

Every class also derives from the builtin exception that Pyro programs catch in the same place.
"""

from __future__ import annotations

from typing import Any


class EmberError(Exception):
    """Base of all errors that Ember raises on purpose."""


class ModelError(EmberError, ValueError):
    """A model or guide that cannot be what the user meant: shapes, plates, names, event dims."""


class TraceError(EmberError, RuntimeError):
    """A trace that contradicts itself: duplicate sites, a site replayed against the wrong kind."""


class ReparamError(EmberError, AssertionError):
    """A reparameteriser at a site that it cannot rewrite; names the site and the way out."""


class ParameterError(EmberError, ValueError):
    """A parameter value that its constraint, shape or plate forbids."""


class UnknownParameterError(EmberError, KeyError):
    """A parameter name that the store does not have."""

    def __str__(self) -> str:
        # KeyError shows repr(message), which hides line breaks and quotes the sentence.
        return str(self.args[0]) if self.args else ""


class NonFiniteLossError(EmberError, ValueError):
    """A loss that is NaN or infinite; raised before any parameter changes."""

    def __init__(self, loss: float, message: str) -> None:
        super().__init__(message)
        self.loss = loss


class OptimizerError(EmberError, ValueError):
    """Options or state that an optimizer cannot take."""


class SaveFileError(EmberError, RuntimeError):
    """A file that is corrupt, foreign, or needs ``allow_pickle=True``."""


class CaptureError(EmberError, RuntimeError):
    """A step that cannot be captured as one program; says which line stands in the way."""


class CaptureMismatchError(CaptureError):
    """A captured program whose first result differs from eager execution; shows both."""

    eager_result: Any = None
    """The loss of the eager step."""


class NoCompilerError(CaptureError):
    """No C compiler that the native backend can use; says what was tried."""


class CompilationError(CaptureError):
    """The C compiler refused a program; shows the compiler's message."""
