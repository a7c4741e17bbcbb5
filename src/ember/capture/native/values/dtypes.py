"""The dtypes of a program's tensors: what each is called in C, and how the names of C functions for it end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ember.capture.native.values.unsupported import UnsupportedError

Number = bool | int | float


@dataclass(frozen=True)
class DType:
    """One dtype."""

    c: str
    """Its type in C."""
    suffix: str
    """How names of functions for it end."""
    sampled: str = ""
    """How names of samplers that fill it end; empty: none does."""
    has_functions: bool = True
    """Whether functions of single elements are written for it. Arithmetic is for all."""


DTYPES = {
    torch.float32: DType("float", "f32", "f32"),
    torch.float64: DType("double", "f64", "f64"),
    torch.int64: DType("int64_t", "i64", "i64"),
    torch.int32: DType("int32_t", "i32"),
    torch.bool: DType("uint8_t", "u8", "b8"),
    torch.uint8: DType("uint8_t", "u8", has_functions=False),
}


def c_type(dtype: torch.dtype) -> str:
    """The type in C."""
    return DTYPES[dtype].c


def check_dtype(dtype: torch.dtype) -> None:
    """Raise UnsupportedError for a dtype that programs do not have."""
    if dtype not in DTYPES:
        raise UnsupportedError(f"the dtype {str(dtype).removeprefix('torch.')}")


def check_functions(dtype: torch.dtype) -> None:
    """Raise UnsupportedError for a dtype that has no functions."""
    if dtype not in DTYPES or not DTYPES[dtype].has_functions:
        raise UnsupportedError(f"the dtype {dtype}")


def as_dtype(number: Number, dtype: torch.dtype) -> Number:
    """The number that a tensor of this dtype would hold."""
    if dtype is torch.bool:
        return bool(number)
    if dtype.is_floating_point:
        value = float(number)
        if dtype is torch.float32 and math.isfinite(value):
            return float(torch.tensor(value, dtype=torch.float64).to(torch.float32))
        return value
    if isinstance(number, float) and not math.isfinite(number):
        raise UnsupportedError(f"{number} as a number of dtype {dtype}")
    if isinstance(number, float):
        return int(torch.tensor(number, dtype=torch.float64).to(dtype))
    # Too large numbers wrap around.
    info = torch.iinfo(dtype)
    return (int(number) - info.min) % (info.max - info.min + 1) + info.min
