"""Warnings about NaN and infinite values, at the caller's line, forward and backward."""

from __future__ import annotations

import math
import numbers
import sys
import warnings
from typing import Any

import torch


def torch_isnan(x: Any) -> Any:
    """Whether a tensor contains NaN, or a number is NaN."""
    return x != x if isinstance(x, numbers.Number) else torch.isnan(x).any()


def torch_isinf(x: Any) -> Any:
    """Whether a tensor contains an infinite value, or a number is infinite."""
    return abs(x) == math.inf if isinstance(x, numbers.Real) else torch.isinf(x).any()


def warn_if_nan(
    value: object, msg: str = "", *, filename: str | None = None, lineno: int | None = None
) -> Any:
    """Warn if a tensor or number, or later its gradient, is NaN; return the same object.

    Args:
        value: a tensor or number.
        msg: what it is, for the message.
        filename: where to say it happened; the caller's file and line if None.
        lineno: the line in that file.
    """
    where = (filename, lineno or 1) if filename is not None else _caller()
    if isinstance(value, torch.Tensor) and value.requires_grad:
        value.register_hook(lambda grad: _check_nan(grad, f"backward {msg}", where))  # type: ignore[no-untyped-call]
    return _check_nan(value, msg, where)


def warn_if_inf(
    value: object,
    msg: str = "",
    allow_posinf: bool = False,
    allow_neginf: bool = False,
    *,
    filename: str | None = None,
    lineno: int | None = None,
) -> Any:
    """Warn if a tensor or number, or later its gradient, is infinite; return the same object.

    Args:
        value: a tensor or number.
        msg: what it is, for the message.
        allow_posinf: let +inf pass.
        allow_neginf: let -inf pass.
        filename: where to say it happened; the caller's file and line if None.
        lineno: the line in that file.
    """
    where = (filename, lineno or 1) if filename is not None else _caller()
    signs = [sign for sign, allowed in (("+", allow_posinf), ("-", allow_neginf)) if not allowed]
    if isinstance(value, torch.Tensor) and value.requires_grad:
        value.register_hook(lambda grad: _check_inf(grad, f"backward {msg}", signs, where))  # type: ignore[no-untyped-call]
    return _check_inf(value, msg, signs, where)


def _caller() -> tuple[str, int]:
    frame = sys._getframe(2)
    return frame.f_code.co_filename, frame.f_lineno


def _check_nan(value: object, msg: str, where: tuple[str, int]) -> Any:
    if torch_isnan(value):
        _warn("NaN", msg, where)
    return value


def _check_inf(value: Any, msg: str, signs: list[str], where: tuple[str, int]) -> Any:
    for sign in signs:
        found = value == float(sign + "inf")
        if found.any() if isinstance(found, torch.Tensor) else found:
            _warn(f"{sign}inf", msg, where)
    return value


def _warn(what: str, msg: str, where: tuple[str, int]) -> None:
    warnings.warn_explicit(f"Encountered {what}{': ' + msg if msg else '.'}", UserWarning, *where)
