"""Methods of distributions that Pyro has renamed."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor


class OldNames:
    """What distributions answer to calls of earlier years."""

    def independent(self, reinterpreted_batch_ndims: int | None = None) -> Any:
        """Deprecated name of ``to_event``."""
        warnings.warn("independent is deprecated; use to_event instead", DeprecationWarning, stacklevel=2)
        return self.to_event(reinterpreted_batch_ndims)  # type: ignore[attr-defined]

    def reshape(self, sample_shape: object = None, extra_event_dims: object = None) -> Tensor:
        """Removed; the error names its two successors."""
        raise Exception(
            ".reshape(sample_shape=s, extra_event_dims=n) was renamed and split into "
            ".expand_by(sample_shape=s).to_event(reinterpreted_batch_ndims=n)."
        )
