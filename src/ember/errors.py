"""The tree of Ember's exceptions: each says what went wrong, where, and the way out.

Every class also derives from the builtin exception that Pyro programs catch in the same place.
"""

from __future__ import annotations

from enum import Enum
from typing import Any


class EmberError(Exception):
    """Base of all errors that Ember raises on purpose."""


class ModelError(EmberError, ValueError):
    """A model or guide that cannot be what the user meant: shapes, plates, names, event dims."""


class SubsamplingError(ModelError):
    """A model that sees a part of its data in each run, where a fixed density is needed."""


class TraceError(EmberError, RuntimeError):
    """A trace that does not fit: a latent site is replayed against an observed one, or no sample site."""


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
    """A loss or gradient that is NaN or infinite; raised before any parameter changes.

    ``loss`` is the loss.
    """

    def __init__(self, loss: float, message: str) -> None:
        super().__init__(message)
        self.loss = loss


class OptimizerError(EmberError, ValueError):
    """Options or state that an optimizer cannot take."""


class SaveFileError(EmberError, RuntimeError):
    """A file that is corrupt, foreign, or needs ``allow_pickle=True``."""


class Reason(Enum):
    """Why a step is not captured."""

    VALUE_READ = "Python asks for the value of a tensor"
    SHAPE_OF_VALUES = "the shape of a tensor depends on the values of another"
    OTHER_SITES = "other parameters are touched than the time before"
    OTHER_GRADIENTS = "gradients flow into a tensor that is no parameter"
    HANDLERS = "handlers are active around the step"
    NOT_A_TENSOR = "the loss is no tensor"
    OWN_GRADIENTS = "the loss computes gradients by itself"
    OWN_GENERATOR = "a generator of random numbers other than torch's default one"
    SPARSE = "a sparse tensor"
    SHARED_MEMORY = "two tensors in one piece of memory, of which one is changed"
    UNSEEN = "the program reads what cannot be watched"
    CHANGES_ITSELF = "the program changes what it reads"
    DISAGREES = "the captured step gives other numbers than the eager one"
    NO_COMPILER = "there is no C++ compiler"
    BACKEND = "the backend lacks an operator"
    TORCH = "this torch lacks what recording needs"
    ERROR = "the program failed while it was recorded"


class CaptureError(EmberError, RuntimeError):
    """A step that cannot be captured as one program; says which line stands in the way.

    ``reason`` is a :class:`Reason`.
    """

    def __init__(self, message: str, reason: Reason = Reason.ERROR) -> None:
        super().__init__(message)
        self.reason = reason


class CaptureMismatchError(CaptureError):
    """A captured program whose first result differs from eager execution; shows both."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Reason.DISAGREES)

    eager_result: Any = None
    """The loss of the eager step."""


class NoCompilerError(CaptureError):
    """No C compiler that the native backend can use; says what was tried."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Reason.NO_COMPILER)


class CompilationError(CaptureError):
    """The C compiler refused a program; shows the compiler's message."""


class NotTrusted(EmberError, RuntimeError):
    """A fit whose numbers should not be used; ``fit`` is what was found all the same."""

    def __init__(self, message: str, fit: Any = None) -> None:
        super().__init__(message)
        self.fit = fit


__all__ = [
    "CaptureError",
    "CaptureMismatchError",
    "CompilationError",
    "EmberError",
    "ModelError",
    "NoCompilerError",
    "NonFiniteLossError",
    "NotTrusted",
    "OptimizerError",
    "ParameterError",
    "Reason",
    "ReparamError",
    "SaveFileError",
    "SubsamplingError",
    "TraceError",
    "UnknownParameterError",
]
