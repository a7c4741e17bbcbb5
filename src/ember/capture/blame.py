"""Why a run could not be recorded, in the user's terms: their line, and the way out."""

from __future__ import annotations

import linecache
import traceback

from ember.capture import folders
from ember.errors import CaptureError

_OURS = (folders.TORCH, folders.EMBER)
_INSTALLED = (*folders.STANDARD, *folders.PACKAGES)


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
    text = str(error)
    if "_local_scalar_dense" in text or "data-dependent" in text or "tracing tensor" in text:
        reason = "Python asks for the value of a tensor (if, while, int(), float(), .item())"
        way_out = "compute it with tensor operations such as torch.where or a mask"
    elif "InvalidCxxCompiler" in type(error).__name__ or "C++ compiler" in text:
        reason, way_out = (
            "there is no C++ compiler",
            "install g++, or name one in the environment variable CXX",
        )
    elif "aten.nonzero" in text or "masked_select" in text or "DynamicOutputShape" in type(error).__name__:
        reason = "the shape of a tensor depends on the values of another"
        way_out = "keep shapes fixed: use a mask or torch.where instead of boolean indexing"
    else:
        reason, way_out = (
            f"{type(error).__name__}: {text.splitlines()[0] if text else ''}",
            "change that line",
        )
    return CaptureError(
        f"the step cannot be captured: {reason}{where}\nThe way out: {way_out}, or run eagerly (compile=False)."
    )
