"""torch's C interface, as far as generated programs use it: handles of tensors, and products written to given memory.

It is the interface of programs that Inductor compiled ahead of time (``torch/csrc/inductor/aoti_torch``), which torch keeps
binary compatible. In a torch that lacks a function, calls take the way through Python.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_DTYPES = {torch.float32: "float32", torch.float64: "float64"}


@functools.cache
def _library() -> ctypes.CDLL | None:
    suffix = {"darwin": "dylib", "win32": "dll"}.get(sys.platform, "so")
    name = f"torch_cpu.{suffix}" if suffix == "dll" else f"libtorch_cpu.{suffix}"
    try:
        return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name))
    except OSError:
        return None


def function_address(name: str) -> int:
    """The address of a function of torch, or 0."""
    library = _library()
    function = getattr(library, name, None) if library is not None else None
    return 0 if function is None else ctypes.cast(function, ctypes.c_void_p).value or 0


class Handle:
    """A tensor of torch's C interface over the memory of ``tensor``, which the caller keeps alive.

    ``address`` is 0 if it could not be made.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.address = 0
        library: Any = _library()
        if tensor.dtype not in _DTYPES or not function_address("aoti_torch_create_tensor_from_blob_v2"):
            return
        made = ctypes.c_void_p()
        failed = library.aoti_torch_create_tensor_from_blob_v2(
            ctypes.c_void_p(tensor.data_ptr()),
            ctypes.c_int64(tensor.dim()),
            _integers(tensor.shape),
            _integers(tensor.stride()),
            ctypes.c_int64(0),
            ctypes.c_int32(getattr(library, f"aoti_torch_dtype_{_DTYPES[tensor.dtype]}")()),
            ctypes.c_int32(library.aoti_torch_device_type_cpu()),
            ctypes.c_int32(-1),
            ctypes.byref(made),
            ctypes.c_int32(library.aoti_torch_layout_strided()),
            None,
            ctypes.c_int64(0),
        )
        if not failed:
            self.address = made.value or 0

    def close(self) -> None:
        """Free it."""
        address, self.address = self.address, 0
        if address:
            library: Any = _library()
            library.aoti_torch_delete_tensor_object(ctypes.c_void_p(address))


def _integers(values: Sequence[int]) -> Any:
    return (ctypes.c_int64 * max(len(values), 1))(*values)


def tensor_at(address: int, dtype: torch.dtype, sizes: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
    """A tensor over memory that the caller keeps alive."""
    if 0 in sizes:
        return torch.empty_strided(sizes, strides, dtype=dtype)
    extent = 1 + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    memory = (ctypes.c_char * (extent * dtype.itemsize)).from_address(address)
    return torch.frombuffer(memory, dtype=dtype).as_strided(sizes, strides)
