"""Why a run could not be recorded, in the user's terms: their line, and the way out."""

from __future__ import annotations

import linecache
import traceback

from ember.capture import folders
from ember.errors import CaptureError, Reason

_OURS = (folders.TORCH, folders.EMBER)
_INSTALLED = (*folders.STANDARD, *folders.PACKAGES)


def is_of_user(filename: str) -> bool:
    """Whether a file is the user's own: no part of torch, Ember, Python or an installed package."""
    return not filename.startswith((*_OURS, *_INSTALLED, "<frozen"))


def user_line(error: BaseException) -> str | None:
    """File, line number and text of the innermost line that is the user's own, or at least of neither torch nor Ember."""
    frames = [
        frame for cause in _causes(error) for frame in reversed(traceback.extract_tb(cause.__traceback__))
    ]
    for others in (_OURS + _INSTALLED, _OURS):
        for frame in frames:
            if not frame.filename.startswith((*others, "<")) and frame.lineno is not None:
                text = linecache.getline(frame.filename, frame.lineno).strip()
                return (
                    f"{frame.filename}:{frame.lineno}: {text}" if text else f"{frame.filename}:{frame.lineno}"
                )
    return None


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what it was raised from, the first cause first: handlers add to the text of errors on their way out."""
    chain = [error]
    while (cause := chain[0].__cause__) is not None and cause not in chain:
        chain.insert(0, cause)
    return chain


def explain(error: Exception) -> CaptureError:
    """A CaptureError that says what stood in the way."""
    if isinstance(error, CaptureError):
        return error
    line = user_line(error)
    where = f"\n  at {line}" if line else ""
    causes = _causes(error)
    reason = next((known for cause in causes if (known := _reason_of(cause)) in _WAYS_OUT), None)
    if reason is None:
        first_line = (str(error).splitlines() or [""])[0]
        what, way_out, reason = f"{type(error).__name__}: {first_line}", "change that line", Reason.ERROR
    else:
        what, way_out = reason.value, _WAYS_OUT[reason]
    return CaptureError(
        f"the step cannot be captured: {what}{where}\nThe way out: {way_out}, or run eagerly (compile=False).",
        reason,
    )


def _reason_of(error: BaseException) -> Reason | None:
    # Inductor says by a class of its own, wrapped in another, that it found no compiler; to import them takes seconds.
    inner = getattr(error, "inner_exception", error)
    if type(inner).__name__ == "InvalidCxxCompiler":
        return Reason.NO_COMPILER
    reason: Reason | None = getattr(error, "reason", None)
    return reason


_WAYS_OUT = {
    Reason.VALUE_READ: "compute it with tensor operations such as torch.where or a mask",
    Reason.SHAPE_OF_VALUES: "keep shapes fixed: use a mask or torch.where instead of boolean indexing",
    Reason.NO_COMPILER: "install g++, or name one in the environment variable CXX",
}
