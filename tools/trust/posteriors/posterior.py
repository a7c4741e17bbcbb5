"""A model with its data: what a reference posterior is the posterior of."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Data = Mapping[str, "Array | int"]


class Posterior(NamedTuple):
    """A model in Ember, and a function that makes the arrays and sizes it takes by name."""

    model: Callable[..., None]
    data: Callable[[], Data]

    def arguments(self) -> dict[str, Tensor | int]:
        """What the model is called with: tensors in torch's default precision, indices as they are, and sizes."""
        return {
            name: value if isinstance(value, int) else _tensor(value) for name, value in self.data().items()
        }


def _tensor(value: Array) -> Tensor:
    tensor = torch.as_tensor(value)
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def stream(seed: int) -> np.random.RandomState:
    """Random numbers that no release of NumPy changes: those of its frozen generator."""
    return np.random.RandomState(seed)


def fingerprint(data: Data) -> int:
    """A checksum of the data to nine digits, which tells whether a stored posterior is of the same data."""
    rounded = {name: np.vectorize("{:.9g}".format)(value).tolist() for name, value in sorted(data.items())}
    return zlib.crc32(repr(rounded).encode())
