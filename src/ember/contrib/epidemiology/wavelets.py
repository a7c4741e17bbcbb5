"""Time series in Haar wavelets, in which an approximate posterior of independent normals loses less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ember import poutine
from ember.contrib.epidemiology.interface import CompartmentalInterface
from ember.contrib.epidemiology.programs import AUXILIARY, range_of_counts
from ember.distributions import biject_to
from ember.distributions.transforms import HaarTransform
from ember.infer.reparam import HaarReparam


@dataclass(frozen=True)
class Wavelets:
    """The series of a model, and how they are transformed.

    Attributes:
        dims: name of site -> the dim of time.
        supports: name of site -> its support.
    """

    dims: dict[str, int]
    supports: dict[str, Any]

    @classmethod
    def of(cls, model: CompartmentalInterface) -> Wavelets:
        """Those of all counts and other latent series."""
        time_dim = -2 if model.is_regional else -1
        dims = {AUXILIARY: time_dim}
        supports: dict[str, Any] = {AUXILIARY: range_of_counts(model)}
        for name, (fn, _) in model.latent_series.items():
            dims[name] = time_dim - fn.event_dim
            supports[name] = fn.support
        return cls(dims, supports)

    def reparam(self, program: Callable[[], Any]) -> Callable[[], Any]:
        """The program with the series sampled in wavelets, at ``<name>_haar``."""
        config = {name: HaarReparam(dim=dim, flip=True) for name, dim in self.dims.items()}
        return poutine.reparam(program, config)

    def to_series(self, samples: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draws with the wavelets of each series replaced by the series."""
        out = dict(samples)
        for name, dim in self.dims.items():
            coefficients = out.pop(f"{name}_haar")
            out[name] = biject_to(self.supports[name])(HaarTransform(dim=dim, flip=True).inv(coefficients))
        return out


@dataclass(frozen=True)
class NoWavelets:
    """Series are left as they are."""

    def reparam(self, program: Callable[[], Any]) -> Callable[[], Any]:
        """The program itself."""
        return program

    def to_series(self, samples: dict[str, Tensor]) -> dict[str, Tensor]:
        """The draws themselves."""
        return samples
